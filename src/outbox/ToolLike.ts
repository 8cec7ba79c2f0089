/**
 * What the dispatcher and the reconciler need to know of a tool, whoever defined it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"

/**
 * The effect a status check is asked about.
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusQuery {
  readonly runId: string
  readonly idempotencyKey: string
  /** Empty when the effect has none. */
  readonly businessKey: string
  /** How many attempts are recorded. */
  readonly attempt: number
  /** The recorded request: parsed JSON, not yet decoded by the tool's input schema. */
  readonly request: unknown
}

/**
 * The structural part of a tool that works the outbox and settles what is UNKNOWN. `Outbox.Tool` and `Durable.Tool`
 * satisfy it; `R` is what the status check needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolLike<out R = unknown> {
  readonly name: string
  /** The connector that carries its effects; absent for tools that run inside the agent. */
  readonly connector?: string | undefined
  /** Registered as an obligation when an effect of this tool is confirmed. */
  readonly compensation?: { readonly kind: string } | undefined
  /** Asks the counterparty: some = done, with the *encoded* (JSON) output; none = it knows nothing of this effect. */
  readonly statusCheck?: ((query: StatusQuery) => Effect.Effect<Option.Option<unknown>, unknown, R>) | undefined
  /** Overrides the dispatcher's limit of failed attempts. */
  readonly maxAttempts?: number | undefined
  /** Limits one call of the connector; never more than half the claim's time. */
  readonly dispatchTimeout?: Duration.DurationInput | undefined
}

/**
 * The names of the connectors that a tool's effects go through; `never` for tools without one.
 *
 * @since 0.1.0
 * @category type-level
 */
export type ConnectorOf<T> = T extends { readonly connector: infer C extends string } ? C : never

/**
 * The services that a tool's status check needs.
 *
 * @since 0.1.0
 * @category type-level
 */
export type CheckContext<T> = T extends { readonly statusCheck?: infer F }
  ? Exclude<F, undefined> extends (...args: infer _Args) => Effect.Effect<infer _A, infer _E, infer R>
    ? R
    : never
  : never
