/**
 * The reconciler: asks what became of effects whose outcome is UNKNOWN, before anything is repeated.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { TapeClient } from "../Client.js"
import type * as Connectors from "../Connectors.js"
import type { TapeError } from "../Errors.js"
import { EffectDispatchMode, type EffectRecord, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import * as Rest from "../internal/rest.js"
import type { CheckContext, ConnectorOf, ToolLike } from "../outbox/ToolLike.js"
import { Memory } from "./memory.js"
import type { Reconciled } from "./reconciled.js"
import { type Settle, settle } from "./settle.js"
import { asleep, looping, type Pause, recordLag, ticked } from "./supervise.js"

/**
 * How UNKNOWN effects are settled.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReconcileOptions<
  Tools extends ReadonlyArray<ToolLike> = ReadonlyArray<ToolLike>,
  Names extends string = string
> {
  /** The tools of this program: their connectors are required, their status checks asked, their compensations owed. */
  readonly tools?: Tools | undefined
  /** More connectors to require, for effects that other programs recorded. */
  readonly connectors?: ReadonlyArray<Names> | undefined
  /**
   * Also asks the status checks of inline effects that are PENDING for longer than this. PENDING outbox effects are the
   * dispatcher's. Defaults to none.
   */
  readonly pendingOlderThan?: Duration.DurationInput | undefined
  /**
   * How long after its last attempt a conclusive absence settles a non-idempotent effect as FAILED; until then the
   * attempt may still be on its way. Defaults to 1 minute.
   */
  readonly absentAfter?: Duration.DurationInput | undefined
  /** Limits one question to a counterparty. Defaults to 30 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How many effects are asked about at a time. Defaults to 8. */
  readonly parallelism?: number | undefined
  /** How many effects are listed in one pass. Defaults to 500. */
  readonly limit?: number | undefined
  /** Told of every report. It cannot fail, and is waited for. */
  readonly onReport?: ((report: Reconciled) => Effect.Effect<unknown>) | undefined
}

/**
 * What reconciling needs: the tape, the tools' connectors, and what their status checks need.
 *
 * @since 0.1.0
 * @category type-level
 */
export type ReconcileRequirements<Tools extends ReadonlyArray<ToolLike>, Names extends string> =
  | TapeClient
  | Connectors.Named<ConnectorOf<Tools[number]> | Names>
  | CheckContext<Tools[number]>

/**
 * One pass over the effects whose outcome is UNKNOWN: the connector is asked first, then the tool's status check.
 *
 * A non-idempotent effect stays UNKNOWN unless the answer is conclusive. Trouble with one effect is its own report; the
 * pass fails only when the effects cannot be listed.
 *
 * @since 0.1.0
 * @category reconciling
 */
export const reconcileOnce = <
  const Tools extends ReadonlyArray<ToolLike> = readonly [],
  const Names extends string = never
>(
  options: ReconcileOptions<Tools, Names> = {}
): Effect.Effect<ReadonlyArray<Reconciled>, TapeError, ReconcileRequirements<Tools, Names>> =>
  Effect.suspend(() => pass(options, new Memory()))

/**
 * How the reconciler's loop runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReconcileLoopOptions<
  Tools extends ReadonlyArray<ToolLike> = ReadonlyArray<ToolLike>,
  Names extends string = string
> extends ReconcileOptions<Tools, Names> {
  /** When to look again; the loop ends when the schedule does. Defaults to 2 seconds after each pass. */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
}

/**
 * The reconciler as a supervised fiber of this layer's scope. An effect that stays unresolved is asked about with growing
 * waits, from 2 seconds to 5 minutes.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerReconcile = <
  const Tools extends ReadonlyArray<ToolLike> = readonly [],
  const Names extends string = never
>(
  options: ReconcileLoopOptions<Tools, Names> = {}
): Layer.Layer<never, never, ReconcileRequirements<Tools, Names>> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const memory = new Memory()
      const rest = yield* Rest.make("reconcile")
      // Effects that are PENDING become old enough without anything being written.
      const idle: Pause = options.pendingOlderThan === undefined ? (interval) => rest(interval, memory.next) : asleep
      yield* looping(
        {
          reactor: "reconcile",
          trouble: "effects cannot be reconciled for now",
          fine: "effects are reconciled again",
          schedule: options.schedule ?? Schedule.spaced("2 seconds")
        },
        Effect.as(pass(options, memory), idle)
      )
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const pass = <const Tools extends ReadonlyArray<ToolLike>, const Names extends string>(
  options: ReconcileOptions<Tools, Names>,
  memory: Memory
): Effect.Effect<ReadonlyArray<Reconciled>, TapeError, ReconcileRequirements<Tools, Names>> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const now = yield* Clock.currentTimeMillis
    const rows = yield* listed(tape, options, now, memory)
    const settings: Settle<CheckContext<Tools[number]>> = {
      tape,
      now,
      // CheckContext is what these tools' checks need, read off their own types; a list of them widens it to unknown.
      tools: new Map((options.tools ?? []).map((tool) => [tool.name, tool as ToolLike<CheckContext<Tools[number]>>])),
      absentAfter: Duration.toMillis(options.absentAfter ?? "1 minute"),
      timeout: options.timeout ?? "30 seconds"
    }
    return yield* Effect.forEach(
      rows,
      (row) =>
        settle(row, settings).pipe(
          Effect.tap((report) => memory.report(row, report)),
          Effect.tap((report) => options.onReport?.(report) ?? Effect.void)
        ),
      { concurrency: Math.max(1, options.parallelism ?? 8) }
    )
  }).pipe(ticked("reconcile"))

const listed = Effect.fnUntraced(function* (
  tape: TapeClient["Type"],
  options: ReconcileOptions,
  now: number,
  memory: Memory
) {
  const includePending = options.pendingOlderThan !== undefined
  const before = now - Duration.toMillis(options.pendingOlderThan ?? 0)
  const { effects } = yield* tape.listPendingEffects({
    includeUnknown: true,
    includePending,
    olderThanMs: includePending ? BigInt(Math.max(1, before)) : 0n,
    // The list has no cursor: effects that rest must not hide those behind them.
    limit: BigInt((options.limit ?? 500) + memory.size)
  })
  const ours = effects.filter(isOurs)
  yield* recordLag(
    "reconcile",
    ours.map(({ tsMs }) => tsMs)
  )
  return memory.awake(ours, now)
})

const isOurs = (row: EffectRecord): boolean =>
  row.status === EffectStatus.UNKNOWN || row.dispatchMode !== EffectDispatchMode.OUTBOX
