import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/** Draws whether something with a probability happens; the same seed draws the same. */
export const chances = (seed: unknown): ((probability: number) => Effect.Effect<boolean>) => {
  const random = Random.make(seed)
  return (probability) => Effect.map(random.next, (drawn) => drawn < probability)
}

/** A probability as failpoints are written, `12.5%`: as exactly as those who read it know numbers. */
export const percent = (probability: number): string => `${Number((probability * 100).toPrecision(7))}%`
