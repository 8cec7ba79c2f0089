/** One reaction: claims what can start, rests when there is nothing. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import * as Rest from "../internal/rest.js"
import type { Desk } from "./desk.js"
import type { Unit } from "./turn.js"

export const run = <R>(
  { reaction }: Unit<R>,
  desk: Desk<R>,
  pollInterval: Duration.DurationInput
): Effect.Effect<never, never, R | TapeClient> =>
  Effect.gen(function* () {
    const wake = yield* Queue.sliding<void>(1)
    const idle = yield* Rest.make("tasks")
    let soon: ReadonlyArray<number> = []

    const rest = Effect.gen(function* () {
      const [first, ...others] = soon
      soon = others
      const pause = first === undefined ? idle(pollInterval) : Effect.sleep(first)
      const isWoken = yield* Effect.raceFirst(Effect.as(Queue.take(wake), true), Effect.as(pause, false))
      if (isWoken) {
        // The entry is there before its task is: the server matches right after.
        soon = afterEntry
        yield* Effect.sleep(untilMatchedMs)
      }
    })

    const turn = Effect.gen(function* () {
      yield* desk.vacancy
      const { more } = yield* desk.take
      if (!more) yield* rest
    })

    const loop = Effect.forever(steady(turn, reaction.name))
    // The wake-ups never end by themselves.
    return yield* Effect.raceFirst(loop, Effect.zipRight(listen(reaction.subjectPattern, wake), Effect.never))
  }).pipe(Effect.annotateLogs({ module: "Reactions", fiber: reaction.name }))

const untilMatchedMs = 10
const afterEntry = [40, 160]

/** A tape that does not answer is said once, asked again with growing waits, and said again when it is back. */
const steady = <R>(turn: Effect.Effect<void, TapeError, R>, name: string): Effect.Effect<void, never, R> => {
  let silent = false
  return turn.pipe(
    Effect.tapErrorCause((cause) => {
      if (silent) return Effect.void
      silent = true
      return Effect.logError(`tasks of "${name}" cannot be claimed`, cause)
    }),
    // A bug in one pass must not end the reaction either.
    Effect.sandbox,
    Effect.retry(backOff),
    Effect.zipRight(
      Effect.suspend(() => {
        if (!silent) return Effect.void
        silent = false
        return Effect.logInfo(`tasks of "${name}" can be claimed again`)
      })
    ),
    // The retry has no end; were it to end, the loop goes on.
    Effect.ignore
  )
}

const backOff = Schedule.exponential("250 millis").pipe(
  Schedule.modifyDelay((_, delay) => Duration.min(delay, "30 seconds")),
  Schedule.jittered
)

/** Entries that match the pattern end the rest. Polling goes on beside it, so a lost entry costs only time. */
const listen = (subjectPattern: string, wake: Queue.Enqueue<void>): Effect.Effect<void, never, TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const now = yield* Clock.currentTimeMillis
    yield* Stream.runForEachChunk(tape.subscribeEvents({ fromTsMs: BigInt(now), subjectPattern }), () =>
      Queue.offer(wake, undefined)
    )
  }).pipe(
    Effect.catchAllCause((cause) => Effect.logDebug("no wake-ups for a moment", cause)),
    Effect.repeat(Schedule.jittered(Schedule.spaced("2 seconds"))),
    Effect.asVoid
  )
