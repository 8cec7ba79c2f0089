/**
 * What a policy no longer keeps, found by index and removed batch by batch.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { EffectStatus, ObligationStatus, RunStatus, TaskStatus } from "../../gen/tape/v1/tape_pb.js"
import * as Requests from "../ledgers/Requests.js"
import { Retained } from "../ledgers/retained.js"
import type { StoreError } from "../StoreError.js"
import { type Page, pageBytes } from "../store/Room.js"
import type { Store } from "../store/Store.js"
import type { Reader, Transaction } from "../store/Transaction.js"
import { Effects, Obligations, type Run, Runs, Tasks, Timers } from "../store/tables.js"
import { type Pruned, pruneRun } from "./effects.js"
import { type Forgotten, forgetSnapshot } from "./forget.js"
import { batchSize } from "./housekeeping.js"

type StoreService = Context.Tag.Service<Store>

export const none = { runs: 0, effects: 0, obligations: 0, businessKeys: 0 }

/** Settled effects that are older than a time: of finished runs, and of others as far as snapshots have them. */
export const effects = Effect.fnUntraced(function* (store: StoreService, before: bigint) {
  const report = { ...none }
  for (const pageAfter of [finishedAfter, snapshottedAfter]) {
    let last: Run | undefined
    do {
      const page: Page<Run> = yield* store.read((snapshot) => pageAfter(snapshot, last))
      for (const run of page.rows) {
        const pruned = yield* ofRun(store, run, before)
        report.runs += pruned.effects + pruned.obligations > 0 ? 1 : 0
        report.effects += pruned.effects
        report.obligations += pruned.obligations
        report.businessKeys += pruned.businessKeys
      }
      last = lastOf(page)
    } while (last !== undefined)
  }
  return report
})

/** Snapshots of runs that ended before a time. */
export const snapshots = Effect.fnUntraced(function* (store: StoreService, before: bigint) {
  let removed = 0
  let last: Run | undefined
  do {
    const runs: Page<Run> = yield* store.read((snapshot) => forgettableAfter(snapshot, before, last))
    for (const { runId } of runs.rows) {
      let next: string | undefined = ""
      while (next !== undefined) {
        const afterKey: string = next
        const page: Forgotten = yield* store.write((tx) => forgetSnapshot(tx, runId, before, afterKey))
        removed += page.removed
        next = page.next
      }
    }
    last = lastOf(runs)
  } while (last !== undefined)
  return removed
})

/** Timers that fired, and were due before a time. */
export const timers = (store: StoreService, before: bigint): Effect.Effect<number, StoreError> =>
  inBatches(store, (tx) =>
    Effect.map(
      tx.selectWithin(
        Timers,
        "where fired = 1 and fire_at_ms < ? order by fire_at_ms limit ?",
        [before, BigInt(batchSize)],
        { bytes: pageBytes }
      ),
      ({ rows }) => {
        rows.forEach(({ runId, timerId }) => tx.remove(Timers, { runId, timerId }))
        return rows.length
      }
    )
  )

/** Tasks that were done before a time. */
export const tasks = (store: StoreService, before: bigint): Effect.Effect<number, StoreError> =>
  inBatches(store, (tx) =>
    Effect.map(
      tx.selectWithin(
        Tasks,
        `where status = ${TaskStatus.DONE} and finished_at_ms < ? order by finished_at_ms limit ?`,
        [before, BigInt(batchSize)],
        { bytes: pageBytes }
      ),
      ({ rows }) => {
        rows.forEach(({ taskId }) => tx.remove(Tasks, { taskId }))
        return rows.length
      }
    )
  )

/** Answers that no repeat may ask for any longer. */
export const requestIds = (store: StoreService): Effect.Effect<number, StoreError> =>
  inBatches(store, (tx) => Requests.purge(tx, batchSize))

// ---- internal ----

const runsPage = 100

/** The sum keeps planners from sorting what an index of the status finds, instead of reading in order. */
const final = `status + 0 in (${RunStatus.TERMINAL}, ${RunStatus.FAILED}, ${RunStatus.STUCK}, ${RunStatus.CANCELLED})`
const finished = `${final} and retention < ${Retained.done}`

/** The row to go on from, while there may be more. */
const lastOf = ({ isAll, rows }: Page<Run>): Run | undefined =>
  isAll && rows.length < runsPage ? undefined : rows.at(-1)

const finishedAfter = (reader: Reader, last: Run | undefined) =>
  reader.selectWithin(
    Runs,
    `where ${finished} ${last === undefined ? "" : "and (ended_at_ms, run_id) > (?, ?)"}
     order by ended_at_ms, run_id limit ?`,
    [...(last === undefined ? [] : [last.endedAtMs, last.runId]), BigInt(runsPage)],
    { bytes: pageBytes }
  )

const snapshottedAfter = (reader: Reader, last: Run | undefined) =>
  reader.selectWithin(
    Runs,
    `where retention = ${Retained.snapshotted} and run_id > ? order by run_id limit ?`,
    [last?.runId ?? "", BigInt(runsPage)],
    { bytes: pageBytes }
  )

const forgettableAfter = (reader: Reader, before: bigint, last: Run | undefined) =>
  reader.selectWithin(
    Runs,
    `where ${final} and retention + 0 in (1, 3, 5, 7) and ended_at_ms < ?
       ${last === undefined ? "" : "and (ended_at_ms, run_id) > (?, ?)"} order by ended_at_ms, run_id limit ?`,
    [before, ...(last === undefined ? [] : [last.endedAtMs, last.runId]), BigInt(runsPage)],
    { bytes: pageBytes }
  )

const ofRun = Effect.fnUntraced(function* (store: StoreService, { runId }: Run, before: bigint) {
  const report = { effects: 0, obligations: 0, businessKeys: 0 }
  // Most runs have nothing to prune: a look does not keep writers waiting.
  if (!(yield* store.read((snapshot) => isWorthIt(snapshot, runId, before)))) {
    return report
  }
  let next: string | undefined = ""
  while (next !== undefined) {
    const afterKey: string = next
    const pruned: Pruned = yield* store.write((tx) => pruneRun(tx, runId, before, afterKey))
    report.effects += pruned.effects
    report.obligations += pruned.obligations
    report.businessKeys += pruned.businessKeys
    next = pruned.next
  }
  return report
})

/** Whether a run has anything old that is settled, or nothing at all and may be marked so. */
const isWorthIt = Effect.fnUntraced(function* (reader: Reader, runId: string, before: bigint) {
  const settled = yield* reader.select(
    Effects,
    `where run_id = ? and status in (${EffectStatus.CONFIRMED}, ${EffectStatus.FAILED}) and ts_ms < ? limit 1`,
    [runId, before]
  )
  const undone = yield* reader.select(
    Obligations,
    `where run_id = ? and status = ${ObligationStatus.COMPENSATED} and ts_ms < ? limit 1`,
    [runId, before]
  )
  return (
    settled.length + undone.length > 0 ||
    (yield* reader.select(Effects, "where run_id = ? limit 1", [runId])).length === 0
  )
})

const inBatches = (
  store: StoreService,
  batch: (tx: Transaction) => Effect.Effect<number, StoreError>
): Effect.Effect<number, StoreError> => {
  const next = (sum: number): Effect.Effect<number, StoreError> =>
    Effect.flatMap(store.write(batch), (count) => (count === 0 ? Effect.succeed(sum) : next(sum + count)))
  return next(0)
}
