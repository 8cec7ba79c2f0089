/**
 * Supervised fibers that keep a tape's promises: runs that lost their driver are taken up again, effects of unknown
 * outcome are settled.
 *
 * @since 0.1.0
 */
export {
  layerReconcile,
  type ReconcileLoopOptions,
  type ReconcileOptions,
  type ReconcileRequirements,
  reconcileOnce
} from "./reactors/reconcile.js"
export { Reconciled } from "./reactors/reconciled.js"
export * from "./reactors/recover.js"
