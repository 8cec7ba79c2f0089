/** Trouble that is waited out: said when it begins and when it is over, asked again with growing waits. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { CursorError, Undelivered } from "./errors.js"

export interface Trouble {
  /** Again and again, unless another relay has the cursor; `progress` tells whether some of it was done. */
  readonly retrying: <A, R>(
    self: Effect.Effect<A, unknown, R>,
    progress?: () => unknown
  ) => Effect.Effect<A, CursorError, R>
  /** One failure: says it, if it is the first, and waits. */
  readonly wait: (cause: Cause.Cause<unknown>) => Effect.Effect<void>
  readonly over: Effect.Effect<void>
}

export const isTaken = (error: unknown): error is CursorError =>
  error instanceof CursorError && error.reason === "Taken"

const longest = Duration.toMillis("1 minute")

/** A receiver that asks for more is asked again all the same. */
const longestAsked = Duration.toMillis("1 hour")

export const make = (began: string, ended: string, backOff: Duration.DurationInput): Trouble => {
  let failures = 0

  const over = Effect.suspend(() => {
    if (failures === 0) return Effect.void
    failures = 0
    return Effect.logInfo(ended)
  })

  const wait = (cause: Cause.Cause<unknown>) =>
    Effect.gen(function* () {
      failures += 1
      if (failures === 1) yield* Effect.logError(began, cause)
      const error = Cause.squash(cause)
      const asked = error instanceof Undelivered && error.retryAfter ? Duration.toMillis(error.retryAfter) : 0
      const jitter = yield* Random.nextRange(0.8, 1.2)
      const grown = jitter * Math.min(longest, Duration.toMillis(backOff) * 2 ** (failures - 1))
      yield* Effect.sleep(Math.max(grown, Math.min(asked, longestAsked)))
    })

  const retrying = <A, R>(self: Effect.Effect<A, unknown, R>, progress: () => unknown = () => undefined) => {
    const attempt: Effect.Effect<A, CursorError, R> = Effect.suspend(() => {
      const before = progress()
      return Effect.catchAllCause(Effect.zipLeft(self, over), (cause) => {
        const error = Cause.squash(cause)
        if (isTaken(error)) return Effect.fail(error)
        return (progress() === before ? Effect.void : over).pipe(Effect.zipRight(wait(cause)), Effect.zipRight(attempt))
      })
    })
    return attempt
  }

  return { retrying, wait, over }
}
