import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { isHeld } from "../durable/lease.js"
import type { TapeError } from "../Errors.js"
import { type ObligationRecord, ObligationStatus, type RunState, RunStatus } from "../gen/tape/v1/tape_pb.js"
import { parsed } from "../outbox/rows.js"
import type { Find } from "./compensators.js"
import type { Drained } from "./drained.js"
import { namesOf, type Undoing, undo } from "./undo.js"

interface Drain<R> extends Undoing {
  readonly find: Find<R>
  /** Whether an obligation that nothing here undoes is settled STUCK; else it is left to others. */
  readonly sticks: (run: RunState) => boolean
  /** Undoes what is registered whatever becomes of its run. */
  readonly all: boolean
  readonly report: (report: Drained) => Effect.Effect<void>
}

/** What a run's turn came to: its reports, and whether anything of it is owed at all. */
export interface Turn {
  readonly reports: ReadonlyArray<Drained>
  /** Nothing is: by its end for good, or as long as nobody undoes it. */
  readonly owes: "something" | "nothing-yet" | "nothing-ever"
}

/** Undoes what a run owes, the newest first, until one has to wait; ends a COMPENSATING run that owes nothing more. */
export const drainRun = <R>(runId: string, drain: Drain<R>): Effect.Effect<Turn, TapeError, R> =>
  Effect.gen(function* () {
    const { tape } = drain
    const reports: Array<Drained> = []
    const say = (report: Drained) =>
      Effect.zipRight(
        drain.report(report),
        Effect.sync(() => reports.push(report))
      )
    while (true) {
      const run = yield* tape.getRun({ runId })
      const { obligations } = yield* tape.listObligations({ runId })
      const owed = drain.all ? obligations : owedBy(run, obligations)
      const head = owed.find(isOpen)
      if (head === undefined) {
        const ended = yield* end(run, obligations, drain)
        yield* Effect.forEach(ended, say)
        return { reports, owes: ended.length > 0 ? "nothing-yet" : owesOf(run) } satisfies Turn
      }
      const now = yield* Clock.currentTimeMillis
      if (isHeld(run, now) && run.status === RunStatus.COMPENSATING) {
        yield* say({ ...namesOf(head), _tag: "skipped", reason: "driven", detail: `${run.leaseOwner} undoes the run` })
        return { reports, owes: "something" } satisfies Turn
      }
      const report = isDue(head, now) ? yield* settle(run, head, drain) : waiting(head)
      yield* say(report)
      if (report._tag !== "compensated" && report._tag !== "stuck") return { reports, owes: "something" } satisfies Turn
    }
  })

/** A COMPENSATING run is not over while somebody drives it: when he is gone, it still has to be ended. */
const owesOf = ({ status }: RunState): Turn["owes"] =>
  status === RunStatus.COMPENSATING ? "something" : status === RunStatus.TERMINAL ? "nothing-ever" : "nothing-yet"

const settle = <R>(run: RunState, head: ObligationRecord, drain: Drain<R>): Effect.Effect<Drained, TapeError, R> =>
  Effect.flatMap(drain.find(drain.tape, head), (by) =>
    typeof by === "string" && !drain.sticks(run)
      ? Effect.succeed<Drained>({ ...namesOf(head), _tag: "skipped", reason: "no-compensator", detail: by })
      : undo(head, by, drain)
  )

/**
 * A registered compensation is owed when its run is undone. Two are owed whatever becomes of the run: that of an effect
 * that happened twice, and one that came late to a run whose others were undone.
 */
const owedBy = (run: RunState, obligations: ReadonlyArray<ObligationRecord>): ReadonlyArray<ObligationRecord> => {
  if (run.status === RunStatus.COMPENSATING) return obligations
  const wasUndone =
    run.status === RunStatus.FAILED &&
    obligations.some((row) => row.status === ObligationStatus.COMPENSATED && !isDuplicate(row))
  return wasUndone ? obligations : obligations.filter(isDuplicate)
}

const isDuplicate = (row: ObligationRecord): boolean => {
  const payload = parsed(row.payloadJson)
  return typeof payload === "object" && payload !== null && Reflect.get(payload, "reason") === "duplicate-observed"
}

const isOpen = (row: ObligationRecord): boolean =>
  row.status === ObligationStatus.PENDING || row.status === ObligationStatus.COMMITTED

const isDue = (row: ObligationRecord, now: number): boolean =>
  row.status === ObligationStatus.PENDING
    ? Number(row.nextAttemptAtMs) <= now
    : row.claimExpiresAtMs > 0n && Number(row.claimExpiresAtMs) <= now

const waiting = (row: ObligationRecord): Drained => ({
  ...namesOf(row),
  _tag: "skipped",
  reason: "contended",
  detail: row.status === ObligationStatus.COMMITTED ? `${row.claimedBy} has the claim` : "it is not due"
})

const end = Effect.fnUntraced(function* <R>(
  before: RunState,
  obligations: ReadonlyArray<ObligationRecord>,
  { tape }: Drain<R>
) {
  const { runId } = before
  if (before.status !== RunStatus.COMPENSATING || obligations.some(isOpen)) return []
  const now = yield* Clock.currentTimeMillis
  if (isHeld(before, now)) return []
  // Whoever began the undoing may be about to register what it takes: he has as long as his lease would have lasted.
  if (obligations.length === 0 && Number(before.leaseExpiresAtMs) > now) return []
  const stuck = obligations.filter(({ status }) => status === ObligationStatus.STUCK)
  const status = stuck.length > 0 ? "STUCK" : "FAILED"
  const detail = stuck.length > 0 ? { stuck: stuck.map(({ effectKey }) => effectKey) } : { compensated: true }
  const { run } = yield* tape.endRun({ runId, status: RunStatus[status], detailJson: JSON.stringify(detail) })
  // The first final status wins: another drainer, or a person, may have ended it.
  return run?.status === RunStatus[status] ? [{ _tag: "ended", runId, status } satisfies Drained] : []
})
