/**
 * Supervised fibers that keep a tape's promises: effects of unknown outcome are settled.
 *
 * @since 0.1.0
 */
export {
  layerReconcile,
  type ReconcileLoopOptions,
  type ReconcileOptions,
  type Requirements,
  reconcileOnce
} from "./reactors/reconcile.js"
export { Reconciled } from "./reactors/reconciled.js"
