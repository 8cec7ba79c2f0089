/**
 * The drainer: undoes what runs owe.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { TapeClient } from "../Client.js"
import type * as Connectors from "../Connectors.js"
import type { Compensator } from "../durable/compensate.js"
import type { AnyApp, AppContext } from "../durable/types.js"
import type { TapeError } from "../Errors.js"
import type { ObligationRecord, RunState } from "../gen/tape/v1/tape_pb.js"
import { processName } from "../internal/processName.js"
import * as Rest from "../internal/rest.js"
import type { ConnectorOf } from "../outbox/ToolLike.js"
import { finder, type UndoableTool } from "./compensators.js"
import type { Drained } from "./drained.js"
import { Drainer } from "./drainer.js"
import { drainRun } from "./drainRun.js"
import { follow } from "./follow.js"
import { asleep, looping, type Pause, recordLag, ticked } from "./supervise.js"

/**
 * Which obligations are worked, and how they are undone.
 *
 * An obligation is undone by the compensator of its kind (`compensators`, else the tool that declares the kind), else by
 * the function its `compensator_ref` names if `modules` allows it, else by the connector of its effect. One that nothing
 * undoes is STUCK, unless `apps` are given and its run is of another app.
 *
 * @since 0.1.0
 * @category models
 */
export interface DrainOptions<
  Apps extends ReadonlyArray<AnyApp> = ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<UndoableTool> = ReadonlyArray<UndoableTool>,
  Names extends string = string,
  R = unknown
> {
  /** The apps whose runs are undone; their tools know how. */
  readonly apps?: Apps | undefined
  /** More tools: their connectors are required, their compensators known. */
  readonly tools?: Tools | undefined
  /** More connectors to require, for effects that other programs recorded. */
  readonly connectors?: ReadonlyArray<Names> | undefined
  /** Compensators by the kind of the obligation; they go before those of tools. */
  readonly compensators?: { readonly [kind: string]: Compensator<R> } | undefined
  /**
   * Modules that a foreign `compensator_ref` (`module:name`) may be imported from: package names or `file:` URLs. The
   * named export is called with the payload and the obligation. Defaults to none.
   */
  readonly modules?: ReadonlyArray<string> | undefined
  /**
   * `"owed"`: those of COMPENSATING runs, of effects that happened twice, and of runs whose others were undone. `"all"`:
   * every one that is registered, as drainers of the reference do; then a compensation may only be registered to be
   * carried out. Defaults to `"owed"`.
   */
  readonly which?: "owed" | "all" | undefined
  /** The name claims are made under. Defaults to `TAPE_CLAIMER`, else `host:pid`, with a random part. */
  readonly claimer?: string | undefined
  /** How long a claim lasts; a compensator has half of it. Defaults to 60 seconds; less than 1 second counts as 1. */
  readonly claimTtl?: Duration.DurationInput | undefined
  /** Spreads back-off by ±20 %. Defaults to `true`. */
  readonly jitter?: boolean | undefined
  /** How long an interruption waits for a compensation in flight to be recorded. Defaults to 10 seconds. */
  readonly grace?: Duration.DurationInput | undefined
  /** How many runs are undone at a time. Defaults to 8. */
  readonly parallelism?: number | undefined
  /** How many obligations are listed at most in one pass. Defaults to 10,000. */
  readonly limit?: number | undefined
  /** Told of every report. It cannot fail, and is waited for. */
  readonly onReport?: ((report: Drained) => Effect.Effect<unknown>) | undefined
}

/**
 * What draining needs: the tape, the tools' connectors, and what the compensators need.
 *
 * @since 0.1.0
 * @category type-level
 */
export type DrainRequirements<
  Apps extends ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<UndoableTool>,
  Names extends string,
  R
> =
  | TapeClient
  | Connectors.Named<ConnectorOf<Tools[number]> | Names>
  | AppContext<Apps[number]>
  | UndoContext<Tools[number]>
  | R

/**
 * The services that a tool's compensator needs.
 *
 * @since 0.1.0
 * @category type-level
 */
export type UndoContext<T> = T extends { readonly compensate?: infer F }
  ? Exclude<F, undefined> extends (...args: infer _Args) => Effect.Effect<infer _A, infer _E, infer R>
    ? R
    : never
  : never

/**
 * One pass: undoes what is owed and due, the newest of each run first. A PENDING or COMMITTED one holds back older ones
 * of its run, a STUCK one does not. A COMPENSATING run without a living lease that owes nothing more is ended: FAILED, or
 * STUCK if one of its obligations is.
 *
 * Fails only when the obligations cannot be listed.
 *
 * @since 0.1.0
 * @category draining
 */
export const drainOnce = <
  const Apps extends ReadonlyArray<AnyApp> = readonly [],
  const Tools extends ReadonlyArray<UndoableTool> = readonly [],
  const Names extends string = never,
  R = never
>(
  options: DrainOptions<Apps, Tools, Names, R> = {}
): Effect.Effect<ReadonlyArray<Drained>, TapeError, DrainRequirements<Apps, Tools, Names, R>> =>
  Effect.flatMap(TapeClient, (tape) => pass(tape, options, new Drainer()))

/**
 * How the drainer's loop runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface DrainLoopOptions<
  Apps extends ReadonlyArray<AnyApp> = ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<UndoableTool> = ReadonlyArray<UndoableTool>,
  Names extends string = string,
  R = unknown
> extends DrainOptions<Apps, Tools, Names, R> {
  /**
   * When to look again at the latest: news of obligations in the journal end a rest. The loop ends when the schedule does.
   * Defaults to 5 seconds after each pass.
   */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
  /**
   * The name of the cursor of a follower that registers what a dispatcher, killed between confirming an effect and
   * registering its compensation, left out: for the outbox tools of `apps` and `tools`. Drainers may share it. `false`:
   * none. Defaults to `"compensations"`.
   */
  readonly follow?: string | false | undefined
}

/**
 * The drainer as a supervised fiber of this layer's scope, woken by news of obligations. When the scope closes, what is
 * being undone is recorded, within `grace`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerObligations = <
  const Apps extends ReadonlyArray<AnyApp> = readonly [],
  const Tools extends ReadonlyArray<UndoableTool> = readonly [],
  const Names extends string = never,
  R = never
>(
  options: DrainLoopOptions<Apps, Tools, Names, R> = {}
): Layer.Layer<never, never, DrainRequirements<Apps, Tools, Names, R>> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const drainer = new Drainer()
      const wake = yield* Queue.sliding<void>(1)
      const named = Effect.annotateLogs({ module: "Reactors", fiber: "obligations", reactor: "obligations" })
      const rest = yield* Rest.make("obligations")
      yield* looping(
        {
          reactor: "obligations",
          trouble: "obligations cannot be worked for now",
          fine: "obligations are worked again",
          schedule: options.schedule ?? Schedule.spaced("5 seconds"),
          wake: Queue.take(wake)
        },
        Effect.map(pass(tape, options, drainer), (): Pause => (drainer.isBusy ? asleep : rest))
      )
      yield* listen(tape, drainer, wake).pipe(named, Effect.forkScoped)
      if (options.follow !== false) {
        const tools = [...(options.tools ?? []), ...(options.apps ?? []).flatMap((app) => app.tools)]
        yield* follow(tape, options.follow ?? "compensations", tools).pipe(named, Effect.forkScoped)
      }
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const pass = <
  const Apps extends ReadonlyArray<AnyApp>,
  const Tools extends ReadonlyArray<UndoableTool>,
  const Names extends string,
  R
>(
  tape: TapeClient["Type"],
  options: DrainOptions<Apps, Tools, Names, R>,
  drainer: Drainer
): Effect.Effect<ReadonlyArray<Drained>, TapeError, DrainRequirements<Apps, Tools, Names, R>> =>
  Effect.gen(function* () {
    const rows = yield* unresolved(tape, options.limit ?? 10_000)
    const now = yield* Clock.currentTimeMillis
    const runs = drainer.owing(rows, now)
    const looked = new Set(runs)
    yield* recordLag(
      "obligations",
      rows.flatMap(({ nextAttemptAtMs, runId }) => (looked.has(runId) ? [nextAttemptAtMs] : []))
    )
    const names = new Set((options.apps ?? []).map((app) => app.name))
    const drain = {
      tape,
      claimer: options.claimer ?? (yield* processName("TAPE_CLAIMER")),
      ttl: Math.max(1000, Math.round(Duration.toMillis(options.claimTtl ?? "60 seconds"))),
      jitter: options.jitter ?? true,
      grace: options.grace ?? "10 seconds",
      all: options.which === "all",
      find: finder<AppContext<Apps[number]> | UndoContext<Tools[number]> | R>(options),
      sticks: (run: RunState) => names.size === 0 || names.has(run.appName),
      report: (report: Drained) =>
        Effect.zipRight(drainer.report(report), Effect.asVoid(options.onReport?.(report) ?? Effect.void))
    }
    const reports = yield* Effect.forEach(
      runs,
      (runId) =>
        drainRun(runId, drain).pipe(
          Effect.tap(({ owes }) => drainer.remember(runId, owes)),
          Effect.map(({ reports }) => reports),
          // One run that cannot be read does not hold up the others.
          Effect.catchAll((error) => Effect.as(drainer.unread(runId, error), []))
        ),
      { concurrency: Math.max(1, options.parallelism ?? 8) }
    )
    return reports.flat()
  }).pipe(ticked("obligations"))

/** The list has no cursor, and most of what it holds may not be owed: it is asked for more until it is not full. */
const unresolved = (
  tape: TapeClient["Type"],
  limit: number,
  page = Math.min(500, limit)
): Effect.Effect<ReadonlyArray<ObligationRecord>, TapeError> =>
  Effect.flatMap(
    tape.listUnresolvedObligations({ limit: page, includePending: true, includeCommittedExpired: true }),
    ({ obligations }) =>
      obligations.length < page || page >= limit
        ? Effect.succeed(obligations)
        : unresolved(tape, limit, Math.min(page * 4, limit))
  )

/** News end the rest, and tell which runs to look at. Polling goes on beside it, so a lost entry costs only time. */
const listen = (tape: TapeClient["Type"], drainer: Drainer, wake: Queue.Queue<void>) =>
  Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const news = (subjectPattern: string, since: number) =>
      tape.subscribeEvents({ fromTsMs: BigInt(Math.max(0, since)), subjectPattern })
    // A drainer may have died between settling a run's last obligation and ending the run: no list shows that run.
    const undone = news("/tape/run/compensating/**", now - Duration.toMillis("7 days"))
    yield* Stream.merge(news("/tape/obligation/**", now), undone).pipe(
      Stream.runForEach((entry) =>
        Effect.zipRight(
          drainer.heard(entry.runId),
          // Most are registered with nothing to undo yet: they wait for the next pass.
          entry.subject.startsWith("/tape/obligation/registered/") ? Effect.void : Queue.offer(wake, undefined)
        )
      )
    )
  }).pipe(
    Effect.catchAllCause((cause) => Effect.logDebug("no wake-ups for a moment", cause)),
    Effect.repeat(Schedule.jittered(Schedule.spaced("2 seconds")))
  )
