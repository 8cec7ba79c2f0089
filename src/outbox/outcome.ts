import * as Schema from "effect/Schema"

const named = {
  runId: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("run_id")),
  idempotencyKey: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("idempotency_key")),
  /** Empty when the row was gone before it could be read. */
  connector: Schema.String,
  tool: Schema.String
}

const externalRef = Schema.optionalWith(Schema.String, { exact: true }).pipe(Schema.fromKey("external_ref"))
const nextAt = Schema.propertySignature(Schema.DateTimeUtcFromNumber).pipe(Schema.fromKey("next_at_ms"))

/**
 * What one turn of the dispatcher made of an effect. Encodes to JSON with keys in snake_case.
 *
 * - `confirmed`: done and recorded; `observed` when it was found done by asking, not by doing.
 * - `duplicate`: the counterparty has it more than once; the extra one's compensation is owed if the tool has one.
 * - `pending`: accepted by the counterparty, not done; observed again at `nextAt`.
 * - `unknown`: may have happened; recorded UNKNOWN for the reconciler.
 * - `retry-scheduled`: did not happen; sent again at `nextAt`.
 * - `failed`: will not happen; recorded FAILED.
 * - `skipped`: nothing was done, no claim of ours is left. Reasons: `no-connector` (nobody here provides it), `contended`
 *   (another dispatcher has the claim, or it is not due), `settled` (no longer PENDING), `gone` (no such effect).
 * - `error`: the tape could not be read or written. Whatever was done is found by observing once the claim has expired.
 *
 * @since 0.1.0
 * @category models
 */
export const Outcome = Schema.Union(
  Schema.TaggedStruct("confirmed", { ...named, externalRef, observed: Schema.Boolean }),
  Schema.TaggedStruct("duplicate", { ...named, externalRef }),
  Schema.TaggedStruct("pending", { ...named, checks: Schema.Int, nextAt }),
  Schema.TaggedStruct("unknown", { ...named, error: Schema.String }),
  Schema.TaggedStruct("retry-scheduled", { ...named, attempts: Schema.Int, error: Schema.String, nextAt }),
  Schema.TaggedStruct("failed", { ...named, attempts: Schema.Int, error: Schema.String }),
  Schema.TaggedStruct("skipped", {
    ...named,
    reason: Schema.Literal("no-connector", "contended", "settled", "gone"),
    detail: Schema.String
  }),
  Schema.TaggedStruct("error", { ...named, error: Schema.String })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Outcome = typeof Outcome.Type

/**
 * An outcome in one readable line.
 *
 * @since 0.1.0
 * @category rendering
 */
export const describe = (outcome: Outcome): string => {
  switch (outcome._tag) {
    case "confirmed":
      return `confirmed${outcome.observed ? " (observed)" : ""}${outcome.externalRef === undefined ? "" : `: ${outcome.externalRef}`}`
    case "duplicate":
      return `duplicate${outcome.externalRef === undefined ? "" : `: ${outcome.externalRef}`}`
    case "pending":
      return `accepted, not done after ${outcome.checks} checks`
    case "retry-scheduled":
      return `attempt ${outcome.attempts} failed, will be tried again: ${outcome.error}`
    case "failed":
      return `failed after ${outcome.attempts} attempts: ${outcome.error}`
    case "skipped":
      return `skipped: ${outcome.detail}`
    default:
      return `${outcome._tag}: ${outcome.error}`
  }
}
