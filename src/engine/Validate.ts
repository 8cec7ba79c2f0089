/**
 * What no request may contain, whatever its kind: text that a store cannot keep, numbers that are none.
 */
import type { DescMessage, Message } from "@bufbuild/protobuf"
import { toBinary } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import { Refusal } from "../Handlers.js"
import * as Keys from "./validate/keys.js"

export interface Limits {
  /** The largest request, in bytes. */
  readonly maxMessageBytes: number
  /** The most that a list answers. */
  readonly maxListed: number
}

/**
 * The check of one kind of request: refused are U+0000 in a string, an infinite number or NaN, a key that is too long,
 * and what is too large; the sentence names the field. A limit above the ceiling becomes the ceiling.
 */
export const make = (
  desc: DescMessage,
  limits: Limits
): (<M extends Message>(message: M) => Effect.Effect<M, Refusal>) => {
  const limit = desc.fields.find(({ localName }) => ceilinged.has(localName))?.localName
  const problemTogether = Keys.together(desc)
  return (message) => {
    const found = problem(desc, message) ?? problemTogether({ ...message })
    if (found !== undefined) {
      return Effect.fail(Refusal.invalid(found))
    }
    const size = atMost(message) > limits.maxMessageBytes ? toBinary(desc, message).length : 0
    return size > limits.maxMessageBytes
      ? Effect.fail(Refusal.exhausted(`the request takes ${size} bytes, the limit is ${limits.maxMessageBytes} bytes`))
      : Effect.succeed(limit === undefined ? message : withCeiling(message, limit, limits.maxListed))
  }
}

/** Fields that say how many rows are wanted. */
const ceilinged: ReadonlySet<string> = new Set(["limit", "max", "maxEvents"])

const withCeiling = <M extends Message>(message: M, field: string, ceiling: number): M => {
  const value: unknown = Object.getOwnPropertyDescriptor(message, field)?.value
  return typeof value === "bigint" && value > ceiling
    ? { ...message, [field]: BigInt(ceiling) }
    : typeof value === "number" && value > ceiling
      ? { ...message, [field]: ceiling }
      : message
}

/** No fewer bytes than a value takes on the wire: three for each UTF-16 unit, and room for numbers, tags and lengths. */
export const atMost = (value: unknown): number =>
  typeof value === "string"
    ? 3 * value.length + 16
    : typeof value === "object" && value !== null
      ? Object.entries(value).reduce((size, [key, item]) => size + 3 * key.length + atMost(item), 16)
      : 16

const problem = (desc: DescMessage, message: object): string | undefined => {
  const values: { readonly [field: string]: unknown } = { ...message }
  for (const field of desc.fields) {
    const value = values[field.localName]
    const found = problemOf(field.name, value) ?? (typeof value === "string" ? Keys.problemOf(field, value) : undefined)
    if (found !== undefined) {
      return found
    }
    if (field.fieldKind === "message" && typeof value === "object" && value !== null) {
      const nested = problem(field.message, value)
      if (nested !== undefined) {
        return nested
      }
    }
  }
  return undefined
}

const problemOf = (name: string, value: unknown): string | undefined => {
  switch (typeof value) {
    case "string":
      return value.includes("\u0000") ? `${name} contains the character U+0000` : undefined
    case "number":
      return Number.isFinite(value) ? undefined : `${name} is not a finite number`
    case "object":
      return Array.isArray(value)
        ? first(value, (item) => problemOf(name, item))
        : value !== null && !("$typeName" in value)
          ? first(Object.entries(value).flat(), (item) => problemOf(name, item))
          : undefined
    default:
      return undefined
  }
}

const first = (items: ReadonlyArray<unknown>, look: (item: unknown) => string | undefined): string | undefined => {
  for (const item of items) {
    const found = look(item)
    if (found !== undefined) {
      return found
    }
  }
  return undefined
}
