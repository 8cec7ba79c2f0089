import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { TapeError } from "../Errors.js"
import type { ObligationRecord } from "../gen/tape/v1/tape_pb.js"
import { obligations } from "../observability/metrics.js"
import type { Drained } from "./drained.js"
import type { Turn } from "./drainRun.js"

/** How often a run that owes nothing is looked at again, though the journal says nothing of it. */
const lookAgain = 60_000

/** What a drainer remembers from pass to pass: which runs owe nothing, and what was already said. */
export class Drainer {
  private readonly quiet = new Map<string, number>()
  private readonly undone = new Set<string>()
  private readonly lines = new Map<string, string>()

  /** The runs to look at: those of the list that may owe something, and those that were just undone or began to be. */
  owing(rows: ReadonlyArray<ObligationRecord>, now: number): ReadonlyArray<string> {
    const listed = new Set(rows.map(({ runId }) => runId))
    for (const runId of this.quiet.keys()) if (!listed.has(runId)) this.quiet.delete(runId)
    const runs = new Set([...listed].filter((runId) => (this.quiet.get(runId) ?? 0) <= now))
    for (const runId of this.undone) runs.add(runId)
    return [...runs]
  }

  /** Whether some run is known to owe something. */
  get isBusy(): boolean {
    return this.undone.size > 0
  }

  remember(runId: string, owes: Turn["owes"]): Effect.Effect<void> {
    return Effect.map(Clock.currentTimeMillis, (now) => {
      if (owes === "something") {
        this.undone.add(runId)
        this.quiet.delete(runId)
        return
      }
      this.undone.delete(runId)
      this.quiet.set(runId, owes === "nothing-ever" ? Number.POSITIVE_INFINITY : now + lookAgain)
    })
  }

  /** The journal speaks of a run's obligations, or of its undoing. */
  heard(runId: string): Effect.Effect<void> {
    return Effect.sync(() => {
      if (this.quiet.get(runId) !== Number.POSITIVE_INFINITY) this.quiet.delete(runId)
      this.undone.add(runId)
    })
  }

  unread(runId: string, error: TapeError): Effect.Effect<void> {
    // Nobody will ever undo anything of a run that is not there: news of it must not keep the drainer busy.
    if (error._tag === "NotFound") this.undone.delete(runId)
    return Effect.annotateLogs(
      this.once(runId, `its obligations cannot be read: ${error.message}`, Effect.logWarning),
      {
        run_id: runId
      }
    )
  }

  report(report: Drained): Effect.Effect<void> {
    const count = Metric.update(Metric.tagged(obligations, "outcome", report._tag), 1)
    return Effect.zipRight(
      count,
      Effect.annotateLogs(this.say(report), {
        run_id: report.runId,
        ...(report._tag === "ended" ? {} : { effect_key: report.effectKey, kind: report.kind })
      })
    )
  }

  private say(report: Drained): Effect.Effect<void> {
    if (report._tag === "ended") {
      const line = `everything that could be undone is: the run is ${report.status}`
      return report.status === "STUCK" ? Effect.logError(line) : Effect.logInfo(line)
    }
    const key = JSON.stringify([report.runId, String(report.obligationSeq)])
    switch (report._tag) {
      case "compensated":
        this.lines.delete(key)
        return Effect.logInfo(`undone by its ${report.by}`)
      case "stuck":
        this.lines.delete(key)
        return Effect.logError(`cannot be undone, a person has to look: ${report.error}`)
      case "scheduled":
        return this.once(key, `not undone yet, tried again: ${report.error}`, Effect.logWarning)
      case "error":
        return this.once(key, `could not be settled: ${report.error}`, Effect.logWarning)
      case "skipped":
        return report.reason === "no-compensator"
          ? this.once(key, `left to others: ${report.detail}`, Effect.logWarning)
          : Effect.void
    }
  }

  private once(key: string, line: string, log: (line: string) => Effect.Effect<void>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.lines.get(key) === line) return Effect.void
      // Bounded: what was said long ago may be said again.
      if (this.lines.size >= 10_000) this.lines.clear()
      this.lines.set(key, line)
      return log(line)
    })
  }
}
