import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import type * as Schedule from "effect/Schedule"
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

/** One pass after another: by the schedule if there is one, else after the pause that each pass asks for. */
export const again = <R>(
  turn: Effect.Effect<Effect.Effect<void>, never, R>,
  schedule: Schedule.Schedule<unknown> | undefined
): Effect.Effect<void, never, R> =>
  schedule === undefined ? Effect.forever(Effect.flatten(turn)) : Effect.asVoid(Effect.repeat(turn, schedule))

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
