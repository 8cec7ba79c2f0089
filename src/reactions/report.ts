import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { tasks } from "../observability/metrics.js"
import { describe, type Outcome } from "./outcome.js"

/** Counts and logs an outcome. */
export const report = (outcome: Outcome): Effect.Effect<void> =>
  Effect.zipRight(
    Metric.update(tasks.pipe(Metric.tagged("outcome", outcome._tag), Metric.tagged("reaction", outcome.reaction)), 1),
    Effect.annotateLogs(write(outcome, describe(outcome)), {
      task_id: outcome.taskId,
      reaction_id: outcome.reactionId
    })
  )

const write = (outcome: Outcome, line: string): Effect.Effect<void> => {
  switch (outcome._tag) {
    case "done":
    case "debounced":
      return Effect.logDebug(line)
    case "dead-letter":
    case "error":
      return Effect.logError(line)
    default:
      return Effect.logWarning(line)
  }
}
