import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Task } from "../gen/tape/v1/tape_pb.js"
import { processName } from "../internal/processName.js"
import type { Outcome } from "./outcome.js"

/**
 * A task of a `publish` reaction, for whoever bridges to a broker.
 *
 * @since 0.1.0
 * @category models
 */
export interface Publication {
  /** Where to, as the reaction says. */
  readonly target: string
  /** The name of the reaction. */
  readonly reaction: string
  /** Its `payloadJson` is what to publish, its `taskId` what receivers tell repeats by. */
  readonly task: Task
}

/**
 * How tasks are dispatched.
 *
 * @since 0.1.0
 * @category models
 */
export interface DispatchOptions<RP = never> {
  /** As for {@link register}. */
  readonly app: string
  /** As for {@link register}. */
  readonly prune?: boolean | undefined
  /** Whether the reactions are registered first. Defaults to `true`. */
  readonly register?: boolean | undefined
  /** What does `publish` reactions. Defaults to nothing: their tasks are left to a bridge elsewhere. */
  readonly publish?: ((publication: Publication) => Effect.Effect<unknown, unknown, RP>) | undefined
  /** The name claims are made under. Defaults to `TAPE_DISPATCHER_OWNER`, else `host:pid`, with a random part. */
  readonly owner?: string | undefined
  /**
   * How long a claim lasts. There is no renewing it, so a handler may take at most nine tenths of it; what is left is for
   * the record. Trailing debounce adds its window. Defaults to 60 seconds.
   */
  readonly lease?: Duration.DurationInput | undefined
  /** How many tasks are claimed at a time, when so many handlers can start. Defaults to 16. */
  readonly claimMax?: number | undefined
  /** Of which shard, from 0. Defaults to all of them. */
  readonly shard?: number | undefined
  /** How long an interruption waits for handlers that run, before they are interrupted. Defaults to 10 seconds. */
  readonly grace?: Duration.DurationInput | undefined
  /** Told of every outcome. It cannot fail, and is waited for. */
  readonly onOutcome?: ((outcome: Outcome) => Effect.Effect<unknown>) | undefined
}

/** {@link DispatchOptions} with nothing left open. */
export interface Settings {
  readonly owner: string
  readonly leaseMs: number
  readonly claimMax: number
  readonly shard: number | undefined
  readonly graceMs: number
  readonly onOutcome: (outcome: Outcome) => Effect.Effect<unknown>
}

export const resolve = (options: Omit<DispatchOptions<unknown>, "app">): Effect.Effect<Settings> =>
  Effect.map(ownerOf(options), (owner) => ({
    owner,
    leaseMs: Math.max(1, Duration.toMillis(options.lease ?? "60 seconds")),
    claimMax: Math.max(1, options.claimMax ?? 16),
    shard: options.shard,
    graceMs: Duration.toMillis(options.grace ?? "10 seconds"),
    onOutcome: options.onOutcome ?? (() => Effect.void)
  }))

const ownerOf = ({ owner }: Pick<DispatchOptions<unknown>, "owner">): Effect.Effect<string> =>
  owner === undefined ? processName("TAPE_DISPATCHER_OWNER") : Effect.succeed(owner)
