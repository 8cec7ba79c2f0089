import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { EffectRecord } from "../gen/tape/v1/tape_pb.js"
import { reconciled } from "../observability/metrics.js"
import type { Reconciled } from "./reconciled.js"
import { Resting } from "./resting.js"

/** What a reconciler remembers from pass to pass: which effects rest, and what was already said. */
export class Memory {
  private readonly resting = new Resting()

  get size(): number {
    return this.resting.size
  }

  /** When the first of them is asked about again, if there is one. */
  get next(): number {
    return this.resting.next
  }

  /** Those that are not resting. What is no longer listed is forgotten. */
  awake(rows: ReadonlyArray<EffectRecord>, now: number): ReadonlyArray<EffectRecord> {
    return this.resting.awake(rows, keyOf, now)
  }

  report(row: EffectRecord, report: Reconciled): Effect.Effect<void> {
    return Effect.gen(this, function* () {
      const key = keyOf(row)
      const line = describe(report)
      const isOpen = report._tag === "unresolved" || report._tag === "error"
      const isNews = isOpen ? yield* this.resting.rest(key, line) : true
      if (!isOpen) this.resting.done(key)
      yield* Metric.update(Metric.tagged(reconciled, "outcome", report._tag), 1)
      if (!isNews) return
      yield* Effect.annotateLogs(write(report, `${row.toolName}: ${line}`), {
        run_id: row.runId,
        effect_key: row.idempotencyKey
      })
    })
  }
}

const keyOf = (row: EffectRecord): string => JSON.stringify([row.runId, row.idempotencyKey])

const describe = (report: Reconciled): string => {
  switch (report._tag) {
    case "confirmed":
    case "duplicate":
      return `${report._tag} by ${report.by}${report.externalRef === undefined ? "" : `: ${report.externalRef}`}`
    case "failed":
      return `failed by ${report.by}: ${report.error}`
    case "reopened":
      return `did not happen (${report.by}), will be sent again`
    case "unresolved":
      return `stays as it is: ${report.reason}`
    case "error":
      return `could not be settled: ${report.error}`
  }
}

const write = (report: Reconciled, line: string): Effect.Effect<void> =>
  report._tag === "confirmed" || report._tag === "reopened" ? Effect.logInfo(line) : Effect.logWarning(line)
