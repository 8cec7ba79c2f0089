import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Request, type Semantics } from "../connectors/protocol.js"
import { type EffectRecord, EffectSemantics } from "../gen/tape/v1/tape_pb.js"
import type { Belonging } from "./belonging.js"

const decodeJson = Schema.decodeEither(Schema.parseJson())

/** JSON if it is, else the text itself. */
export const parsed = (text: string): unknown => Either.getOrElse(decodeJson(text), () => text)

/** A kind of semantics that we do not know is sent at most once. */
export const semanticsOf = (row: EffectRecord): Semantics => {
  switch (row.semantics) {
    case EffectSemantics.IDEMPOTENT:
    case EffectSemantics.UNSPECIFIED:
      return "idempotent"
    case EffectSemantics.OBSERVE_ONLY:
      return "observe_only"
    default:
      return "non_idempotent"
  }
}

/** The row as its connector sees it; `attempt` counts the one that is being made. */
export const requestOf = (row: EffectRecord, attempt: number, belonging: Belonging): Request =>
  new Request({
    ...belonging,
    runId: row.runId,
    idempotencyKey: row.idempotencyKey,
    tool: row.toolName,
    connector: row.connector,
    businessKey: row.businessKey,
    semantics: semanticsOf(row),
    attempt,
    payload: parsed(row.requestJson)
  })

/**
 * What a confirmed effect's row holds: the answer's fields beside `external_ref`; an answer that is no object stands
 * under `value`. An answer that cannot be written as JSON is left out: the effect is confirmed all the same.
 */
export const answerJson = (answer: {
  readonly externalRef?: string | undefined
  readonly response?: unknown
}): string => {
  const { externalRef, response } = answer
  const reference = externalRef === undefined ? {} : { external_ref: externalRef }
  const fields = response === undefined ? {} : isObject(response) ? response : { value: response }
  return Option.getOrElse(Option.liftThrowable(() => JSON.stringify({ ...reference, ...fields }))(), () =>
    JSON.stringify(reference)
  )
}

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/**
 * Whether somebody claimed this effect before and was never heard of again: he may have sent it. Tapes of this project
 * say so in the claimed row, the reference server leaves the old claimer in the row until the next claim.
 */
export const isVanished = (before: EffectRecord, claimed: EffectRecord): boolean =>
  before.dispatchClaimedBy !== "" || isExpiredClaim(claimed.lastDispatchError)

/** Whether the error of the last recorded attempt was overwritten by the note of an expired claim. */
export const isExpiredClaim = (error: string): boolean => /^claim of .* expired unreported$/s.test(error)

/**
 * The effect as it was before our claim. Another may have taken a whole turn since it was read, so what the claimed row
 * says counts, unless the claim has just put its own note in the place of the one that was read.
 */
export const beforeClaim = (read: EffectRecord, claimed: EffectRecord): EffectRecord =>
  isExpiredClaim(claimed.lastDispatchError) && claimed.dispatchAttempts === read.dispatchAttempts
    ? read
    : { ...claimed, dispatchClaimedBy: read.dispatchClaimedBy }

/** What a dispatcher leaves in `last_dispatch_error`, for the next one and for people. */
const Note = Schema.parseJson(
  Schema.Struct({
    reason: Schema.optional(Schema.String),
    error: Schema.optional(Schema.String),
    /** Attempts that failed, without the checks of an accepted effect that dispatch_attempts also counts. */
    failures: Schema.optional(Schema.Int),
    accepted: Schema.optional(Schema.Struct({ checks: Schema.Int, external_ref: Schema.optional(Schema.String) }))
  })
)

export type Note = typeof Note.Type

const decodeNote = Schema.decodeOption(Note)

export const encodeNote = Schema.encodeSync(Note)

/** What is kept of an error: one that the tape would not hold could not be recorded, and its effect not be given up. */
export const excerptOf = (error: string): string =>
  error.length > longestError ? `${error.slice(0, longestError)}…` : error

const longestError = 5_000

/** The note in a row's last error; empty when there is none that we wrote. */
export const noteOf = (row: EffectRecord): Note => Option.getOrElse(decodeNote(row.lastDispatchError), () => ({}))

/** How many attempts failed so far. */
export const failuresOf = (row: EffectRecord): number => noteOf(row).failures ?? row.dispatchAttempts
