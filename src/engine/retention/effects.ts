/**
 * Forgetting effects without breaking promises: what was done is never done again.
 */
import * as Effect from "effect/Effect"
import { ObligationStatus, RunStatus } from "../../gen/tape/v1/tape_pb.js"
import { isSettled } from "../ledgers/effects/rows.js"
import { isFinal } from "../ledgers/Runs.js"
import { Retained } from "../ledgers/retained.js"
import type { StoreError } from "../StoreError.js"
import { gather } from "../store/gather.js"
import { pageBytes } from "../store/Room.js"
import type { Transaction } from "../store/Transaction.js"
import {
  EffectAliases,
  type EffectRow,
  EffectSnapshots,
  Effects,
  type Obligation,
  Obligations,
  PrunedBusinessKeys,
  type Run,
  Runs
} from "../store/tables.js"
import { RunNotFound } from "./models.js"

/** Rows of one run in one transaction: few enough that no writer notices. */
export const pageSize = 200

export interface Pruned {
  readonly effects: number
  readonly obligations: number
  readonly businessKeys: number
  /** The last key that was looked at, while there may be more. */
  readonly next: string | undefined
}

/**
 * Prunes a page of a run's settled effects that are older than a time, with their settled compensations. Of a finished
 * run they are gone, and the run takes nothing new; of any other only those go that a snapshot has.
 */
export const pruneRun = Effect.fnUntraced(function* (
  tx: Transaction,
  runId: string,
  before: bigint,
  afterKey: string
): Effect.fn.Return<Pruned, StoreError> {
  const { isLast, rows: effects } = yield* pageOf(tx, runId, afterKey)
  const obligations = yield* obligationsOf(tx, runId)
  const aliases = yield* tx.select(EffectAliases, "where run_id = ? limit ?", [runId, BigInt(pageSize)])
  const run = yield* tx.get(Runs, { runId })
  const isFinished = run !== undefined && isFinal(run.status)
  const pinned = pinnedBy(obligations, before)
  const old = effects.filter((row) => isSettled(row) && row.tsMs < before && !pinned.has(row.idempotencyKey))
  const going = isFinished ? old : yield* Effect.filter(old, (row) => isSnapshotted(tx, row))
  going.forEach((row) => remove(tx, row))

  const undone = isFinished
    ? yield* Effect.filter(obligations, (row) =>
        isUndone(row) && row.tsMs < before
          ? Effect.map(tx.get(Effects, { runId, idempotencyKey: row.effectKey }), (effect) => effect === undefined)
          : Effect.succeed(false)
      )
    : []
  undone.forEach(({ seq }) => tx.remove(Obligations, { runId, seq }))

  if (isFinished) {
    const isEmpty =
      afterKey === "" &&
      going.length === effects.length &&
      isLast &&
      obligations.every((row) => row.status === ObligationStatus.STUCK || undone.includes(row))
    if (isEmpty) {
      aliases.forEach(({ idempotencyKey }) => tx.remove(EffectAliases, { runId, idempotencyKey }))
    }
    mark(tx, run, going.length + undone.length > 0, isEmpty && aliases.length < pageSize)
  }
  return {
    effects: going.length,
    obligations: undone.length,
    businessKeys: going.filter(hasBusinessKey).length,
    next: isLast ? undefined : effects.at(-1)?.idempotencyKey
  }
})

/** Copies a page of a run's settled effects that are not younger than a time to the run's snapshot. */
export const snapshotRun = Effect.fnUntraced(function* (
  tx: Transaction,
  runId: string,
  until: bigint,
  afterKey: string
) {
  // No store finds a text with a U+0000, and PostgreSQL does not even look.
  if (runId.includes("\u0000")) {
    return yield* new RunNotFound({ run: runId })
  }
  const { isLast, rows: effects } = yield* pageOf(tx, runId, afterKey)
  const run = yield* tx.get(Runs, { runId })
  if (run === undefined) {
    return yield* new RunNotFound({ run: runId })
  }
  const settled = effects.filter((row) => isSettled(row) && row.tsMs <= until)
  const taken = yield* Effect.filter(settled, (row) => Effect.map(isSnapshotted(tx, row), (isHeld) => !isHeld))
  taken.forEach((row) => tx.put(EffectSnapshots, row))
  if (taken.length > 0) {
    markSnapshotted(tx, run)
  }
  return {
    taken: taken.length,
    held: settled.length - taken.length,
    next: isLast ? undefined : effects.at(-1)?.idempotencyKey
  }
})

/**
 * Prunes all settled effects of a run that no open obligation needs, in one transaction. The snapshot then says that
 * they were done, without their texts.
 */
export const pruneWhole = Effect.fnUntraced(function* (tx: Transaction, run: Run) {
  const { runId } = run
  const effects = yield* gather(tx, Effects, runId, (row) => ({
    ...row,
    requestJson: "",
    responseJson: "",
    errorJson: ""
  }))
  const pinned = pinnedBy(yield* obligationsOf(tx, runId))
  const going = effects.filter((row) => isSettled(row) && !pinned.has(row.idempotencyKey))
  for (const row of going) {
    if (!(yield* isSnapshotted(tx, row))) {
      tx.put(EffectSnapshots, row)
    }
    remove(tx, row)
  }
  if (going.length > 0) {
    markSnapshotted(tx, run)
  }
  return { pruned: going.length, kept: effects.length - going.length }
})

// ---- internal ----

/** A run's obligations, without what they would take to be undone. */
export const obligationsOf = (tx: Transaction, runId: string) =>
  gather(tx, Obligations, runId, (row) => ({ ...row, payloadJson: "", resultJson: "" }))

const pageOf = (tx: Transaction, runId: string, afterKey: string) =>
  Effect.map(
    tx.selectWithin(
      Effects,
      "where run_id = ? and idempotency_key > ? order by idempotency_key limit ?",
      [runId, afterKey, BigInt(pageSize)],
      { bytes: pageBytes }
    ),
    ({ isAll, rows }) => ({ rows, isLast: isAll && rows.length < pageSize })
  )

const isSnapshotted = (tx: Transaction, { idempotencyKey, runId }: EffectRow) =>
  Effect.map(tx.get(EffectSnapshots, { runId, idempotencyKey }), (snapshot) => snapshot !== undefined)

/** Effects that are still needed: something is to be undone, or was so lately. */
export const pinnedBy = (obligations: ReadonlyArray<Obligation>, undoneBefore?: bigint): ReadonlySet<string> =>
  new Set(
    obligations
      .filter(
        (row) =>
          row.status === ObligationStatus.PENDING ||
          row.status === ObligationStatus.COMMITTED ||
          (undoneBefore !== undefined && isUndone(row) && row.tsMs >= undoneBefore)
      )
      .map(({ effectKey }) => effectKey)
  )

const isUndone = (row: Obligation): boolean => row.status === ObligationStatus.COMPENSATED

const hasBusinessKey = (row: EffectRow): boolean => row.connector !== "" && row.businessKey !== ""

/** What has a business key is remembered by it: nobody may do it again. */
const remove = (tx: Transaction, row: EffectRow): void => {
  const { businessKey, connector, idempotencyKey, runId, seq, status } = row
  tx.remove(Effects, { runId, idempotencyKey })
  if (hasBusinessKey(row)) {
    tx.put(PrunedBusinessKeys, { connector, businessKey, status, runId, idempotencyKey, seq })
  }
}

const markSnapshotted = (tx: Transaction, run: Run): void => {
  if ((run.retention & Retained.snapshotted) === 0) {
    tx.put(Runs, { ...run, retention: run.retention | Retained.snapshotted })
  }
}

/** A run that nothing was pruned of may be taken up again, unless it is terminal: then there may be more to prune. */
const mark = (tx: Transaction, run: Run, wasPruned: boolean, isEmpty: boolean): void => {
  const pruned = run.retention | (wasPruned ? Retained.pruned : 0)
  const staysEmpty = isEmpty && (run.status === RunStatus.TERMINAL || (pruned & Retained.pruned) !== 0)
  const retention = pruned | (staysEmpty ? Retained.done : 0)
  if (retention !== run.retention) {
    tx.put(Runs, { ...run, retention })
  }
}
