import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import { reactorLag, ticks } from "../observability/metrics.js"
import { inSpan } from "../observability/tracing.js"

/** Counts a reactor's pass, names it in what it logs, and puts it into a span of its own, if somebody traces. */
export const ticked =
  (reactor: string) =>
  <A, E, R>(pass: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    inSpan(pass, `tape.reactors.${reactor}`, () => ({ "tape.reactor": reactor })).pipe(
      Effect.onExit((exit) => {
        const tick = ticks.pipe(
          Metric.tagged("reactor", reactor),
          Metric.tagged("outcome", Exit.isSuccess(exit) ? "done" : "failed")
        )
        // A pass that is stopped with its reactor came to nothing.
        return Exit.isInterrupted(exit) ? Effect.void : Metric.update(tick, 1)
      }),
      Effect.annotateLogs("reactor", reactor)
    )

/** Tells how far behind a reactor is: the age of the oldest of these times. */
export const recordLag = (reactor: string, dueAt: ReadonlyArray<bigint>): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const oldest = dueAt.reduce((oldest, due) => Math.min(oldest, Number(due)), now)
    return Metric.set(Metric.tagged(reactorLag, "reactor", reactor), now - oldest)
  })

/** What a pass asks for until the next one: a rest of at most so many milliseconds. */
export type Pause = (interval: number) => Effect.Effect<unknown>

/** One pass after another. The schedule says how long each rest is at most, and when there is no next pass. */
export const again = <R>(
  turn: Effect.Effect<Pause, never, R>,
  schedule: Schedule.Schedule<unknown>
): Effect.Effect<void, never, R> =>
  Effect.gen(function* () {
    let state: unknown = schedule.initial
    while (true) {
      const pause = yield* turn
      const now = yield* Clock.currentTimeMillis
      const [next, , decision] = yield* schedule.step(now, undefined, state)
      if (ScheduleDecision.isDone(decision)) return
      state = next
      yield* pause(Math.max(0, ScheduleIntervals.start(decision.intervals) - now))
    }
  })

/** One pass after another goes on through any trouble, which is said once, and said again when it is over. */
export const untroubled = <A, E, R>(
  pass: Effect.Effect<A, E, R>,
  lines: { readonly trouble: string; readonly fine: string }
): Effect.Effect<A | undefined, never, R> => {
  let silent = false
  return Effect.matchCauseEffect(pass, {
    onFailure: (cause) => {
      if (silent) return Effect.succeed(undefined)
      silent = true
      return Effect.as(Effect.logError(lines.trouble, cause), undefined)
    },
    onSuccess: (value) => {
      if (!silent) return Effect.succeed(value)
      silent = false
      return Effect.as(Effect.logInfo(lines.fine), value)
    }
  })
}
