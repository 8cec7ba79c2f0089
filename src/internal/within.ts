import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"

/** At most `limit`, also where the caller cannot be interrupted any more, as in a finalizer: then none. */
export const within = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  limit: Duration.DurationInput
): Effect.Effect<Option.Option<A>, E, R> =>
  Effect.flatMap(
    Effect.forkDaemon(Effect.interruptible(Effect.timeoutOption(Effect.disconnect(self), limit))),
    Fiber.join
  )
