import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import type { EffectRecord } from "../gen/tape/v1/tape_pb.js"
import { reconciled } from "../observability/metrics.js"
import type { Reconciled } from "./reconciled.js"

interface Open {
  readonly tries: number
  readonly notBefore: number
  readonly line: string
}

/** What a reconciler remembers from pass to pass: which effects rest, and what was already said. */
export class Memory {
  private readonly open = new Map<string, Open>()
  private silent = false

  get size(): number {
    return this.open.size
  }

  /** When the first of them is asked about again, if there is one. */
  get next(): number {
    return Math.min(...Array.from(this.open.values(), ({ notBefore }) => notBefore))
  }

  /** Those that are not resting. What is no longer listed is forgotten. */
  awake(rows: ReadonlyArray<EffectRecord>, now: number): ReadonlyArray<EffectRecord> {
    const listed = new Set(rows.map(keyOf))
    for (const key of this.open.keys()) if (!listed.has(key)) this.open.delete(key)
    return rows.filter((row) => (this.open.get(keyOf(row))?.notBefore ?? 0) <= now)
  }

  report(row: EffectRecord, report: Reconciled): Effect.Effect<void> {
    const key = keyOf(row)
    const line = describe(report)
    const before = this.open.get(key)
    const count = Metric.update(Metric.tagged(reconciled, "outcome", report._tag), 1)
    const log = before?.line === line ? Effect.void : write(report, `${row.toolName}: ${line}`)
    return Effect.gen(this, function* () {
      if (report._tag === "unresolved" || report._tag === "error") {
        const tries = (before?.tries ?? 0) + 1
        const wait = Math.min(2000 * 2 ** (tries - 1), 300_000) * (yield* Random.nextRange(0.8, 1.2))
        this.open.set(key, { tries, notBefore: (yield* Clock.currentTimeMillis) + wait, line })
      } else {
        this.open.delete(key)
      }
      yield* count
      yield* Effect.annotateLogs(log, { run_id: row.runId, effect_key: row.idempotencyKey })
    })
  }

  /** Said once per trouble; the loop goes on. */
  trouble(cause: Cause.Cause<unknown>): Effect.Effect<void> {
    if (this.silent) return Effect.void
    this.silent = true
    return Effect.logError("effects cannot be reconciled for now", cause)
  }

  readonly fine: Effect.Effect<void> = Effect.suspend(() => {
    if (!this.silent) return Effect.void
    this.silent = false
    return Effect.logInfo("effects are reconciled again")
  })
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
