/**
 * What the client must know of a message type beyond its codec: is a value really one, how large may it be on the
 * wire, a copy of it, the ids it names. Compiled from the descriptor once per type.
 */
/// <reference lib="es2024.string" />

import type { Message, MessageInitShape, MessageShape } from "@bufbuild/protobuf"
import { create, type DescField, type DescMessage, isMessage, ScalarType, toBinary } from "@bufbuild/protobuf"

interface Shape {
  /** Why the value is not such a message, or `undefined` when it is. */
  readonly check: (message: Message) => string | undefined
  /** No fewer bytes than the message takes on the wire; cheap. */
  readonly bound: (message: Message) => number
  /** A copy that shares nothing mutable with the message. */
  readonly copy: <A extends Message>(message: A) => A
  /** The ids the message names, by their names in the contract. */
  readonly ids: (message: Message) => { readonly [name: string]: string }
}

export const shapeOf = (desc: DescMessage): Shape => {
  const known = shapes.get(desc)
  if (known !== undefined) return known
  const shape = compile(desc)
  shapes.set(desc, shape)
  return shape
}

/** The message for what the caller gave, or the sentence that says what is wrong with it. Never throws. */
export const build = <D extends DescMessage>(desc: D, init: MessageInitShape<D>): MessageShape<D> | string => {
  if (typeof init !== "object" || init === null) return `the request is not an object but ${describe(init)}`
  try {
    const shape = shapeOf(desc)
    // `create` returns a message as it is; the caller may change it while the call is under way
    const message = isMessage(init, desc) ? shape.copy(init) : create(desc, init)
    return shape.check(message) ?? message
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause)
  }
}

/** Whether the message takes more bytes on the wire than the limit; how many, when it does. */
export const oversize = (desc: DescMessage, message: Message, limit: number): number | undefined => {
  if (shapeOf(desc).bound(message) <= limit) return undefined
  const size = toBinary(desc, message).length
  return size > limit ? size : undefined
}

export const oversizeSentence = (what: "request" | "response", size: number, limit: number): string =>
  `the ${what} takes ${size} bytes, the limit is ${limit} bytes`

// ---- internal ----

// a cache by descriptor, which is itself a constant of the program
const shapes = new WeakMap<DescMessage, Shape>()

type Fields = { readonly [localName: string]: unknown }
// protobuf-es messages are plain objects; the descriptor says which names they have
const fieldsOf = (message: Message): Fields => message as unknown as Fields

type Rule = (value: unknown) => string | undefined

const compile = (desc: DescMessage): Shape => {
  const fields = desc.fields.map((field) => ({ name: field.name, key: field.localName, ...rulesOf(field) }))
  const nested = fields.filter((field) => field.copy !== undefined)
  const ids = desc.fields.filter((field) => idNames.has(field.name) && field.fieldKind === "scalar")
  return {
    check: (message) => {
      const values = fieldsOf(message)
      for (const field of fields) {
        const value = values[field.key]
        if (value === undefined) continue
        const problem = field.check(value)
        if (problem !== undefined) return `${field.name} ${problem}`
      }
      return undefined
    },
    bound: (message) => {
      const values = fieldsOf(message)
      let size = 0
      for (const field of fields) {
        const value = values[field.key]
        if (value !== undefined) size += field.bound(value)
      }
      return size
    },
    copy: (message) => {
      const copied = { ...message }
      for (const field of nested) {
        const value = fieldsOf(message)[field.key]
        if (value !== undefined && field.copy !== undefined) Object.assign(copied, { [field.key]: field.copy(value) })
      }
      return copied
    },
    ids: (message) => {
      const found: { [name: string]: string } = {}
      for (const field of ids) {
        const value = fieldsOf(message)[field.localName]
        if ((typeof value === "string" || typeof value === "bigint") && value !== "" && value !== 0n) {
          found[field.name] = String(value)
        }
      }
      return found
    }
  }
}

interface FieldRules {
  readonly check: Rule
  readonly bound: (value: unknown) => number
  readonly copy: ((value: unknown) => unknown) | undefined
}

// a field's key takes at most 5 bytes, a length at most 5 more, a number at most 10
const overhead = 10

const rulesOf = (field: DescField): FieldRules => {
  switch (field.fieldKind) {
    case "list": {
      const item = singular(field.scalar, field.message)
      const { copy } = item
      return {
        check: (value) => {
          if (!Array.isArray(value)) return `must be a list, not ${describe(value)}`
          for (let i = 0; i < value.length; i++) {
            const problem = item.check(value[i])
            if (problem !== undefined) return `[${i}] ${problem}`
          }
          return undefined
        },
        bound: (value) => (Array.isArray(value) ? value.reduce<number>((sum, each) => sum + item.bound(each), 0) : 0),
        copy: (value) => (Array.isArray(value) ? (copy === undefined ? [...value] : value.map(copy)) : value)
      }
    }
    case "map": {
      const item = singular(field.scalar, field.message)
      const { copy } = item
      const key = scalars(ScalarType.STRING)
      return {
        check: (value) => {
          if (!isRecord(value)) return `must be a map, not ${describe(value)}`
          for (const name in value) {
            const problem = key.check(name) ?? item.check(value[name])
            if (problem !== undefined) return `[${JSON.stringify(name)}] ${problem}`
          }
          return undefined
        },
        bound: (value) => {
          let size = 0
          if (isRecord(value)) {
            for (const name in value) size += overhead + key.bound(name) + item.bound(value[name])
          }
          return size
        },
        copy: (value) =>
          isRecord(value)
            ? copy === undefined
              ? { ...value }
              : Object.fromEntries(Object.entries(value).map(([name, each]) => [name, copy(each)]))
            : value
      }
    }
    default:
      return singular(field.scalar, field.message)
  }
}

const singular = (scalar: ScalarType | undefined, message: DescMessage | undefined): FieldRules => {
  if (message !== undefined) {
    return {
      check: (value) =>
        isMessage(value, message) ? shapeOf(message).check(value) : `must be a message, not ${describe(value)}`,
      bound: (value) => (isMessage(value, message) ? overhead + shapeOf(message).bound(value) : overhead),
      copy: (value) => (isMessage(value, message) ? shapeOf(message).copy(value) : value)
    }
  }
  return scalars(scalar ?? ScalarType.INT32) // an enum travels as an int32
}

const scalars = (scalar: ScalarType): FieldRules => {
  switch (scalar) {
    case ScalarType.STRING:
      return {
        check: (value) =>
          typeof value !== "string"
            ? `must be text, not ${describe(value)}`
            : value.isWellFormed()
              ? undefined
              : "is not well-formed Unicode text",
        bound: (value) => overhead + (typeof value === "string" ? value.length * 3 : 0),
        copy: undefined
      }
    case ScalarType.BYTES:
      return {
        check: (value) => (value instanceof Uint8Array ? undefined : `must be bytes, not ${describe(value)}`),
        bound: (value) => overhead + (value instanceof Uint8Array ? value.length : 0),
        copy: (value) => (value instanceof Uint8Array ? value.slice() : value)
      }
    case ScalarType.BOOL:
      return number((value) => typeof value === "boolean", "must be true or false")
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return number((value) => typeof value === "number", "must be a number")
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return number(
        (value) => typeof value === "bigint" && BigInt.asIntN(64, value) === value,
        "must be a bigint of at most 64 bits"
      )
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return number(
        (value) => typeof value === "bigint" && BigInt.asUintN(64, value) === value,
        "must be a bigint of at most 64 bits, not negative"
      )
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return number(
        (value) => typeof value === "number" && value >>> 0 === value,
        "must be an integer of at most 32 bits, not negative"
      )
    default:
      return number(
        (value) => typeof value === "number" && (value | 0) === value,
        "must be an integer of at most 32 bits"
      )
  }
}

const number = (is: (value: unknown) => boolean, must: string): FieldRules => ({
  check: (value) => (is(value) ? undefined : `${must}, not ${describe(value)}`),
  bound: () => overhead * 2,
  copy: undefined
})

const isRecord = (value: unknown): value is { readonly [key: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value)

// the value itself only where it is short and tells nothing secret
const describe = (value: unknown): string =>
  value === null || typeof value === "undefined" || typeof value === "boolean"
    ? String(value)
    : typeof value === "number" || typeof value === "bigint"
      ? `the ${typeof value} ${value}`
      : Array.isArray(value)
        ? "a list"
        : `a value of type ${typeof value}`

const idNames: ReadonlySet<string> = new Set([
  "run_id",
  "idempotency_key",
  "effect_key",
  "custom_key",
  "business_key",
  "obligation_seq",
  "gate_name",
  "timer_id",
  "reaction_id",
  "task_id",
  "namespace",
  "key",
  "app_name",
  "user_id",
  "session_id",
  "invocation_id"
])
