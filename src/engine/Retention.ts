/**
 * What a tape may forget, and when: an operator's calls, for a program that embeds the engine.
 *
 * Nothing is forgotten that a promise rests on: an effect that is pending or unknown is never pruned, nor one that
 * something open would undo; and what was done is not done again because its row is gone. Work goes in batches, so that
 * writers do not wait.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type { Session } from "../gen/tape/v1/tape_pb.js"
import { continueAsNew } from "./retention/continueAsNew.js"
import * as Housekeeping from "./retention/housekeeping.js"
import {
  type AlreadyContinued,
  type Continuation,
  Continued,
  type InvalidContinuation,
  Pruned,
  type RetentionPolicy,
  type RunNotFound,
  SessionsArchived,
  SnapshotTaken
} from "./retention/models.js"
import * as Prune from "./retention/prune.js"
import * as Archive from "./retention/sessions.js"
import { snapshot } from "./retention/snapshot.js"
import type { StoreError } from "./StoreError.js"
import { Store } from "./store/Store.js"

export * from "./retention/models.js"

/**
 * Forgetting on purpose.
 *
 * @since 0.1.0
 * @category tags
 */
export class Retention extends Context.Tag("effect-tape/engine/Retention")<
  Retention,
  {
    /** Removes what a policy no longer keeps; a second call finds nothing to do. Old request ids always go. */
    readonly prune: (policy: RetentionPolicy) => Effect.Effect<Pruned, StoreError>
    /**
     * Copies a run's settled effects to its snapshot, up to a time (all by default). After they were pruned, BeginEffect
     * answers them from there. Snapshots accumulate, until a policy removes them.
     */
    readonly snapshot: (options: {
      readonly runId: string
      readonly until?: DateTime.DateTime | undefined
    }) => Effect.Effect<SnapshotTaken, RunNotFound | StoreError>
    /**
     * Hands every session that has rested for a while to `archive`, whole, and removes it once that has succeeded. One
     * that goes on meanwhile stays, and may be handed over again later.
     */
    readonly archiveSessions: <E, R>(options: {
      readonly idleFor: Duration.DurationInput
      readonly archive: (session: Session) => Effect.Effect<void, E, R>
    }) => Effect.Effect<SessionsArchived, E | StoreError, R>
    /**
     * Prunes an invocation's settled effects, except those that an open obligation needs, and leaves the carried state as
     * the value (`tape:continue-as-new:<session>`, new invocation), in one transaction. The old run answers its pruned
     * effects as done, without their texts. A repeat with the same state changes nothing more. What no store could keep
     * is refused, as in any request: U+0000, keys that are too long, a state that no message could carry.
     */
    readonly continueAsNew: (
      continuation: Continuation
    ) => Effect.Effect<Continued, RunNotFound | AlreadyContinued | InvalidContinuation | StoreError>
  }
>() {}

/**
 * Retention over the store that the engine works on.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<Retention, never, Store> = Layer.effect(
  Retention,
  Effect.map(Store, (store) => {
    const olderThan = (age: Duration.DurationInput) =>
      Effect.map(store.nowMs, (nowMs) => nowMs - BigInt(Math.ceil(Duration.toMillis(age))))
    return {
      prune: (policy) =>
        Effect.gen(function* () {
          const { effects, snapshots, tasks, timers } = policy
          const settled = effects === undefined ? Prune.none : yield* Prune.effects(store, yield* olderThan(effects))
          return new Pruned({
            ...settled,
            snapshots: snapshots === undefined ? 0 : yield* Prune.snapshots(store, yield* olderThan(snapshots)),
            tasks: tasks === undefined ? 0 : yield* Prune.tasks(store, yield* olderThan(tasks)),
            timers: timers === undefined ? 0 : yield* Prune.timers(store, yield* olderThan(timers)),
            requestIds: yield* Prune.requestIds(store)
          })
        }),
      snapshot: ({ runId, until }) =>
        Effect.map(
          snapshot(store, runId, until === undefined ? undefined : BigInt(DateTime.toEpochMillis(until))),
          (report) => new SnapshotTaken({ runId, ...report })
        ),
      archiveSessions: ({ archive, idleFor }) =>
        olderThan(idleFor).pipe(
          Effect.flatMap((before) => Archive.archiveIdle(store, before, archive)),
          Effect.zipLeft(Effect.repeat(Housekeeping.dropDiscarded(store), { while: (isMore) => isMore })),
          Effect.map((report) => new SessionsArchived(report))
        ),
      continueAsNew: (continuation) => Effect.map(continueAsNew(store, continuation), (report) => new Continued(report))
    }
  })
)

/**
 * How the retention reactor runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface PruneOptions extends RetentionPolicy {
  /** When to prune again; the fiber ends when the schedule does. Defaults to about an hour after each pass. */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
  /** Told of every pass. It cannot fail, and is waited for. */
  readonly onReport?: ((report: Pruned) => Effect.Effect<unknown>) | undefined
}

/**
 * The retention reactor: prunes by a policy, again and again, as a supervised fiber of this layer's scope. A store that is
 * away for a while is logged, and tried again when the schedule says so. Several servers of one store may run it.
 *
 * @example
 * import { Retention } from "effect-tape/engine"
 *
 * export const Tidy = Retention.layerPrune({ effects: "30 days", snapshots: "1000 days", timers: "1 day" })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerPrune = (options: PruneOptions): Layer.Layer<never, never, Retention> =>
  Layer.scopedDiscard(
    Effect.flatMap(Retention, ({ prune }) =>
      prune(options).pipe(
        Effect.tap((report) => options.onReport?.(report) ?? Effect.void),
        Effect.catchAllCause((cause) => Effect.logError("what is no longer kept cannot be removed for now", cause)),
        Effect.repeat(options.schedule ?? Schedule.jittered(Schedule.spaced("1 hour"))),
        Effect.annotateLogs({ module: "Retention", fiber: "prune", reactor: "retention" }),
        Effect.forkScoped
      )
    )
  )
