import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import { sentenceOf } from "../internal/sentence.js"

/**
 * Runs to its end even when the caller is interrupted, but then for at most `grace`; what is not done by then is
 * interrupted. A call to a counterparty and the record of its answer belong together. `late` is what was not reached.
 */
export const finishing =
  (grace: Duration.DurationInput, late = "an effect in flight was recorded; its claim expires, then it is observed") =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.forkDaemon(Effect.interruptible(self)), (fiber) =>
        Effect.onInterrupt(restore(Fiber.join(fiber)), () => settle(fiber, grace, late))
      )
    )

const settle = <A, E>(fiber: Fiber.RuntimeFiber<A, E>, grace: Duration.DurationInput, late: string) =>
  // The limit runs in a fiber of its own: here, in the uninterruptible end of the caller, a timeout could not fire.
  Effect.forkDaemon(Effect.interruptible(Effect.timeoutOption(Fiber.await(fiber), grace))).pipe(
    Effect.flatMap(Fiber.join),
    Effect.flatMap((exit) =>
      Option.isSome(exit)
        ? Effect.void
        : Effect.zipRight(Effect.logWarning(`stopped before ${late}`), Fiber.interruptFork(fiber))
    )
  )

/** The outcome of a foreign call: its value, none when it took too long, or what it raised. */
export const attempt = <A, R>(
  call: Effect.Effect<A, unknown, R>,
  limit: Duration.DurationInput
): Effect.Effect<{ readonly answer: Option.Option<A> } | { readonly raised: string }, never, R> =>
  // Disconnected: a call that does not let itself be interrupted must not outlive its limit.
  call.pipe(
    Effect.disconnect,
    Effect.timeoutOption(limit),
    Effect.matchCause({
      onSuccess: (answer) => ({ answer }),
      onFailure: (cause) => ({ raised: sentenceOf(cause) })
    })
  )
