import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { dispatched } from "../observability/metrics.js"
import { describe, type Outcome } from "./outcome.js"

/** Counts every outcome, and logs an effect's outcome when it is another than the last time. */
export class Reporter {
  /** The last line logged for an effect that is still open. */
  private readonly last = new Map<string, string>()

  readonly report = (outcome: Outcome): Effect.Effect<void> =>
    Effect.zipRight(
      Metric.update(
        dispatched.pipe(Metric.tagged("outcome", outcome._tag), Metric.tagged("connector", outcome.connector)),
        1
      ),
      Effect.suspend(() => this.log(outcome))
    )

  private log(outcome: Outcome): Effect.Effect<void> {
    const key = outcome._tag === "skipped" && outcome.reason === "no-connector" ? outcome.connector : keyOf(outcome)
    const line = describe(outcome)
    if (this.last.get(key) === line) return Effect.void
    if (isOver(outcome)) this.last.delete(key)
    else this.remember(key, line)
    return Effect.annotateLogs(write(outcome, `${outcome.tool}: ${line}`), {
      run_id: outcome.runId,
      effect_key: outcome.idempotencyKey,
      connector: outcome.connector
    })
  }

  /** Open effects settle elsewhere too (another dispatcher, a person), so what is remembered is bounded. */
  private remember(key: string, line: string): void {
    this.last.delete(key)
    this.last.set(key, line)
    if (this.last.size <= 10_000) return
    for (const oldest of this.last.keys()) {
      this.last.delete(oldest)
      return
    }
  }
}

const keyOf = (outcome: Outcome): string => JSON.stringify([outcome.runId, outcome.idempotencyKey])

const isOver = (outcome: Outcome): boolean =>
  outcome._tag === "confirmed" ||
  outcome._tag === "duplicate" ||
  outcome._tag === "failed" ||
  outcome._tag === "unknown"

const write = (outcome: Outcome, line: string): Effect.Effect<void> => {
  switch (outcome._tag) {
    case "confirmed":
    case "pending":
    case "retry-scheduled":
      return Effect.logInfo(line)
    case "skipped":
      return outcome.reason === "no-connector" ? Effect.logWarning(line) : Effect.logDebug(line)
    case "error":
      return Effect.logError(line)
    default:
      return Effect.logWarning(line)
  }
}
