/**
 * Compensation of a run: what was done is undone, the newest first, before the run ends.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type ObligationRecord, ObligationStatus, type RunState, RunStatus } from "../gen/tape/v1/tape_pb.js"
import { inSpan } from "../observability/tracing.js"
import { type Row, settleOpen } from "./act.js"
import type { Compensator } from "./compensate.js"
import { RunCancelled, RunCompensated } from "./errors.js"
import * as Json from "./json.js"
import { ask, type CurrentRun, enter, isFinal, type Life, leaseMillis, stop } from "./run.js"

/**
 * Undoes what the run did, the newest first, and ends the run: the program stops here. `start` and `redrive` fail with
 * `RunCompensated` when everything is undone (the run is FAILED), with `RunStuck` when something could not be.
 *
 * Undone are the confirmed effects of tools that have a `compensate`. Each is tried up to five times, with growing pauses;
 * an older effect waits for the newer ones, until they are undone or stuck. A process that dies in the middle leaves the rest
 * to the next `start` or `redrive` of the run, or to the reactor of obligations.
 *
 * @since 0.1.0
 * @category durable
 */
export const compensate: Effect.Effect<never, never, CurrentRun> = Effect.flatMap(enter("a compensation"), (life) => {
  life.state.undoing = life.mode !== "finished"
  return stop(life, new RunCompensated({ runId: life.runId }))
})

/**
 * Ends the run as CANCELLED: the program stops here, and what was done stays done. `start` and `redrive` fail with
 * `RunCancelled`.
 *
 * @since 0.1.0
 * @category durable
 */
export const cancel = (reason = ""): Effect.Effect<never, never, CurrentRun> =>
  Effect.flatMap(enter("a cancellation"), (life) => {
    const { runId, tape } = life
    const detailJson = JSON.stringify({ reason })
    const stopped = stop(life, new RunCancelled({ runId }))
    if (life.mode === "finished") return stopped
    return Effect.zipRight(ask(life, tape.endRun({ runId, status: RunStatus.CANCELLED, detailJson })), stopped)
  })

/** Registers what would undo a confirmed effect. Once per effect and kind, however often it is said. */
export const owe = (life: Life, row: Row, kind: string): Effect.Effect<void> => {
  const bodies = [
    row.requestJson === "" ? [] : [`"input":${row.requestJson}`],
    row.responseJson === "" ? [] : [`"output":${row.responseJson}`]
  ]
  const call = life.tape.registerCompensation({
    runId: life.runId,
    effectKey: row.key,
    kind,
    payloadJson: `{${bodies.flat().join(",")}}`
  })
  return life.mode === "finished" ? Effect.void : Effect.asVoid(ask(life, Effect.uninterruptible(call)))
}

/** From here on the run is COMPENSATING, and driven by whoever takes its lease. A run that has ended stays as it is. */
export const begin = Effect.fnUntraced(function* (life: Life) {
  const { runId, tape } = life
  yield* settleOpen(life)
  const run = yield* ask(life, tape.getRun({ runId }))
  if (isFinal(run.status)) return run
  const ended = yield* ask(life, Effect.uninterruptible(tape.endRun({ runId, status: RunStatus.COMPENSATING })))
  return ended.run ?? run
})

/** Undoes what is left, under the lease, and ends the run: FAILED, or STUCK when something could not be undone. */
export const finish = Effect.fnUntraced(function* <R>(
  life: Life,
  compensatorOf: (kind: string) => Compensator<R> | undefined
): Effect.fn.Return<RunState | undefined, never, R> {
  const { runId, tape } = life
  while (true) {
    const { obligations } = yield* ask(life, tape.listObligations({ runId, onlyUnresolved: true }))
    // Newest first. One that waits for its next attempt, or that somebody else works at, holds back the older ones.
    const next = obligations[0]
    if (next === undefined) break
    yield* Effect.annotateLogs(attempt(life, next, compensatorOf(next.kind)), "effect_key", next.effectKey)
  }
  const { obligations } = yield* ask(life, tape.listObligations({ runId }))
  const stuck = obligations.filter((obligation) => obligation.status === ObligationStatus.STUCK)
  if (stuck.length > 0) {
    const names = stuck.map(({ effectKey, lastError }) => `${effectKey} (${lastError})`).join(", ")
    yield* Effect.logError(`run ${runId} is stuck: a person has to undo ${names}`)
  }
  const status = stuck.length > 0 ? RunStatus.STUCK : RunStatus.FAILED
  const detailJson = JSON.stringify({ compensated: obligations.length - stuck.length, stuck: stuck.length })
  const { run } = yield* ask(life, Effect.uninterruptible(tape.endRun({ runId, status, detailJson })))
  return run
})

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const attempt = Effect.fnUntraced(function* <R>(
  life: Life,
  known: ObligationRecord,
  compensator: Compensator<R> | undefined
): Effect.fn.Return<void, never, R> {
  const { owner: claimer, runId, tape } = life
  const obligationSeq = known.seq
  const now = yield* Clock.currentTimeMillis
  const opensAt = known.status === ObligationStatus.COMMITTED ? known.claimExpiresAtMs : known.nextAttemptAtMs
  const early = Number(opensAt) - now
  if (early > 0) yield* Effect.sleep(Math.min(early, longestLook))
  const { acquired, obligation } = yield* ask(
    life,
    tape.claimObligation({ runId, obligationSeq, claimer, leaseTtlMs: leaseMillis(life) })
  )
  if (!acquired || obligation === undefined) {
    // The tape's clock is behind ours, or another process is at it.
    if (early <= 0) yield* Effect.sleep(shortestLook)
    return
  }
  const outcome = yield* Effect.exit(tried(life, obligation, compensator))
  if (outcome._tag === "Success") {
    const resultJson = yield* Effect.orElseSucceed(Json.write(outcome.value), () => "")
    const status = ObligationStatus.COMPENSATED
    yield* ask(life, Effect.uninterruptible(tape.resolveObligation({ runId, obligationSeq, status, resultJson })))
    return
  }
  const failed = Option.getOrElse(Cause.failureOption(outcome.cause), () => Cause.squash(outcome.cause))
  const error = failed instanceof Error ? failed.message : String(failed)
  const attempts = obligation.attempts + 1
  // Without a compensator a repetition would change nothing.
  const isLast = compensator === undefined || attempts >= obligation.maxAttempts
  yield* Effect.logWarning(`${known.effectKey} of run ${runId} is not undone (attempt ${attempts}): ${error}`)
  const failedAt = yield* Clock.currentTimeMillis
  const nextAttemptAtMs = isLast ? 0n : BigInt(failedAt + Math.min(firstPause * 2 ** (attempts - 1), longestPause))
  yield* ask(
    life,
    Effect.uninterruptible(tape.recordObligationAttempt({ runId, obligationSeq, error, nextAttemptAtMs }))
  )
})

/** Within the claim: after that another process may be at it. */
const tried = <R>(life: Life, obligation: ObligationRecord, compensator: Compensator<R> | undefined) => {
  if (compensator === undefined) {
    return Effect.fail(`no-compensator: no tool of app ${life.app} undoes ${JSON.stringify(obligation.kind)}`)
  }
  const limit = Duration.times(life.leaseTtl, 0.9)
  const { effectKey, kind, runId } = obligation
  return inSpan(
    Effect.suspend(() => compensator(Json.parseOrText(obligation.payloadJson), obligation)).pipe(
      Effect.timeoutFail({ duration: limit, onTimeout: () => `it took longer than ${Duration.format(limit)}` })
    ),
    "tape.compensate",
    () => ({ "tape.run_id": runId, "tape.effect_key": effectKey, "tape.kind": kind }),
    "client"
  )
}

const shortestLook = 200
const longestLook = Duration.toMillis("5 seconds")
const firstPause = Duration.toMillis("1 second")
const longestPause = Duration.toMillis("5 minutes")
