import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

const lag = Metric.gauge("tape.reactors.lag", {
  description: "Milliseconds that the longest waiting piece of a reactor's work is overdue, at its last pass."
})

/** Tells how far behind a reactor is: the age of the oldest of these times. */
export const recordLag = (reactor: string, dueAt: ReadonlyArray<bigint>): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const oldest = dueAt.reduce((oldest, due) => Math.min(oldest, Number(due)), now)
    return Metric.set(Metric.tagged(lag, "reactor", reactor), now - oldest)
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
