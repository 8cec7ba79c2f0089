/**
 * Recovery: takes up runs whose process is gone, where their journal stops.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { TapeClient } from "../Client.js"
import { RunError } from "../durable/errors.js"
import type { AnyApp, AppContext } from "../durable/types.js"
import type { TapeError } from "../Errors.js"
import type { RunState } from "../gen/tape/v1/tape_pb.js"
import * as Rest from "../internal/rest.js"
import { sentenceOfError } from "../internal/sentence.js"
import { recovered } from "../observability/metrics.js"
import { inSpanOf } from "../observability/tracing.js"
import { Resting } from "./resting.js"
import { asleep, looping, recordLag, ticked } from "./supervise.js"

const named = {
  runId: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("run_id")),
  app: Schema.String
}

/**
 * What became of a run that was to be recovered. Encodes to JSON with keys in snake_case.
 *
 * - `finished`: driven to its end. `failed`: ended FAILED by its own typed failure.
 * - `parked`: driven to a gate, where it waits; listed again when the gate is opened.
 * - `stopped`: it cannot go on now (`RunError`); listed again when its lease has run out.
 * - `crashed`: a defect in the program; likewise.
 * - `skipped`: another process has it.
 *
 * @since 0.1.0
 * @category models
 */
export const Recovered = Schema.Union(
  Schema.TaggedStruct("finished", named),
  Schema.TaggedStruct("failed", { ...named, error: Schema.String }),
  Schema.TaggedStruct("parked", { ...named, gate: Schema.String }),
  Schema.TaggedStruct("stopped", { ...named, error: RunError }),
  Schema.TaggedStruct("crashed", { ...named, error: Schema.String }),
  Schema.TaggedStruct("skipped", { ...named, owner: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Recovered = typeof Recovered.Type

/**
 * Which runs are recovered, and how.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoverOptions<Apps extends ReadonlyArray<AnyApp> = ReadonlyArray<AnyApp>> {
  /** Runs of these apps are taken up; those of others are left to their own processes. */
  readonly apps: Apps
  /** How many runs are driven at a time. Defaults to 16. */
  readonly parallelism?: number | undefined
  /** How many runs are listed in one pass, those of other apps included. Defaults to 1,000. */
  readonly limit?: number | undefined
  /** Told of every run. It cannot fail, and is waited for. */
  readonly onReport?: ((report: Recovered) => Effect.Effect<unknown>) | undefined
}

/**
 * How recovery's loop runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface RecoverLoopOptions<Apps extends ReadonlyArray<AnyApp> = ReadonlyArray<AnyApp>>
  extends RecoverOptions<Apps> {
  /** When to look again. Defaults to about 2 seconds after each pass. */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
}

/**
 * One pass: each run that nobody drives is driven to its end. Of several processes that recover, one gets the run's lease;
 * the others skip it. Fails only when the runs cannot be listed.
 *
 * @since 0.1.0
 * @category recovering
 */
export const recoverOnce = <const Apps extends ReadonlyArray<AnyApp>>(
  options: RecoverOptions<Apps>
): Effect.Effect<ReadonlyArray<Recovered>, TapeError, TapeClient | AppContext<Apps[number]>> =>
  Effect.flatMap(abandoned(options), (found) =>
    Effect.forEach(found, ({ app, run }) => recover(options, app, run), { concurrency: parallelismOf(options) })
  ).pipe(ticked("recover"))

/**
 * Recovery as a supervised fiber of this layer's scope. Runs are driven beside the loop, so a long one holds up no other;
 * closing the scope interrupts them, and leaves them resumable.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRecover = <const Apps extends ReadonlyArray<AnyApp>>(
  options: RecoverLoopOptions<Apps>
): Layer.Layer<never, never, TapeClient | AppContext<Apps[number]>> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const driven = yield* FiberMap.make<string, void>()
      const resting = new Resting()
      const rest = yield* Rest.make("recover")
      const pass = Effect.gen(function* () {
        const found = yield* abandoned(options)
        const now = yield* Clock.currentTimeMillis
        resting.forget(now)
        for (const { app, run } of found) {
          if ((yield* FiberMap.size(driven)) >= parallelismOf(options)) break
          const { runId } = run
          if (FiberMap.unsafeHas(driven, runId) || resting.until(runId) > now) continue
          yield* FiberMap.run(
            driven,
            runId,
            Effect.flatMap(recover(options, app, run), (report) => settled(resting, report))
          )
        }
        if ((yield* FiberMap.size(driven)) > 0) return asleep
        const next = Math.min(...found.map(({ run }) => resting.until(run.runId) || now))
        return (interval: number) => rest(interval, next)
      }).pipe(ticked("recover"))
      yield* looping(
        {
          reactor: "recover",
          trouble: "runs cannot be recovered for now",
          fine: "runs are recovered again",
          schedule: options.schedule ?? Schedule.jittered(Schedule.spaced("2 seconds"))
        },
        pass
      )
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

interface Abandoned<R> {
  readonly app: AnyApp<R>
  readonly run: RunState
}

const parallelismOf = (options: RecoverOptions): number => Math.max(1, options.parallelism ?? 16)

const abandoned = <const Apps extends ReadonlyArray<AnyApp>>(options: RecoverOptions<Apps>) =>
  Effect.gen(function* () {
    type R = AppContext<Apps[number]>
    const tape = yield* TapeClient
    // AppContext is what these apps need, read off their own types; a list of them widens it to unknown.
    const apps = new Map(options.apps.map((app) => [app.name, app as AnyApp<R>]))
    // The list has no filter: runs of other apps must not hide ours.
    const { runs } = yield* tape.listRunsToRecover({ limit: BigInt(options.limit ?? 1000) })
    yield* recordLag(
      "recover",
      runs.flatMap((run) => (apps.has(run.appName) && run.leaseExpiresAtMs > 0n ? [run.leaseExpiresAtMs] : []))
    )
    return runs.flatMap((run): ReadonlyArray<Abandoned<R>> => {
      const app = apps.get(run.appName)
      return app === undefined ? [] : [{ app, run }]
    })
  })

const recover = <R>(
  options: RecoverOptions,
  app: AnyApp<R>,
  run: RunState
): Effect.Effect<Recovered, never, R | TapeClient> =>
  recoverRun(app, run.runId).pipe(
    Effect.tap((report) => Metric.update(Metric.tagged(recovered, "outcome", report._tag), 1)),
    Effect.tap((report) => Effect.annotateLogs(told(report), { run_id: run.runId })),
    Effect.tap((report) => options.onReport?.(report) ?? Effect.void)
  )

/**
 * Takes up one run, unless somebody drives it.
 *
 * @internal
 */
export const recoverRun = <R>(app: AnyApp<R>, runId: string): Effect.Effect<Recovered, never, R | TapeClient> =>
  inSpanOf(
    app.redrive(runId, { whenHeld: "fail" }).pipe(
      Effect.exit,
      Effect.flatMap((exit) =>
        Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)
          ? Effect.interrupt
          : Effect.succeed(reportOf(app.name, runId, exit))
      )
    ),
    "tape.redrive",
    () => ({ "tape.run_id": runId, "tape.app_name": app.name }),
    troubleOf
  )

const troubleOf = (report: Recovered): string | undefined =>
  report._tag === "failed" || report._tag === "crashed"
    ? report.error
    : report._tag === "stopped"
      ? report.error.message
      : undefined

const reportOf = (app: string, runId: string, exit: Exit.Exit<unknown, unknown>): Recovered => {
  if (Exit.isSuccess(exit)) return { _tag: "finished", runId, app }
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure)) return { _tag: "crashed", runId, app, error: Cause.pretty(exit.cause) }
  const error = failure.value
  if (!isRunError(error)) {
    return { _tag: "failed", runId, app, error: sentenceOfError(error) }
  }
  switch (error._tag) {
    case "LeaseHeld":
      return { _tag: "skipped", runId, app, owner: error.owner }
    case "RunParked":
      return { _tag: "parked", runId, app, gate: error.gate }
    default:
      return { _tag: "stopped", runId, app, error }
  }
}

const isRunError = Schema.is(RunError)

const told = (report: Recovered): Effect.Effect<void> => {
  const line = `run ${report.runId} of ${report.app}`
  switch (report._tag) {
    case "finished":
      return Effect.logInfo(`${line} was recovered and is finished`)
    case "failed":
      return Effect.logWarning(`${line} was recovered and failed: ${report.error}`)
    case "parked":
      return Effect.logInfo(`${line} was recovered and waits at gate ${report.gate}`)
    case "stopped":
      return Effect.logWarning(`${line} cannot go on: ${report.error.message}`)
    case "crashed":
      return Effect.logError(`${line} crashed: ${report.error}`)
    case "skipped":
      return Effect.logDebug(`${line} is driven by ${report.owner}`)
  }
}

/** A run that cannot go on is asked less and less often. */
const settled = (resting: Resting, report: Recovered): Effect.Effect<unknown> =>
  report._tag === "finished" || report._tag === "failed" || report._tag === "parked"
    ? Effect.sync(() => resting.done(report.runId))
    : resting.rest(report.runId, report._tag)
