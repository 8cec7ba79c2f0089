/**
 * How long a key may be. Databases keep keys in indexes, and an index has no room for texts of any length: PostgreSQL's
 * takes 2,704 bytes for all parts of a key together. So every store refuses the same keys, whatever its own limit is.
 */
import type { DescMessage } from "@bufbuild/protobuf"

/** Of one part of a key, in bytes of UTF-8. */
export const longest = 1_024

/** Of a reaction's id: it is a part of the ids of what the reaction begins. */
const longestReactionId = 512

/** Of an invocation or a session, in all its parts. */
const longestTogether = 2_048

/** What rows are found by, as the fields of requests are called. */
const limits: ReadonlyMap<string, number> = new Map([
  ...[
    "appName",
    "userId",
    "sessionId",
    "invocationId",
    "toolName",
    "customKey",
    "idempotencyKey",
    "businessKey",
    "connector",
    "effectKey",
    "kind",
    "compensateOnDuplicateKind",
    "gateName",
    "timerId",
    "namespace",
    "key",
    "id",
    "agentApp"
  ].map((name) => [name, longest] as const),
  ["reactionId", longestReactionId]
])

const parts: ReadonlySet<string> = new Set(["appName", "userId", "sessionId", "invocationId"])

/** Why a text is too long for a field of this name, or `undefined`. */
export const problemOf = (
  field: { readonly localName: string; readonly name: string },
  text: string
): string | undefined => {
  const limit = limits.get(field.localName)
  // No text has more bytes than three for each of its units.
  if (limit === undefined || 3 * text.length <= limit) {
    return undefined
  }
  const size = Buffer.byteLength(text)
  return size > limit ? tooLong(field.name, size, limit) : undefined
}

/** The check of what a kind of message names in several parts. */
export const together = (
  desc: DescMessage
): ((message: { readonly [field: string]: unknown }) => string | undefined) => {
  const fields = desc.fields.filter(({ localName }) => parts.has(localName))
  return fields.length < 3
    ? () => undefined
    : (message) => {
        const size = fields.reduce((sum, { localName }) => {
          const part = message[localName]
          return sum + (typeof part === "string" ? Buffer.byteLength(part) : 0)
        }, 0)
        return size > longestTogether
          ? tooLong(fields.map(({ name }) => name).join(", "), size, longestTogether, " together")
          : undefined
      }
}

const tooLong = (what: string, size: number, limit: number, together = ""): string =>
  `${what}: ${size} bytes${together}, a key has at most ${limit}${together}`
