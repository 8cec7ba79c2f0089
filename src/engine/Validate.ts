/**
 * What no request may contain, whatever its kind: text that a store cannot keep, numbers that are none.
 */
import type { DescMessage, Message } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import { Refusal } from "../Handlers.js"

/** Refuses a request with U+0000 in a string, or with an infinite number or NaN; the sentence names the field. */
export const check = (desc: DescMessage, message: Message): Effect.Effect<void, Refusal> => {
  const found = problem(desc, message)
  return found === undefined ? Effect.void : Effect.fail(Refusal.invalid(found))
}

const problem = (desc: DescMessage, message: object): string | undefined => {
  const values: { readonly [field: string]: unknown } = { ...message }
  for (const field of desc.fields) {
    const value = values[field.localName]
    const found = problemOf(field.name, value)
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
