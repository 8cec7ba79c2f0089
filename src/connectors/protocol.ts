/**
 * The words a connector and the outbox speak with each other.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/**
 * How often an effect may be sent: `non_idempotent` once, the others again with the same key.
 *
 * @since 0.1.0
 * @category models
 */
export const Semantics = Schema.Literal("idempotent", "non_idempotent", "observe_only")

/**
 * @since 0.1.0
 * @category models
 */
export type Semantics = typeof Semantics.Type

const belonging = {
  /** The app whose run it is part of. Empty when the tape does not know. */
  app: Schema.optionalWith(Schema.String, { default: () => "" }),
  /** The tenant whose run it is part of. Empty when the run was begun without one. */
  tenantId: Schema.optionalWith(Schema.String, { default: () => "" })
}

/**
 * An effect as its connector sees it.
 *
 * @since 0.1.0
 * @category models
 */
export class Request extends Schema.Class<Request>("effect-tape/Connectors/Request")({
  ...belonging,
  runId: Schema.String,
  idempotencyKey: Schema.String,
  tool: Schema.String,
  connector: Schema.String,
  /** Empty when the effect has none. */
  businessKey: Schema.String,
  semantics: Semantics,
  /** 1 for the first attempt. */
  attempt: Schema.Int,
  /** The recorded request, parsed; its text when it is not JSON. */
  payload: Schema.Unknown
}) {}

/**
 * A compensation that is owed, as the connector of its effect sees it.
 *
 * @since 0.1.0
 * @category models
 */
export class Obligation extends Schema.Class<Obligation>("effect-tape/Connectors/Obligation")({
  ...belonging,
  runId: Schema.String,
  /** The idempotency key of the effect to undo. */
  effectKey: Schema.String,
  kind: Schema.String,
  /** 1 for the first attempt. */
  attempt: Schema.Int,
  /** What was registered, parsed. */
  payload: Schema.Unknown
}) {}

const externalRef = Schema.optional(Schema.String)
const response = Schema.optional(Schema.Unknown)

/**
 * The answer to a dispatch.
 *
 * - `confirmed`: done; `response` is journaled, `externalRef` is the counterparty's own name for it.
 * - `pending`: accepted, not done yet. It is never sent again; the outbox observes it until it is.
 * - `unknown`: it may or may not have happened (a lost answer). It is never sent again before it was observed.
 * - `failed`: it did not happen. Tried again with back-off, at `retryAfter` (milliseconds, a day at most) if given, unless
 *   `final`.
 *
 * @since 0.1.0
 * @category models
 */
export const Dispatched = Schema.Union(
  Schema.TaggedStruct("confirmed", { externalRef, response }),
  Schema.TaggedStruct("pending", { externalRef }),
  Schema.TaggedStruct("unknown", { error: Schema.String }),
  Schema.TaggedStruct("failed", {
    error: Schema.String,
    final: Schema.optional(Schema.Boolean),
    retryAfter: Schema.optional(Schema.DurationFromMillis)
  })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Dispatched = typeof Dispatched.Type

/**
 * The answer to "what became of this effect?".
 *
 * - `confirmed`: it happened, once.
 * - `failed`: the counterparty knows it and refused it for good.
 * - `absent`: the counterparty knows nothing of it. Only a `conclusive` absence (the counterparty's records are complete
 *   and up to date) lets a non-idempotent effect be sent again or settled as failed.
 * - `duplicate`: it happened more than once; `externalRef` names the one too many.
 * - `stuck`: a person has to look. `unknown`: no usable answer, or not done yet.
 *
 * @since 0.1.0
 * @category models
 */
export const Observed = Schema.Union(
  Schema.TaggedStruct("confirmed", { externalRef, response }),
  Schema.TaggedStruct("failed", { error: Schema.String }),
  Schema.TaggedStruct("absent", { conclusive: Schema.Boolean }),
  Schema.TaggedStruct("duplicate", { externalRef, response }),
  Schema.TaggedStruct("stuck", { error: Schema.String }),
  Schema.TaggedStruct("unknown", { error: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Observed = typeof Observed.Type

/**
 * The answer to a compensation: `pending` and `failed` are tried again, `stuck` needs a person.
 *
 * @since 0.1.0
 * @category models
 */
export const Compensated = Schema.Union(
  Schema.TaggedStruct("compensated", { response }),
  Schema.TaggedStruct("pending", { error: Schema.optional(Schema.String) }),
  Schema.TaggedStruct("stuck", { error: Schema.String }),
  Schema.TaggedStruct("failed", { error: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Compensated = typeof Compensated.Type

/**
 * A way to a counterparty. A connector that fails or dies is taken at its worst: for a non-idempotent effect the outcome
 * is unknown, an idempotent one is tried again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Protocol<out R = never> {
  /** Make it happen. Called at most once at a time for an effect. */
  readonly dispatch: (request: Request) => Effect.Effect<Dispatched, unknown, R>
  /** Ask what became of it, without changing anything. Absent: `unknown`. */
  readonly observe?: ((request: Request) => Effect.Effect<Observed, unknown, R>) | undefined
  /** Undo it. Absent: `stuck`. */
  readonly compensate?: ((obligation: Obligation) => Effect.Effect<Compensated, unknown, R>) | undefined
}
