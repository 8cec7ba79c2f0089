import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/**
 * A pause between two looks at the tape, of a loop that would find nothing new before something that it looks for is
 * written or due, or the time `until` (in milliseconds since the epoch) of something that only the loop knows of.
 */
export type Rest = (interval: Duration.DurationInput, until?: number) => Effect.Effect<void>

/**
 * What a loop looks for: effects to dispatch, runs to recover, effects to reconcile, timers that are due, what is to be
 * undone, tasks to claim, what becomes of a run, what becomes of an effect and its run.
 */
export type Looks = "dispatch" | "recover" | "reconcile" | "timers" | "obligations" | "tasks" | "run" | "effect"

/**
 * How loops rest: for the interval. Tests that move the clock by days leave out the looks that would find nothing.
 */
export class Rests extends Context.Reference<Rests>()("effect-tape/internal/Rests", {
  defaultValue: (): { readonly make: (looks: Looks) => Rest } => ({ make: () => (interval) => Effect.sleep(interval) })
}) {}

/** The rests of one loop. It has its first look after this. */
export const make = (looks: Looks): Effect.Effect<Rest> => Effect.map(Rests, (rests) => rests.make(looks))
