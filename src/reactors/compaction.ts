/**
 * The compaction reactor: empties the bodies of runs that are over.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import type { RunState } from "../gen/tape/v1/tape_pb.js"
import { compacted } from "../observability/metrics.js"
import { Resting } from "./resting.js"
import { asleep, looping, ticked } from "./supervise.js"

const runId = Schema.propertySignature(Schema.String).pipe(Schema.fromKey("run_id"))

/**
 * What became of a run that was to be compacted. Encodes to JSON with keys in snake_case. `refused`: it is left as it is,
 * for the reason the tape gives.
 *
 * @since 0.1.0
 * @category models
 */
export const Compacted = Schema.Union(
  Schema.TaggedStruct("compacted", {
    runId,
    bytesSaved: Schema.propertySignature(Schema.BigIntFromNumber).pipe(Schema.fromKey("bytes_saved"))
  }),
  Schema.TaggedStruct("refused", { runId, reason: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Compacted = typeof Compacted.Type

/**
 * Which runs are compacted.
 *
 * @since 0.1.0
 * @category models
 */
export interface CompactionOptions {
  /** How long a run has been over. Compacting cannot be undone: there is no default. */
  readonly olderThan: Duration.DurationInput
  /** How many runs are listed in one pass. Defaults to 100. */
  readonly limit?: number | undefined
  /** Told of every report. It cannot fail, and is waited for. */
  readonly onReport?: ((report: Compacted) => Effect.Effect<unknown>) | undefined
}

/**
 * One pass: the requests, answers and rationales of runs that ended long ago are emptied; what happened stays in the
 * journal. A run that the tape will not compact is a report of its own. Fails only when the runs cannot be listed.
 *
 * @since 0.1.0
 * @category compaction
 */
export const compactOnce = (
  options: CompactionOptions
): Effect.Effect<ReadonlyArray<Compacted>, TapeError, TapeClient> => Effect.suspend(() => pass(options, new Resting()))

/**
 * How the compaction reactor's loop runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface CompactionLoopOptions extends CompactionOptions {
  /** When to look again; the loop ends when the schedule does. Defaults to about 1 minute after each pass. */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
}

/**
 * The compaction reactor as a supervised fiber of this layer's scope. What else a tape keeps is its engine's retention.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerCompaction = (options: CompactionLoopOptions): Layer.Layer<never, never, TapeClient> =>
  Layer.scopedDiscard(
    Effect.suspend(() =>
      looping(
        {
          reactor: "compaction",
          trouble: "runs cannot be compacted for now",
          fine: "runs are compacted again",
          schedule: options.schedule ?? Schedule.jittered(Schedule.spaced("1 minute"))
        },
        Effect.as(pass(options, new Resting()), asleep)
      )
    )
  )

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const pass = (options: CompactionOptions, resting: Resting) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const now = yield* Clock.currentTimeMillis
    // Below 1 the tape would take it for "now".
    const before = Math.max(1, now - Duration.toMillis(options.olderThan))
    const { runs } = yield* tape.listCompactableRuns({
      beforeMs: BigInt(Math.round(before)),
      // The list has no cursor: runs that were refused must not hide those behind them.
      limit: BigInt((options.limit ?? 100) + resting.size)
    })
    return yield* Effect.forEach(resting.awake(runs, keyOf, now), (run) =>
      tape.compactRun({ runId: run.runId }).pipe(
        Effect.match({
          onSuccess: ({ bytesSaved }): Compacted => ({ _tag: "compacted", runId: run.runId, bytesSaved }),
          onFailure: (error): Compacted => ({ _tag: "refused", runId: run.runId, reason: error.detail })
        }),
        Effect.tap((report) => reported(report, resting)),
        Effect.tap((report) => options.onReport?.(report) ?? Effect.void)
      )
    )
  }).pipe(ticked("compaction"))

const keyOf = ({ runId }: RunState): string => runId

const reported = (report: Compacted, resting: Resting): Effect.Effect<void> =>
  Effect.gen(function* () {
    yield* Metric.update(Metric.tagged(compacted, "outcome", report._tag), 1)
    if (report._tag === "compacted") return resting.done(report.runId)
    const line = `cannot be compacted: ${report.reason}`
    if (!(yield* resting.rest(report.runId, line))) return
    yield* Effect.annotateLogs(Effect.logWarning(line), { run_id: report.runId })
  })
