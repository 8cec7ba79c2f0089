/**
 * All reactors together.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { TapeClient } from "../Client.js"
import type * as Connectors from "../Connectors.js"
import type { Compensator } from "../durable/compensate.js"
import type { AnyApp, AppContext } from "../durable/types.js"
import type { TapeError } from "../Errors.js"
import type { CheckContext, ConnectorOf, ToolLike } from "../outbox/ToolLike.js"
import type { DueTimer } from "./actions.js"
import { type Compacted, type CompactionLoopOptions, compactOnce, layerCompaction } from "./compaction.js"
import type { UndoableTool } from "./compensators.js"
import type { Drained } from "./drained.js"
import type { Fired } from "./fired.js"
import { type DrainLoopOptions, drainOnce, layerObligations, type UndoContext } from "./obligations.js"
import { layerReconcile, type ReconcileLoopOptions, reconcileOnce } from "./reconcile.js"
import type { Reconciled } from "./reconciled.js"
import { layerRecover, type Recovered, type RecoverLoopOptions, recoverOnce } from "./recover.js"
import { layerTimers, type TimersLoopOptions, timersOnce } from "./timers.js"

type ReactorName = "recover" | "reconcile" | "timers" | "obligations" | "compaction"

type Shared = "apps" | "tools" | "connectors" | "compensators" | "onTimer"

/**
 * What the reactors work for, and how each runs; `false` leaves one out.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<
  Apps extends ReadonlyArray<AnyApp> = ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<UndoableTool> = ReadonlyArray<UndoableTool>,
  Names extends string = string,
  RC = unknown,
  RT = unknown
> {
  /** Their runs are recovered, redriven and undone, their tools' effects settled. */
  readonly apps: Apps
  /** Tools that no app lists: their connectors are required. */
  readonly tools?: Tools | undefined
  /** More connectors to require: those of the apps' outbox tools, and those of effects that other programs recorded. */
  readonly connectors?: ReadonlyArray<Names> | undefined
  /** Compensators by the kind of the obligation; they go before those of tools. */
  readonly compensators?: { readonly [kind: string]: Compensator<RC> } | undefined
  /** Handles timers of other kinds than the reactors' own. */
  readonly onTimer?: ((timer: DueTimer) => Effect.Effect<unknown, unknown, RT>) | undefined
  readonly recover?: Omit<RecoverLoopOptions, Shared> | false | undefined
  readonly reconcile?: Omit<ReconcileLoopOptions, Shared> | false | undefined
  readonly timers?: Omit<TimersLoopOptions, Shared> | false | undefined
  readonly obligations?: Omit<DrainLoopOptions, Shared> | false | undefined
  /** Only runs when asked for: what is emptied is gone. */
  readonly compaction?: CompactionLoopOptions | false | undefined
}

/**
 * What the reactors need: the tape, the services of apps, tools, compensators and `onTimer`, the tools' connectors.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Requirements<
  Apps extends ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<UndoableTool>,
  Names extends string,
  RC,
  RT
> = TapeClient | Connectors.Named<ConnectorOf<Tools[number]> | Names> | Services<Apps, Tools> | RC | RT

type Services<Apps extends ReadonlyArray<AnyApp>, Tools extends ReadonlyArray<UndoableTool>> =
  | AppContext<Apps[number]>
  | CheckContext<Tools[number]>
  | UndoContext<Tools[number]>

/**
 * All reactors, each a supervised fiber of its own: recovery, the reconciler, timers, obligations, and compaction if asked
 * for. Several processes may run them on one tape.
 *
 * @example
 * import { Durable, Reactors } from "effect-tape"
 * import { Schedule, Schema } from "effect"
 *
 * const Greet = Durable.app("greet", {
 *   input: Schema.String,
 *   *run(name) {
 *     return `Hello, ${name}`
 *   }
 * })
 *
 * export const Main = Reactors.layer({ apps: [Greet], obligations: { schedule: Schedule.spaced("1 second") } })
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <
  const Apps extends ReadonlyArray<AnyApp>,
  const Tools extends ReadonlyArray<UndoableTool> = readonly [],
  const Names extends string = never,
  RC = never,
  RT = never
>(
  options: Options<Apps, Tools, Names, RC, RT>
): Layer.Layer<never, never, Requirements<Apps, Tools, Names, RC, RT>> => {
  const { apps, compensators, connectors, onTimer, tools } = options
  const named = { apps, tools, connectors }
  return Layer.mergeAll(
    options.recover === false ? Layer.empty : layerRecover({ ...options.recover, apps }),
    options.reconcile === false
      ? Layer.empty
      : layerReconcile({ ...options.reconcile, connectors, tools: checkedTools(options) }),
    options.timers === false ? Layer.empty : layerTimers({ ...options.timers, ...named, onTimer }),
    options.obligations === false ? Layer.empty : layerObligations({ ...options.obligations, ...named, compensators }),
    options.compaction ? layerCompaction(options.compaction) : Layer.empty
  )
}

/**
 * All reactors, as {@link layer}, until interrupted: for a program that is nothing else. What is in hand is finished
 * first.
 *
 * @example
 * import { Durable, Reactors, TapeLive } from "effect-tape"
 * import { Effect, Schema } from "effect"
 *
 * const Greet = Durable.app("greet", {
 *   input: Schema.String,
 *   *run(name) {
 *     return `Hello, ${name}`
 *   }
 * })
 *
 * Reactors.run({ apps: [Greet] }).pipe(Effect.provide(TapeLive), Effect.runFork)
 *
 * @since 0.1.0
 * @category running
 */
export const run = <
  const Apps extends ReadonlyArray<AnyApp>,
  const Tools extends ReadonlyArray<UndoableTool> = readonly [],
  const Names extends string = never,
  RC = never,
  RT = never
>(
  options: Options<Apps, Tools, Names, RC, RT>
): Effect.Effect<never, never, Requirements<Apps, Tools, Names, RC, RT>> => Layer.launch(layer(options))

/**
 * What one pass of every reactor came to.
 *
 * @since 0.1.0
 * @category models
 */
export interface Once {
  readonly recovered: ReadonlyArray<Recovered>
  readonly reconciled: ReadonlyArray<Reconciled>
  readonly fired: ReadonlyArray<Fired>
  readonly drained: ReadonlyArray<Drained>
  readonly compacted: ReadonlyArray<Compacted>
  /** Reactors whose pass failed as a whole, because the tape could not be read; their lists are empty. */
  readonly failures: ReadonlyArray<{ readonly reactor: ReactorName; readonly error: TapeError }>
}

/**
 * One pass of every reactor that is not left out, side by side, for tests and cron. Runs that are recovered or redriven
 * are waited for. Trouble of one reactor is told in `failures`, and holds up no other.
 *
 * @since 0.1.0
 * @category running
 */
export const once = <
  const Apps extends ReadonlyArray<AnyApp>,
  const Tools extends ReadonlyArray<UndoableTool> = readonly [],
  const Names extends string = never,
  RC = never,
  RT = never
>(
  options: Options<Apps, Tools, Names, RC, RT>
): Effect.Effect<Once, never, Requirements<Apps, Tools, Names, RC, RT>> =>
  Effect.gen(function* () {
    const { apps, compensators, connectors, onTimer, tools } = options
    const named = { apps, tools, connectors }
    const failures: Array<Once["failures"][number]> = []
    const told = <A, R>(
      reactor: ReactorName,
      pass: Effect.Effect<ReadonlyArray<A>, TapeError, R>
    ): Effect.Effect<ReadonlyArray<A>, never, R> =>
      options[reactor] === false
        ? Effect.succeed([])
        : Effect.catchAll(pass, (error) => {
            failures.push({ reactor, error })
            return Effect.succeed([])
          })
    const [recovered, reconciled, fired, drained, compacted] = yield* Effect.all(
      [
        told("recover", recoverOnce({ ...options.recover, apps })),
        told("reconcile", reconcileOnce({ ...options.reconcile, connectors, tools: checkedTools(options) })),
        told("timers", timersOnce({ ...options.timers, ...named, onTimer })),
        told("obligations", drainOnce({ ...options.obligations, ...named, compensators })),
        told("compaction", options.compaction ? compactOnce(options.compaction) : Effect.succeed([]))
      ],
      { concurrency: "unbounded" }
    )
    return { recovered, reconciled, fired, drained, compacted, failures }
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

/** What the tools of apps need is part of what the apps need; a list of tools widens it to unknown. */
const checkedTools = <
  const Apps extends ReadonlyArray<AnyApp>,
  const Tools extends ReadonlyArray<UndoableTool>,
  const Names extends string,
  RC,
  RT
>(
  options: Options<Apps, Tools, Names, RC, RT>
): ReadonlyArray<ToolLike<Services<Apps, Tools>>> =>
  [...(options.tools ?? []), ...options.apps.flatMap((app) => app.tools)] as ReadonlyArray<
    ToolLike<Services<Apps, Tools>>
  >
