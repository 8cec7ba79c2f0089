/**
 * A run's snapshot: settled effects, kept apart from the rows that may be pruned.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { maxInt64 } from "../ledgers/common.js"
import type { Store } from "../store/Store.js"
import { snapshotRun } from "./effects.js"

/** Adds to a run's snapshot what has settled since, up to a time. */
export const snapshot = Effect.fnUntraced(function* (
  store: Context.Tag.Service<Store>,
  runId: string,
  until: bigint = maxInt64
) {
  const report = { taken: 0, held: 0 }
  let next: string | undefined = ""
  while (next !== undefined) {
    const afterKey: string = next
    const page: Effect.Effect.Success<ReturnType<typeof snapshotRun>> = yield* store.write((tx) =>
      snapshotRun(tx, runId, until, afterKey)
    )
    report.taken += page.taken
    report.held += page.held
    next = page.next
  }
  return report
})
