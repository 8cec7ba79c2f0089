/**
 * Where ids come from.
 *
 * @since 0.1.0
 */
import { randomUUID } from "node:crypto"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

/**
 * The source of generated ids: random by default.
 *
 * @since 0.1.0
 * @category references
 */
export class Ids extends Context.Reference<Ids>()("effect-tape/engine/Ids", {
  defaultValue: (): { readonly uuid: () => string } => ({ uuid: randomUUID })
}) {}

/**
 * Ids that count up from a seed: with `TestClock`, the same calls then write the same journal.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSeeded = (seed: number): Layer.Layer<never> =>
  Layer.sync(Ids, () => {
    let next = seed
    return { uuid: () => `00000000-0000-4000-8000-${(next++).toString(16).padStart(12, "0")}` }
  })
