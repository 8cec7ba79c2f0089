/**
 * Forgetting snapshots: the last that is known of effects long done.
 */
import * as Effect from "effect/Effect"
import { isFinal } from "../ledgers/Runs.js"
import { Retained } from "../ledgers/retained.js"
import type { StoreError } from "../StoreError.js"
import { pageBytes } from "../store/Room.js"
import type { Transaction } from "../store/Transaction.js"
import { EffectSnapshots, Effects, Runs } from "../store/tables.js"
import { obligationsOf, pageSize, pinnedBy } from "./effects.js"

export interface Forgotten {
  readonly removed: number
  /** The last key that was looked at, while there may be more. */
  readonly next: string | undefined
}

/**
 * Removes a page of a finished run's snapshot, but for what something open would undo. The run that has forgotten what
 * it did takes nothing new: nobody could tell it from a repeat.
 */
export const forgetSnapshot = Effect.fnUntraced(function* (
  tx: Transaction,
  runId: string,
  before: bigint,
  afterKey: string
): Effect.fn.Return<Forgotten, StoreError> {
  const { isAll, rows } = yield* tx.selectWithin(
    EffectSnapshots,
    "where run_id = ? and idempotency_key > ? order by idempotency_key limit ?",
    [runId, afterKey, BigInt(pageSize)],
    { bytes: pageBytes }
  )
  const pinned = pinnedBy(yield* obligationsOf(tx, runId))
  const run = yield* tx.get(Runs, { runId })
  // It may have been taken up again since it was found.
  if (run === undefined || !isFinal(run.status) || run.endedAtMs >= before) {
    return { removed: 0, next: undefined }
  }
  const going = rows.filter(({ idempotencyKey }) => !pinned.has(idempotencyKey))
  const lost = yield* Effect.filter(going, ({ idempotencyKey }) =>
    Effect.map(tx.get(Effects, { runId, idempotencyKey }), (row) => row === undefined)
  )
  going.forEach(({ idempotencyKey }) => tx.remove(EffectSnapshots, { runId, idempotencyKey }))
  const isLast = isAll && rows.length < pageSize
  const isEmpty = isLast && afterKey === "" && going.length === rows.length
  const retention =
    (isEmpty ? run.retention & ~Retained.snapshotted : run.retention) | (lost.length > 0 ? Retained.pruned : 0)
  if (retention !== run.retention) {
    tx.put(Runs, { ...run, retention })
  }
  return { removed: going.length, next: isLast ? undefined : rows.at(-1)?.idempotencyKey }
})
