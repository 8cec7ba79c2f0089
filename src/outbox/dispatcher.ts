/**
 * The dispatcher: takes recorded intents to their counterparties, once.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TapeClient } from "../Client.js"
import type * as Connectors from "../Connectors.js"
import type { TapeError } from "../Errors.js"
import type { EffectRecord } from "../gen/tape/v1/tape_pb.js"
import { type EffectKey, dispatchOne as one } from "./dispatchOne.js"
import { run } from "./loop.js"
import type { Outcome } from "./outcome.js"
import { Reporter } from "./report.js"
import { type DispatchOptions, resolve, type Settings } from "./settings.js"
import type { ConnectorOf, ToolLike } from "./ToolLike.js"

/**
 * What dispatching needs: the tape, and a connector for every tool that names one.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Requirements<Tools extends ReadonlyArray<ToolLike>, Names extends string> =
  | TapeClient
  | Connectors.Named<ConnectorOf<Tools[number]> | Names>

/**
 * Takes one effect through one turn: claim, send (or, after a vanished attempt, observe), record.
 *
 * Never fails: trouble with the tape is the outcome `error`. Once the effect is claimed an interruption waits for the
 * record, at most `grace`.
 *
 * @since 0.1.0
 * @category dispatching
 */
export const dispatchOne = <
  const Tools extends ReadonlyArray<ToolLike> = readonly [],
  const Names extends string = never
>(
  effect: EffectKey,
  options: DispatchOptions<Tools, Names> = {}
): Effect.Effect<Outcome, never, Requirements<Tools, Names>> =>
  Effect.flatMap(resolve(options), (settings) => reported(new Reporter(), effect, settings))

/**
 * One pass over what is due now: up to `pageSize` effects of every connector, in parallel. For tests, cron and CLIs.
 *
 * Fails only when the effects cannot be listed.
 *
 * @since 0.1.0
 * @category dispatching
 */
export const dispatchOnce = <
  const Tools extends ReadonlyArray<ToolLike> = readonly [],
  const Names extends string = never
>(
  options: LoopOptions<Tools, Names> = {}
): Effect.Effect<ReadonlyArray<Outcome>, TapeError, Requirements<Tools, Names>> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const settings = yield* resolve(options)
    const reporter = new Reporter()
    const { effects } = yield* tape.listEffectsToDispatch({
      connector: options.connector ?? "",
      limit: BigInt(options.pageSize ?? defaultPageSize)
    })
    const outcomes = yield* Effect.forEach(
      byConnector(effects),
      (rows) => Effect.forEach(rows, (row) => reported(reporter, row, settings), { concurrency: settings.parallelism }),
      { concurrency: "unbounded" }
    )
    return outcomes.flat()
  })

/**
 * How the dispatcher's loop runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoopOptions<
  Tools extends ReadonlyArray<ToolLike> = ReadonlyArray<ToolLike>,
  Names extends string = string
> extends DispatchOptions<Tools, Names> {
  /** How long a connector with nothing due rests; a new effect in the journal wakes it. Defaults to 1 second. */
  readonly pollInterval?: Duration.DurationInput | undefined
  /** Leaves all effects alone but those of this connector. Defaults to none: those of every connector are seen to. */
  readonly connector?: string | undefined
  /** How many effects are listed at a time. Defaults to 200. */
  readonly pageSize?: number | undefined
}

/**
 * The dispatcher as a supervised fiber of this layer's scope, one loop per connector: a slow counterparty holds up no
 * other. Rows whose connector is not provided here are left alone and reported once.
 *
 * When the scope closes no more work is taken, and what is in flight is recorded, within `grace`.
 *
 * @example
 * import { Connectors, Outbox } from "effect-tape"
 * import { Layer } from "effect"
 *
 * export const Dispatcher = Outbox.layer({ connectors: ["bank.wire"] }).pipe(
 *   Layer.provide(Connectors.http("bank.wire", { url: "https://bank.example/wires" }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const Tools extends ReadonlyArray<ToolLike> = readonly [], const Names extends string = never>(
  options: LoopOptions<Tools, Names> = {}
): Layer.Layer<never, never, Requirements<Tools, Names>> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const settings = yield* resolve(options)
      const reporter = new Reporter()
      yield* run({
        names: settings.names,
        only: options.connector,
        parallelism: settings.parallelism,
        pollInterval: options.pollInterval ?? "1 second",
        pageSize: options.pageSize ?? defaultPageSize,
        dispatch: (row) => reported(reporter, row, settings)
      }).pipe(Effect.annotateLogs({ module: "Outbox", fiber: "dispatcher" }), Effect.forkScoped)
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const defaultPageSize = 200

// The hook runs inside the turn, so that the outcome of an effect in flight is reported when the loop is interrupted.
const reported = (reporter: Reporter, effect: EffectKey, settings: Settings) =>
  one(effect, {
    ...settings,
    onOutcome: (outcome) => Effect.zipRight(reporter.report(outcome), settings.onOutcome(outcome))
  })

const byConnector = (rows: ReadonlyArray<EffectRecord>): ReadonlyArray<ReadonlyArray<EffectRecord>> => {
  const groups = new Map<string, Array<EffectRecord>>()
  for (const row of rows) {
    const group = groups.get(row.connector)
    if (group === undefined) groups.set(row.connector, [row])
    else group.push(row)
  }
  return [...groups.values()]
}
