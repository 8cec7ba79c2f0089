/**
 * The timers' reactor: does what a timer was set for, when it is due.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import { TapeClient } from "../Client.js"
import type * as Connectors from "../Connectors.js"
import type { AnyApp, AppContext } from "../durable/types.js"
import type { TapeError } from "../Errors.js"
import type { TimerRecord } from "../gen/tape/v1/tape_pb.js"
import * as Rest from "../internal/rest.js"
import { timers as counted } from "../observability/metrics.js"
import type { CheckContext, ConnectorOf, ToolLike } from "../outbox/ToolLike.js"
import { type Acting, act, type DueTimer } from "./actions.js"
import type { Fired } from "./fired.js"
import { Resting } from "./resting.js"
import { looping, type Pause, recordLag, ticked } from "./supervise.js"

/**
 * What is done about timers that are due.
 *
 * - `gate_timeout`, payload `{"gate", "resolution"?}`: the gate is resolved with `{"timed_out": true}` and the fields of
 *   `resolution`, unless it has a resolution already.
 * - `redrive`: the run is taken up, if its app is among `apps` and nobody drives it.
 * - `reconcile`, payload `{"key"}`: that effect is settled, as the reconciler would.
 * - any other kind is `onTimer`'s; without it, it is left for others and reported once.
 *
 * @since 0.1.0
 * @category models
 */
export interface TimersOptions<
  Apps extends ReadonlyArray<AnyApp> = ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<ToolLike> = ReadonlyArray<ToolLike>,
  Names extends string = string,
  R = unknown
> {
  /** The apps whose runs are taken up; their tools know how to check effects. */
  readonly apps?: Apps | undefined
  /** More tools: their connectors are required, their status checks asked. */
  readonly tools?: Tools | undefined
  /** More connectors to require, for effects that other programs recorded. */
  readonly connectors?: ReadonlyArray<Names> | undefined
  /**
   * Handles the kinds that are not listed above. It is called at least once for each timer, again after a failure or when
   * the reactor was killed; it may set the timer anew.
   */
  readonly onTimer?: ((timer: DueTimer) => Effect.Effect<unknown, unknown, R>) | undefined
  /**
   * Removes a timer *before* `onTimer` is called, so that of several reactors one calls it, and sets it again when it
   * fails or is interrupted; a reactor that is killed meanwhile loses it. Defaults to `false`.
   */
  readonly exclusive?: boolean | undefined
  /** As of the reconciler: when a conclusive absence counts. Defaults to 1 minute. */
  readonly absentAfter?: Duration.DurationInput | undefined
  /** Limits one question to a counterparty. Defaults to 30 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How many timers are acted on at a time. Defaults to 16. */
  readonly parallelism?: number | undefined
  /** How many timers are listed in one pass. Defaults to 500. */
  readonly limit?: number | undefined
  /** Told of every report. It cannot fail, and is waited for. */
  readonly onReport?: ((report: Fired) => Effect.Effect<unknown>) | undefined
}

/**
 * What acting on timers needs: the tape, the apps' services, the tools' connectors, and what checks and `onTimer` need.
 *
 * @since 0.1.0
 * @category type-level
 */
export type TimersRequirements<
  Apps extends ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<ToolLike>,
  Names extends string,
  R
> =
  | TapeClient
  | AppContext<Apps[number]>
  | Connectors.Named<ConnectorOf<Tools[number]> | Names>
  | CheckContext<Tools[number]>
  | R

/**
 * One pass over the timers that are due. They are looked at without being taken; what was done is acknowledged by removing
 * the timer, so one whose action fails, or whose reactor is killed, is still there.
 *
 * Fails only when the timers cannot be listed. A redriven run is waited for.
 *
 * @since 0.1.0
 * @category timers
 */
export const timersOnce = <
  const Apps extends ReadonlyArray<AnyApp> = readonly [],
  const Tools extends ReadonlyArray<ToolLike> = readonly [],
  const Names extends string = never,
  R = never
>(
  options: TimersOptions<Apps, Tools, Names, R> = {}
): Effect.Effect<ReadonlyArray<Fired>, TapeError, TimersRequirements<Apps, Tools, Names, R>> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { timers } = yield* tape.listDueTimers({ limit: BigInt(options.limit ?? 500) })
    const resting = new Resting()
    const acting = actingOf(tape, options, yield* Clock.currentTimeMillis)
    return yield* Effect.forEach(timers, (timer) => Effect.tap(act(timer, acting), reported(options, resting)), {
      concurrency: parallelismOf(options)
    })
  }).pipe(ticked("timers"))

/**
 * How the timers' loop runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface TimersLoopOptions<
  Apps extends ReadonlyArray<AnyApp> = ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<ToolLike> = ReadonlyArray<ToolLike>,
  Names extends string = string,
  R = unknown
> extends TimersOptions<Apps, Tools, Names, R> {
  /**
   * When to look again at the latest: a rest ends when the next known timer is due; one that is set meanwhile is late by
   * at most the rest. The loop ends when the schedule does. Defaults to 2 seconds after each pass.
   */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
}

/**
 * The timers' reactor as a supervised fiber of this layer's scope. Timers are acted on beside the loop, so a long redrive
 * holds up no other; one whose action fails rests, from 2 seconds to 5 minutes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerTimers = <
  const Apps extends ReadonlyArray<AnyApp> = readonly [],
  const Tools extends ReadonlyArray<ToolLike> = readonly [],
  const Names extends string = never,
  R = never
>(
  options: TimersLoopOptions<Apps, Tools, Names, R> = {}
): Layer.Layer<never, never, TimersRequirements<Apps, Tools, Names, R>> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const acted = yield* FiberMap.make<string, void>()
      const freed = yield* Effect.makeLatch()
      const resting = new Resting()
      const rest = yield* Rest.make("timers")
      const pass = Effect.gen(function* (): Effect.fn.Return<
        Pause,
        TapeError,
        TimersRequirements<Apps, Tools, Names, R>
      > {
        yield* freed.close
        const busy = yield* FiberMap.size(acted)
        const { timers } = yield* tape.listDueTimers({
          // The list has no cursor: timers that rest or are being acted on must not hide those behind them.
          limit: BigInt((options.limit ?? 500) + resting.size + busy)
        })
        const now = yield* Clock.currentTimeMillis
        const due = resting.awake(timers, keyOf, now).filter((timer) => !FiberMap.unsafeHas(acted, keyOf(timer)))
        yield* recordLag(
          "timers",
          due.map(({ fireAtMs }) => fireAtMs)
        )
        const acting = actingOf(tape, options, now)
        const free = parallelismOf(options) - busy
        yield* Effect.forEach(
          due.slice(0, Math.max(0, free)),
          (timer) =>
            Effect.map(
              FiberMap.run(acted, keyOf(timer), Effect.flatMap(act(timer, acting), reported(options, resting))),
              // After the map has let it go.
              (fiber) => fiber.addObserver(() => freed.unsafeOpen())
            ),
          { discard: true }
        )
        // More are due than are free: look again as soon as one is.
        if (due.length > free) return (interval) => Effect.raceFirst(Effect.sleep(interval), freed.await)
        const isBusy = busy + due.length > 0
        return (interval) =>
          Effect.flatMap(untilNext(tape, interval), (pause) =>
            isBusy ? Effect.sleep(pause) : rest(pause, resting.next)
          )
      }).pipe(ticked("timers"))
      yield* looping(
        {
          reactor: "timers",
          trouble: "timers cannot be listed for now",
          fine: "timers are listed again",
          schedule: options.schedule ?? Schedule.spaced("2 seconds")
        },
        pass
      )
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const keyOf = ({ runId, timerId }: TimerRecord): string => JSON.stringify([runId, timerId])

const parallelismOf = (options: TimersOptions): number => Math.max(1, options.parallelism ?? 16)

/** Setting a timer is in no journal, so a rest can only end early for those that are already there. */
const untilNext = (tape: TapeClient["Type"], interval: number): Effect.Effect<number> =>
  Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const { timers } = yield* tape.listDueTimers({ nowMs: BigInt(Math.ceil(now + interval)), limit: 1000n })
    const next = timers.find(({ fireAtMs }) => Number(fireAtMs) > now)
    return next === undefined ? interval : Math.min(interval, Number(next.fireAtMs) - now)
  }).pipe(Effect.orElseSucceed(() => interval))

const actingOf = <
  const Apps extends ReadonlyArray<AnyApp>,
  const Tools extends ReadonlyArray<ToolLike>,
  const Names extends string,
  R
>(
  tape: TapeClient["Type"],
  options: TimersOptions<Apps, Tools, Names, R>,
  now: number
) => {
  type Needs = AppContext<Apps[number]> | CheckContext<Tools[number]> | R
  const apps = options.apps ?? []
  const tools: ReadonlyArray<ToolLike> = [...(options.tools ?? []), ...apps.flatMap((app) => app.tools)]
  const acting: Acting<Needs> = {
    tape,
    // What these apps and tools need is read off their own types; a list of them widens it to unknown.
    apps: new Map(apps.map((app) => [app.name, app as AnyApp<Needs>])),
    settle: {
      tape,
      now,
      tools: new Map(tools.map((tool) => [tool.name, tool as ToolLike<Needs>])),
      absentAfter: Duration.toMillis(options.absentAfter ?? "1 minute"),
      timeout: options.timeout ?? "30 seconds"
    },
    onTimer: options.onTimer,
    exclusive: options.exclusive ?? false
  }
  return acting
}

const reported = (options: TimersOptions, resting: Resting) => (report: Fired) =>
  Effect.gen(function* () {
    const key = JSON.stringify([report.runId, report.timerId])
    yield* Metric.update(Metric.tagged(counted, "outcome", report._tag), 1)
    const names = { run_id: report.runId, timer_id: report.timerId, kind: report.kind }
    switch (report._tag) {
      case "waiting":
        yield* resting.rest(key, report.reason)
        break
      case "left":
      case "failed": {
        const line = report._tag === "left" ? report.reason : `it failed, and comes again: ${report.error}`
        if (yield* resting.rest(key, line)) yield* Effect.annotateLogs(Effect.logWarning(`timer: ${line}`), names)
        break
      }
      default:
        resting.done(key)
        yield* Effect.annotateLogs(Effect.logInfo(`timer: ${report._tag}`), names)
    }
    yield* options.onReport?.(report) ?? Effect.void
  })
