import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * A pause between two looks at the tape, of a loop that would find nothing new before something is written, something
 * stored is due, or the time `until` (in milliseconds since the epoch) of something that only the loop knows of.
 */
export type Rest = (interval: Duration.DurationInput, until?: number) => Effect.Effect<void>

/**
 * How loops rest: for the interval. Tests that move the clock by days leave out the looks that would find nothing.
 */
export class Rests extends Context.Reference<Rests>()("effect-tape/internal/Rests", {
  defaultValue: (): { readonly make: () => Rest } => ({ make: () => (interval) => Effect.sleep(interval) })
}) {}

/** The rests of one loop. */
export const make: Effect.Effect<Rest> = Effect.map(Rests, (rests) => rests.make())
