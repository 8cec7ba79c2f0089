import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { TapeClient } from "../Client.js"
import { PreconditionFailed, type TapeError } from "../Errors.js"
import { type EffectRecord, EffectResolution, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { answerJson, encodeNote, type Note } from "./rows.js"

/** An effect under our claim, and since when. */
export interface Claim {
  readonly tape: TapeClient["Type"]
  readonly row: EffectRecord
  readonly claimer: string
  /** Right before the claim was asked for, so never later than the tape's own start of it. */
  readonly since: Instant
  readonly ttl: number
}

export interface Answer {
  readonly externalRef?: string | undefined
  readonly response?: unknown
}

interface Instant {
  readonly millis: number
  readonly nanos: bigint
}

export const now: Effect.Effect<Instant> = Effect.zipWith(
  Clock.currentTimeMillis,
  Clock.currentTimeNanos,
  (millis, nanos) => ({ millis, nanos })
)

/** By the clock that is never set back, or by the one that goes on while the machine sleeps: whichever says more. */
export const age = ({ since }: Claim): Effect.Effect<number> =>
  Effect.map(now, ({ millis, nanos }) => Math.max(millis - since.millis, Number(nanos - since.nanos) / 1_000_000))

/**
 * Done: CompleteEffect, repeated until the claim is nearly over (it is safe to). The row that comes back may say
 * otherwise: somebody recorded UNKNOWN meanwhile, then what we know is recorded as an observation.
 */
export const confirm = (claim: Claim, answer: Answer): Effect.Effect<EffectRecord, TapeError> =>
  fitting(claim, answer, (answer) =>
    claim.tape.completeEffect({ ...keyOf(claim.row), status: EffectStatus.CONFIRMED, responseJson: answerJson(answer) })
  ).pipe(
    Effect.flatMap((row) =>
      row.status === EffectStatus.UNKNOWN ? observe(claim, EffectResolution.CONFIRMED, answer) : Effect.succeed(row)
    )
  )

/** What the counterparty says became of it. */
export const observe = (
  claim: Claim,
  resolution: EffectResolution,
  answer: Answer,
  more: { readonly errorJson?: string; readonly compensateOnDuplicateKind?: string } = {}
): Effect.Effect<EffectRecord, TapeError> =>
  fitting(claim, answer, (answer) =>
    claim.tape.recordExternalObservation({
      ...keyOf(claim.row),
      resolution,
      externalRef: answer.externalRef ?? "",
      responseJson: resolution === EffectResolution.FAILED ? "" : answerJson(answer),
      ...more
    })
  )

/** It will not happen. Past its time the claim may be another's, and his attempt on its way: then it is not for us to say. */
export const fail = (claim: Claim, errorJson: string): Effect.Effect<EffectRecord, TapeError> => {
  const write = observe(claim, EffectResolution.FAILED, {}, { errorJson })
  return Effect.flatMap(age(claim), (elapsed) =>
    elapsed < claim.ttl
      ? write
      : Effect.flatMap(claim.tape.getEffect(keyOf(claim.row)), ({ effect }) =>
          effect === undefined || effect.dispatchClaimedBy === claim.claimer
            ? write
            : lost("RecordExternalObservation", claim, effect)
        )
  )
}

/**
 * An attempt that settled nothing; without `wait` (milliseconds) the effect becomes UNKNOWN.
 *
 * RecordDispatchAttempt counts and guards nothing: it is written only while the claim is ours, and after a lost answer
 * only when the row shows that it was not applied.
 */
export const attempt = (claim: Claim, note: Note, wait?: number): Effect.Effect<EffectRecord, TapeError> => {
  const write = Effect.flatMap(age(claim), (elapsed) =>
    claim.tape.recordDispatchAttempt({
      ...keyOf(claim.row),
      error: encodeNote(note),
      nextDispatchAtMs: wait === undefined ? 0n : tapeTime(claim, elapsed + wait)
    })
  )
  const ours = Effect.flatMap(repeated(claim, claim.tape.getEffect(keyOf(claim.row))), ({ effect }) => {
    if (effect === undefined || effect.dispatchAttempts > claim.row.dispatchAttempts) return Effect.succeed(effect)
    if (effect.dispatchClaimedBy === claim.claimer) return Effect.succeed(undefined)
    return Effect.fail(lost("RecordDispatchAttempt", claim, effect))
  })
  const again: Effect.Effect<EffectRecord, TapeError> = Effect.flatMap(ours, (applied) =>
    applied === undefined ? write : Effect.succeed(applied)
  )
  return Effect.flatMap(age(claim), (elapsed) =>
    // Past its time another may hold the claim; this write would take it from him.
    (elapsed < claim.ttl ? write : again).pipe(
      Effect.catchIf(isTransient, () => repeated(claim, Effect.delay(again, "100 millis")))
    )
  )
}

/** Registers what would undo a confirmed effect. Once per effect and kind, however often it is said. */
export const compensation = (claim: Claim, kind: string, answer: Answer) =>
  fitting(claim, answer, (answer) =>
    claim.tape.registerCompensation({
      runId: claim.row.runId,
      effectKey: claim.row.idempotencyKey,
      kind,
      payloadJson: answerJson(answer)
    })
  )

const keyOf = (row: EffectRecord) => ({ runId: row.runId, idempotencyKey: row.idempotencyKey })

/** The tape's time `elapsed` milliseconds after the claim, whatever our own clock says. */
const tapeTime = (claim: Claim, elapsed: number): bigint =>
  claim.row.dispatchClaimExpiresAtMs > 0n
    ? claim.row.dispatchClaimExpiresAtMs + BigInt(Math.round(elapsed - claim.ttl))
    : BigInt(Math.round(claim.since.millis + elapsed))

/** Repeats a call that is harmless to repeat while the claim has time left. */
const repeated = <A>(claim: Claim, call: Effect.Effect<A, TapeError>): Effect.Effect<A, TapeError> =>
  Effect.retry(call, {
    schedule: spacing,
    while: (error) => (isTransient(error) ? Effect.map(age(claim), (elapsed) => elapsed < claim.ttl * 0.9) : false)
  })

/** An answer that the tape will not hold (too large) must not leave a finished effect open: then without it. */
const fitting = <A>(claim: Claim, answer: Answer, write: (answer: Answer) => Effect.Effect<A, TapeError>) => {
  const without = () => repeated(claim, write({ externalRef: answer.externalRef }))
  return Effect.catchTags(repeated(claim, write(answer)), { ResourceExhausted: without, InvalidRequest: without })
}

const spacing = Schedule.exponential("100 millis").pipe(
  Schedule.modifyDelay((_, delay) => Duration.min(delay, "2 seconds")),
  Schedule.jittered
)

const isTransient = (error: TapeError): boolean =>
  error._tag === "Unavailable" || error._tag === "DeadlineExceeded" || error._tag === "Cancelled"

const lost = (rpc: string, claim: Claim, row: EffectRecord): PreconditionFailed =>
  new PreconditionFailed({
    rpc,
    detail: `the claim ran out${row.dispatchClaimedBy === "" ? "" : ` and is ${row.dispatchClaimedBy}'s now`}`,
    ids: { run_id: claim.row.runId, idempotency_key: claim.row.idempotencyKey }
  })
