import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import type * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"
import type * as Scope from "effect/Scope"
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
const again = <R>(
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

/** A pass that fails is no failure: the trouble is said once, and said again when it is over. */
export const untroubled = <A, E, R>(
  pass: Effect.Effect<A, E, R>,
  lines: { readonly trouble: string; readonly fine: string }
): Effect.Effect<A | undefined, never, R> => {
  let silent = false
  return Effect.matchCauseEffect(pass, {
    onFailure: (cause) => {
      const said = silent ? Effect.void : Effect.logError(lines.trouble, cause)
      silent = true
      return Effect.as(said, undefined)
    },
    onSuccess: (value) => {
      const said = silent ? Effect.logInfo(lines.fine) : Effect.void
      silent = false
      return Effect.as(said, value)
    }
  })
}

/** A reactor as a fiber of the scope: one pass after another, through any trouble. After one that failed it sleeps. */
export const looping = <E, R>(
  options: {
    readonly reactor: string
    readonly trouble: string
    readonly fine: string
    readonly schedule: Schedule.Schedule<unknown>
    /** Ends a rest. */
    readonly wake?: Effect.Effect<unknown>
  },
  pass: Effect.Effect<Pause, E, R>
): Effect.Effect<void, never, R | Scope.Scope> => {
  const { reactor, schedule, wake } = options
  const turn = Effect.map(untroubled(pass, options), (asked): Pause => {
    const pause = asked ?? asleep
    return wake === undefined ? pause : (interval) => Effect.raceFirst(wake, pause(interval))
  })
  return again(turn, schedule).pipe(
    Effect.annotateLogs({ module: "Reactors", fiber: reactor, reactor }),
    Effect.forkScoped,
    Effect.asVoid
  )
}

/** Rests for as long as the schedule says. */
export const asleep: Pause = Effect.sleep
