import * as Schema from "effect/Schema"

const runId = Schema.propertySignature(Schema.String).pipe(Schema.fromKey("run_id"))

const named = {
  runId,
  obligationSeq: Schema.propertySignature(Schema.BigIntFromNumber).pipe(Schema.fromKey("obligation_seq")),
  effectKey: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("effect_key")),
  kind: Schema.String
}

/**
 * What became of an obligation, or of the run whose last one was settled. Encodes to JSON with keys in snake_case.
 *
 * - `compensated`: undone. `scheduled`: the attempt failed, or is not done yet; tried again at `nextAt`.
 * - `stuck`: a person has to look.
 * - `skipped`: left as it is: another one has it, or it waits (`contended`); somebody drives the run (`driven`); nothing
 *   here undoes this kind, and its run is of a foreign app (`no-compensator`).
 * - `error`: the tape could not be read or written; it comes again.
 * - `ended`: the COMPENSATING run had nothing left to undo and was ended so.
 *
 * @since 0.1.0
 * @category models
 */
export const Drained = Schema.Union(
  Schema.TaggedStruct("compensated", { ...named, by: Schema.Literal("tool", "reference", "connector") }),
  Schema.TaggedStruct("scheduled", {
    ...named,
    attempts: Schema.Int,
    nextAt: Schema.propertySignature(Schema.DateTimeUtc).pipe(Schema.fromKey("next_at")),
    error: Schema.String
  }),
  Schema.TaggedStruct("stuck", { ...named, error: Schema.String }),
  Schema.TaggedStruct("skipped", {
    ...named,
    reason: Schema.Literal("contended", "driven", "no-compensator"),
    detail: Schema.String
  }),
  Schema.TaggedStruct("error", { ...named, error: Schema.String }),
  Schema.TaggedStruct("ended", { runId, status: Schema.Literal("FAILED", "STUCK") })
)

/**
 * @since 0.1.0
 * @category models
 */
export type Drained = typeof Drained.Type
