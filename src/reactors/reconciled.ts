import * as Schema from "effect/Schema"

const named = {
  runId: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("run_id")),
  idempotencyKey: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("idempotency_key")),
  connector: Schema.String,
  tool: Schema.String
}

/** Who said so: the connector's observe, or the tool's status check. */
const by = Schema.Literal("observe", "status-check")

const externalRef = Schema.optionalWith(Schema.String, { exact: true }).pipe(Schema.fromKey("external_ref"))

/**
 * What the reconciler made of an effect. Encodes to JSON with keys in snake_case.
 *
 * - `confirmed`, `failed`: settled so. `duplicate`: confirmed, and the extra one's compensation is owed if the tool has one.
 * - `reopened`: an idempotent outbox effect that did not happen; PENDING again, the dispatcher sends it with its key.
 * - `unresolved`: left as it is, because nobody could say, or not for certain.
 * - `error`: the tape could not be written; the effect comes again.
 *
 * @since 0.1.0
 * @category models
 */
export const Reconciled = Schema.Union(
  Schema.TaggedStruct("confirmed", { ...named, by, externalRef }),
  Schema.TaggedStruct("duplicate", { ...named, by, externalRef }),
  Schema.TaggedStruct("failed", { ...named, by, error: Schema.String }),
  Schema.TaggedStruct("reopened", { ...named, by }),
  Schema.TaggedStruct("unresolved", { ...named, reason: Schema.String }),
  Schema.TaggedStruct("error", { ...named, error: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Reconciled = typeof Reconciled.Type
