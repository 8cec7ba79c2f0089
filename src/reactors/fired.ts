import * as Schema from "effect/Schema"
import { Reconciled } from "./reconciled.js"
import { Recovered } from "./recover.js"

const named = {
  runId: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("run_id")),
  timerId: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("timer_id")),
  kind: Schema.String
}

/**
 * What became of a timer that is due. Encodes to JSON with keys in snake_case.
 *
 * - `signalled`: its gate has a resolution; `accepted` is false when another one was there before.
 * - `redriven`, `reconciled`: what recovery, or the reconciler, made of it. `called`: `onTimer` has dealt with it.
 * - `obsolete`: what it was for is over. With each of these the timer is gone.
 * - `waiting`: it cannot be acted on yet, `left`: not here. `failed`: acting on it failed. With each of these the timer is
 *   still there and comes again.
 *
 * @since 0.1.0
 * @category models
 */
export const Fired = Schema.Union(
  Schema.TaggedStruct("signalled", { ...named, gate: Schema.String, accepted: Schema.Boolean }),
  Schema.TaggedStruct("redriven", { ...named, recovered: Recovered }),
  Schema.TaggedStruct("reconciled", { ...named, reconciled: Reconciled }),
  Schema.TaggedStruct("called", named),
  Schema.TaggedStruct("obsolete", { ...named, reason: Schema.String }),
  Schema.TaggedStruct("waiting", { ...named, reason: Schema.String }),
  Schema.TaggedStruct("left", { ...named, reason: Schema.String }),
  Schema.TaggedStruct("failed", { ...named, error: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Fired = typeof Fired.Type
