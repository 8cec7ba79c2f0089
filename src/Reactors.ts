/**
 * Supervised fibers that keep a tape's promises: runs that lost their driver are taken up again, effects of unknown
 * outcome are settled, timers fire, what has to be undone is undone.
 *
 * @since 0.1.0
 */
export type { DueTimer } from "./reactors/actions.js"
export { layer, type Once, type Options, once, type Requirements, run } from "./reactors/all.js"
export * from "./reactors/compaction.js"
export { CannotCompensate, type UndoableTool } from "./reactors/compensators.js"
export { Drained } from "./reactors/drained.js"
export { Fired } from "./reactors/fired.js"
export * from "./reactors/obligations.js"
export {
  layerReconcile,
  type ReconcileLoopOptions,
  type ReconcileOptions,
  type ReconcileRequirements,
  reconcileOnce
} from "./reactors/reconcile.js"
export { Reconciled } from "./reactors/reconciled.js"
export {
  layerRecover,
  Recovered,
  type RecoverLoopOptions,
  type RecoverOptions,
  recoverOnce
} from "./reactors/recover.js"
export * from "./reactors/timers.js"
