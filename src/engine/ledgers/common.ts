/** What several ledgers need to say the same way. */
import * as Effect from "effect/Effect"
import { RunStatus } from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import type { StoreError } from "../StoreError.js"
import type { Reader } from "../store/Transaction.js"
import { type Run, Runs } from "../store/tables.js"

/** What a ledger's function answers: its value, a refusal, or the store's trouble. */
export type Answer<A> = Effect.Effect<A, Refusal | StoreError>

/** A run by id, for a write: an unknown one is refused. */
export const requireRun = (reader: Reader, runId: string): Answer<Run> =>
  Effect.flatMap(reader.get(Runs, { runId }), (run) =>
    run === undefined
      ? Effect.fail(Refusal.notFound(`run ${JSON.stringify(runId)} does not exist`))
      : Effect.succeed(run)
  )

/** On a run with one of these statuses nothing new begins. */
const over: ReadonlySet<RunStatus> = new Set([RunStatus.TERMINAL, RunStatus.STUCK, RunStatus.CANCELLED])

export const isOver = (run: Run): boolean => over.has(run.status)

/** Refuses to begin something new on a run that is over. */
export const requireOpen = (run: Run, what: string): Effect.Effect<void, Refusal> =>
  isOver(run)
    ? Effect.fail(Refusal.precondition(`run finished (${statusWord(run.status)}): no new ${what} begins on it`))
    : Effect.void

/** `RUNNING` → `running`. */
export const statusWord = (status: RunStatus): string => (RunStatus[status] ?? "ended").toLowerCase()

/** A caller's limit: what is not positive means the default, and there is a ceiling for every list. */
export const limitOf = (requested: bigint | number, byDefault: number): bigint => {
  const limit = BigInt(requested)
  return limit <= 0n ? BigInt(byDefault) : limit < maxListed ? limit : maxListed
}

/** The most that any list answers. */
const maxListed = 10_000n

/** `now_ms` of a request, or the store's clock when it is not set. */
export const nowOr = (requested: bigint, nowMs: bigint): bigint => (requested > 0n ? requested : nowMs)

/** A point in time after another; far away is as far as an int64 goes. */
export const after = (nowMs: bigint, durationMs: bigint, defaultMs: bigint): bigint => {
  const end = nowMs + (durationMs > 0n ? durationMs : defaultMs)
  return end > maxInt64 ? maxInt64 : end
}

export const maxInt64 = 9_223_372_036_854_775_807n

/** Rows of several ordered queries as one ordered list. */
export const mergeSorted = <A>(
  lists: ReadonlyArray<ReadonlyArray<A>>,
  limit: bigint,
  ...by: ReadonlyArray<(row: A) => bigint>
): ReadonlyArray<A> =>
  lists
    .flat()
    .toSorted((left, right) => {
      const column = by.find((value) => value(left) !== value(right))
      return column === undefined ? 0 : column(left) < column(right) ? -1 : 1
    })
    .slice(0, Number(limit))
