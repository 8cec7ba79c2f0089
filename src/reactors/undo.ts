import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { TapeClient } from "../Client.js"
import { Compensated } from "../connectors/protocol.js"
import { NothingToUndo } from "../durable/compensate.js"
import type { TapeError } from "../Errors.js"
import { type ObligationRecord, ObligationStatus } from "../gen/tape/v1/tape_pb.js"
import { sentenceOfError } from "../internal/sentence.js"
import { inSpanOf } from "../observability/tracing.js"
import { finishing } from "../outbox/finishing.js"
import { CannotCompensate, type Undo } from "./compensators.js"
import type { Drained } from "./drained.js"

export interface Undoing {
  readonly tape: TapeClient["Type"]
  readonly claimer: string
  /** How long a claim lasts, in milliseconds. */
  readonly ttl: number
  readonly jitter: boolean
  readonly grace: Duration.DurationInput
}

/** Claims one obligation, undoes what it stands for and records it. From the claim on it runs to its end. */
export const undo = <R>(
  row: ObligationRecord,
  by: Undo<R> | string,
  settings: Undoing
): Effect.Effect<Drained, never, R> =>
  turn(row, by, settings).pipe(
    Effect.catchAll((error: TapeError) =>
      Effect.succeed<Drained>({ ...namesOf(row), _tag: "error", error: error.message })
    ),
    (turn) =>
      inSpanOf(
        turn,
        "tape.compensate",
        () => ({ "tape.run_id": row.runId, "tape.effect_key": row.effectKey, "tape.kind": row.kind }),
        (report) => ("error" in report ? report.error : undefined)
      ),
    finishing(settings.grace, "a compensation in flight was recorded; its claim expires, then it is made again")
  )

const turn = Effect.fnUntraced(function* <R>(row: ObligationRecord, by: Undo<R> | string, settings: Undoing) {
  const { tape } = settings
  const startedAt = yield* Clock.currentTimeMillis
  const { acquired, obligation } = yield* tape.claimObligation({
    ...keyOf(row),
    claimer: settings.claimer,
    leaseTtlMs: BigInt(settings.ttl)
  })
  if (!acquired || obligation === undefined) return contended(row, obligation)
  const claim: Claim = { ...settings, row: obligation, startedAt }
  if (typeof by === "string") return yield* failed(claim, by, true)
  const answer = yield* answered(by, claim)
  switch (answer._tag) {
    case "compensated":
      return yield* resolved(claim, by.by, answer.response)
    case "pending":
      // Not an attempt that failed: it is asked again, when the claim has run out.
      return scheduled(obligation, obligation.claimExpiresAtMs, answer.error ?? "accepted, not done yet")
    case "stuck":
      return yield* failed(claim, answer.error, true)
    case "failed":
      return yield* failed(claim, answer.error, false)
  }
})

interface Claim extends Undoing {
  readonly row: ObligationRecord
  readonly startedAt: number
}

const contended = (row: ObligationRecord, now: ObligationRecord | undefined): Drained => ({
  ...namesOf(row),
  _tag: "skipped",
  reason: "contended",
  detail: now === undefined ? "it is gone" : now.claimedBy === "" ? "it is not due" : `${now.claimedBy} has the claim`
})

/** The compensator's answer within half the claim's time: the other half is for recording it. */
const answered = <R>(by: Undo<R>, claim: Claim): Effect.Effect<Compensated, never, R> => {
  const limit = Duration.millis(claim.ttl / 2)
  return by.run.pipe(
    Effect.disconnect,
    Effect.timeoutOption(limit),
    Effect.matchCause({
      onFailure: (cause): Compensated => {
        const error = Cause.squash(cause)
        const isForGood = error instanceof CannotCompensate || error instanceof NothingToUndo
        return { _tag: isForGood ? "stuck" : "failed", error: sentenceOfError(error) }
      },
      onSuccess: (answer): Compensated => {
        if (Option.isNone(answer)) return { _tag: "failed", error: `no answer within ${Duration.format(limit)}` }
        if (by.by !== "connector") return { _tag: "compensated", response: answer.value }
        return Schema.is(Compensated)(answer.value)
          ? answer.value
          : { _tag: "failed", error: "not an answer of a compensation" }
      }
    })
  )
}

/** What is undone is never undone again: recording it is repeated for as long as the claim holds others off. */
const resolved = Effect.fnUntraced(function* (claim: Claim, by: Undo<never>["by"], response: unknown) {
  const write = (resultJson: string) =>
    repeated(
      claim,
      claim.tape.resolveObligation({ ...keyOf(claim.row), status: ObligationStatus.COMPENSATED, resultJson })
    )
  const after = yield* Effect.catchTags(write(jsonOf(response)), {
    ResourceExhausted: () => write(""),
    InvalidRequest: () => write("")
  })
  const named = namesOf(claim.row)
  if (after.status === ObligationStatus.COMPENSATED) return { ...named, _tag: "compensated", by } satisfies Drained
  return { ...named, _tag: "error", error: `the row says ${ObligationStatus[after.status]}` } satisfies Drained
})

const failed = Effect.fnUntraced(function* (claim: Claim, error: string, isForGood: boolean) {
  const { row, tape } = claim
  const wait = Math.min(1000 * 2 ** row.attempts, 300_000)
  const spread = claim.jitter ? yield* Random.nextRange(0.8, 1.2) : 1
  const elapsed = (yield* Clock.currentTimeMillis) - claim.startedAt
  // The tape's time, whatever our own clock says.
  const next = row.claimExpiresAtMs + BigInt(Math.round(elapsed + wait * spread - claim.ttl))
  const write = tape.recordObligationAttempt({ ...keyOf(row), error, nextAttemptAtMs: isForGood ? 0n : next })
  // It counts and guards nothing: after a lost answer it is written again only if the row shows that it was not applied.
  const again = Effect.flatMap(tape.listObligations({ runId: row.runId }), ({ obligations }) => {
    const now = obligations.find(({ seq }) => seq === row.seq)
    const isOurs = now?.status === ObligationStatus.COMMITTED && now.claimedBy === row.claimedBy
    return now === undefined || isOurs ? write : Effect.succeed(now)
  })
  const after = yield* Effect.catchIf(write, isTransient, () => repeated(claim, Effect.delay(again, "100 millis")))
  if (after.status === ObligationStatus.STUCK) {
    return { ...namesOf(row), _tag: "stuck", error } satisfies Drained
  }
  return after.status === ObligationStatus.PENDING
    ? scheduled(after, after.nextAttemptAtMs, error)
    : ({ ...namesOf(row), _tag: "error", error: `the row says ${ObligationStatus[after.status]}` } satisfies Drained)
})

const scheduled = (row: ObligationRecord, next: bigint, error: string): Drained => ({
  ...namesOf(row),
  _tag: "scheduled",
  attempts: row.attempts,
  nextAt: DateTime.unsafeMake(Number(next)),
  error
})

const repeated = <A>(claim: Claim, call: Effect.Effect<A, TapeError>): Effect.Effect<A, TapeError> =>
  Effect.retry(call, {
    schedule: spacing,
    while: (error) =>
      isTransient(error)
        ? Effect.map(Clock.currentTimeMillis, (now) => now - claim.startedAt < claim.ttl * 0.9)
        : Effect.succeed(false)
  })

const spacing = Schedule.exponential("100 millis").pipe(
  Schedule.modifyDelay((_, delay) => Duration.min(delay, "2 seconds")),
  Schedule.jittered
)

const isTransient = (error: TapeError): boolean =>
  error._tag === "Unavailable" || error._tag === "DeadlineExceeded" || error._tag === "Cancelled"

/** Empty for what cannot be written as JSON: it is undone all the same. */
const jsonOf = (value: unknown): string =>
  Option.getOrElse(Option.liftThrowable(() => JSON.stringify(value) ?? "")(), () => "")

const keyOf = ({ runId, seq }: ObligationRecord) => ({ runId, obligationSeq: seq })

export const namesOf = ({ effectKey, kind, runId, seq }: ObligationRecord) => ({
  runId,
  obligationSeq: seq,
  effectKey,
  kind
})
