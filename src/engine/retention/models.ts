/**
 * What retention is told, and what it reports.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

/**
 * How long what is no longer needed is kept; what is not named is kept for ever.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetentionPolicy {
  /**
   * Confirmed and failed effects, and settled compensations: of finished runs, which then take no new effects and are not
   * taken up again, and of other runs as far as a snapshot has them.
   */
  readonly effects?: Duration.DurationInput | undefined
  /**
   * Snapshots of runs that ended longer ago. A run that loses its only record of an effect takes no new effects from then
   * on and is not taken up again; business keys stay remembered. What something open would undo stays.
   */
  readonly snapshots?: Duration.DurationInput | undefined
  /** Tasks that are done. */
  readonly tasks?: Duration.DurationInput | undefined
  /** Timers that have fired. */
  readonly timers?: Duration.DurationInput | undefined
}

/**
 * What was pruned.
 *
 * @since 0.1.0
 * @category models
 */
export class Pruned extends Schema.Class<Pruned>("effect-tape/engine/Retention/Pruned")({
  /** Runs that lost something. */
  runs: Schema.Number,
  effects: Schema.Number,
  /** Compensations that had succeeded. */
  obligations: Schema.Number,
  /** Effects that were only, or also, in snapshots. */
  snapshots: Schema.Number,
  /** Business keys that are remembered without their effects. */
  businessKeys: Schema.Number,
  tasks: Schema.Number,
  timers: Schema.Number,
  /** Answers to calls that named themselves, older than the hour for which they are kept. */
  requestIds: Schema.Number
}) {}

/**
 * What a snapshot took.
 *
 * @since 0.1.0
 * @category models
 */
export class SnapshotTaken extends Schema.Class<SnapshotTaken>("effect-tape/engine/Retention/SnapshotTaken")({
  runId: Schema.String,
  /** Settled effects that the run's snapshot did not have. */
  taken: Schema.Number,
  /** Settled effects that an earlier snapshot has. */
  held: Schema.Number
}) {}

/**
 * What became of idle sessions.
 *
 * @since 0.1.0
 * @category models
 */
export class SessionsArchived extends Schema.Class<SessionsArchived>("effect-tape/engine/Retention/SessionsArchived")({
  /** Sessions that were archived and removed. */
  archived: Schema.Number,
  /** Their events. */
  events: Schema.Number,
  /** Sessions that went on while they were being archived: they stay. */
  changed: Schema.Number
}) {}

/**
 * How a session goes on in a new invocation.
 *
 * @since 0.1.0
 * @category models
 */
export class Continued extends Schema.Class<Continued>("effect-tape/engine/Retention/Continued")({
  runId: Schema.String,
  /** Effects of the old invocation that were pruned. */
  pruned: Schema.Number,
  /** Effects that stay: not settled, or needed by an open obligation. */
  kept: Schema.Number,
  /** Where the carried state is, as a value. */
  namespace: Schema.String,
  key: Schema.String,
  version: Schema.BigIntFromSelf
}) {}

/**
 * No such run.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunNotFound extends Schema.TaggedError<RunNotFound>("effect-tape/engine/Retention/RunNotFound")(
  "RunNotFound",
  { run: Schema.String }
) {
  override get message(): string {
    return `run ${this.run} does not exist`
  }
}

/**
 * The new invocation was given another state before: what it may have begun from must not change.
 *
 * @since 0.1.0
 * @category errors
 */
export class AlreadyContinued extends Schema.TaggedError<AlreadyContinued>(
  "effect-tape/engine/Retention/AlreadyContinued"
)("AlreadyContinued", { namespace: Schema.String, key: Schema.String, version: Schema.BigIntFromSelf }) {
  override get message(): string {
    return `${this.namespace}/${this.key} carries another state already (version ${this.version})`
  }
}

/**
 * What a store cannot keep, or nobody could read: a U+0000, a key or a state that is too long.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidContinuation extends Schema.TaggedError<InvalidContinuation>(
  "effect-tape/engine/Retention/InvalidContinuation"
)("InvalidContinuation", { detail: Schema.String }) {
  override get message(): string {
    return this.detail
  }
}

/**
 * An invocation that ends, and the one that goes on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Continuation {
  readonly appName: string
  readonly userId: string
  readonly sessionId: string
  readonly invocationId: string
  readonly newInvocationId: string
  /** JSON text, of any length that fits into a message of 4 MiB. */
  readonly stateJson: string
  /** Who is named as the value's writer. Defaults to "". */
  readonly writer?: string | undefined
}
