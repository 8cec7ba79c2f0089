import * as Schema from "effect/Schema"

const named = {
  reaction: Schema.String,
  reactionId: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("reaction_id")),
  taskId: Schema.propertySignature(Schema.String).pipe(Schema.fromKey("task_id")),
  subject: Schema.String,
  attempt: Schema.Int
}

/**
 * What became of a claimed task. Encodes to JSON with keys in snake_case.
 *
 * - `done`: handled and acknowledged.
 * - `debounced`: acknowledged without being handled; another change of its window is.
 * - `retry-scheduled`: the handler failed; the task is handed out again at `nextAt`.
 * - `dead-letter`: it cannot be read, or failed too often.
 * - `expired`: too little was left of its lease to begin; it is handed out again.
 * - `claim-lost`: somebody else has it by now, or it is gone: what was done is done, and may be done again there.
 * - `error`: the tape could not be told; the task is handed out again when its lease has run out.
 *
 * @since 0.1.0
 * @category models
 */
export const Outcome = Schema.Union(
  Schema.TaggedStruct("done", named),
  Schema.TaggedStruct("debounced", named),
  Schema.TaggedStruct("retry-scheduled", {
    ...named,
    error: Schema.String,
    nextAt: Schema.propertySignature(Schema.DateTimeUtcFromNumber).pipe(Schema.fromKey("next_at_ms"))
  }),
  Schema.TaggedStruct("dead-letter", { ...named, error: Schema.String }),
  Schema.TaggedStruct("expired", named),
  Schema.TaggedStruct("claim-lost", { ...named, error: Schema.String }),
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
  const line = `${outcome.reaction}: ${outcome.subject}`
  switch (outcome._tag) {
    case "done":
      return `${line} done`
    case "debounced":
      return `${line} debounced`
    case "expired":
      return `${line} was claimed too long ago to begin`
    case "retry-scheduled":
      return `${line} failed in attempt ${outcome.attempt}, will be tried again: ${outcome.error}`
    case "dead-letter":
      return `${line} is a dead letter after attempt ${outcome.attempt}: ${outcome.error}`
    case "claim-lost":
      return `${line} is claimed by somebody else by now: ${outcome.error}`
    case "error":
      return `${line} could not be recorded: ${outcome.error}`
  }
}
