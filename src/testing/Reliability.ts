/**
 * What a number of trials says about a program, as numbers that a build can have a bar for.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * What counts of a trial: `Crashes.Report` is one.
 *
 * @since 0.1.0
 * @category models
 */
export interface Trial {
  /** What did not hold at its end. */
  readonly failures: ReadonlyArray<string>
  /** Whether the program came to its end all the same. */
  readonly recovered: boolean
}

/**
 * How often, how badly, how well.
 *
 * @since 0.1.0
 * @category models
 */
export class Surface extends Schema.Class<Surface>("effect-tape/testing/Reliability/Surface")({
  /** The number of trials. */
  k: Schema.Int,
  /** The share of them at whose end something did not hold, from 0 to 1. */
  epsilon: Schema.Number,
  /** The share of them in which the program came to its end, from 0 to 1. */
  lambda: Schema.Number
}) {
  /** `k 4, ε 0.25, λ 0.75` */
  override toString(): string {
    return `k ${this.k}, ε ${this.epsilon}, λ ${this.lambda}`
  }
}

/**
 * The surface of trials. That of none is the worst there is (k 0, ε 1, λ 0): a bar is not passed by not trying.
 *
 * @example
 * import { Reliability } from "effect-tape/testing"
 *
 * // "k 2, ε 0.5, λ 1"
 * export const surface = Reliability.surface([
 *   { failures: [], recovered: true },
 *   { failures: ["bank.wire: 1 effects did not happen exactly once"], recovered: true }
 * ]).toString()
 *
 * @since 0.1.0
 * @category constructors
 */
export const surface = (trials: Iterable<Trial>): Surface => {
  const all = Array.from(trials)
  const k = all.length
  if (k === 0) return new Surface({ k, epsilon: 1, lambda: 0 })
  return new Surface({
    k,
    epsilon: all.filter(({ failures }) => failures.length > 0).length / k,
    lambda: all.filter(({ recovered }) => recovered).length / k
  })
}
