/**
 * An outbox intent as plain JSON, in the words that all SDKs of the tape share: for agent frameworks that pass tool results
 * through places that know nothing of Effect.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * How often an outbox effect may be sent. `at_least_once` has no word of its own on the wire and is recorded as idempotent.
 *
 * @since 0.1.0
 * @category models
 */
export const Semantics = Schema.Literal("idempotent", "at_least_once", "non_idempotent")

/**
 * @since 0.1.0
 * @category models
 */
export type Semantics = typeof Semantics.Type

/**
 * An intent, not yet begun.
 *
 * @since 0.1.0
 * @category models
 */
export const Envelope = Schema.Struct({
  __outbox__: Schema.Literal(true),
  connector: Schema.String,
  tool: Schema.String,
  semantics: Semantics,
  wait_for_result: Schema.Boolean,
  human_gate: Schema.Boolean,
  /** The tool's input, encoded. */
  payload: Schema.Unknown,
  dispatch_timeout_ms: Schema.optionalWith(Schema.Number, { exact: true }),
  business_key: Schema.optionalWith(Schema.String, { exact: true })
})

/**
 * @since 0.1.0
 * @category models
 */
export interface Envelope extends Schema.Schema.Type<typeof Envelope> {}

/**
 * Whether a tool's result is an intent for the outbox, and not a plain result.
 *
 * @since 0.1.0
 * @category guards
 */
export const isEnvelope = (value: unknown): value is Envelope =>
  typeof value === "object" && value !== null && "__outbox__" in value && value.__outbox__ === true
