import * as Schema from "effect/Schema"

/**
 * The receiver has not accepted the entry, and may later: it is down, slow, overloaded, or its answer was lost.
 *
 * @since 0.1.0
 * @category errors
 */
export class Undelivered extends Schema.TaggedError<Undelivered>("effect-tape/Sinks/Undelivered")("Undelivered", {
  /** The sink: `webhook`, `log`, or what its maker called it. */
  sink: Schema.String,
  /** The first entry that was not accepted. */
  eventId: Schema.String,
  detail: Schema.String,
  /** The last status, where the receiver speaks HTTP and answered. */
  status: Schema.optional(Schema.Int),
  /** How long the receiver asked to be left alone, in milliseconds on the wire. */
  retryAfter: Schema.optional(Schema.DurationFromMillis)
}) {
  override get message(): string {
    return `${this.sink}: ${this.eventId} was not delivered: ${this.detail}`
  }
}

/**
 * The receiver refused the entry for good: sending it again cannot help.
 *
 * @since 0.1.0
 * @category errors
 */
export class Rejected extends Schema.TaggedError<Rejected>("effect-tape/Sinks/Rejected")("Rejected", {
  sink: Schema.String,
  /** The entry that was refused. */
  eventId: Schema.String,
  detail: Schema.String,
  status: Schema.optional(Schema.Int),
  /** `entry`: this entry is what it cannot take. `receiver`: it would refuse any (no permission, no such address). */
  fault: Schema.Literal("entry", "receiver")
}) {
  override get message(): string {
    return `${this.sink}: ${this.eventId} was refused: ${this.detail}`
  }
}

/**
 * What a sink's publishing can fail with.
 *
 * @since 0.1.0
 * @category errors
 */
export const SinkError = Schema.Union(Undelivered, Rejected)

/**
 * @since 0.1.0
 * @category errors
 */
export type SinkError = typeof SinkError.Type

/**
 * The cursor of a relay cannot be used.
 *
 * - `Damaged`: what is stored is no cursor. It is never taken for "from the start": repair it or remove it.
 * - `Ahead`: it is beyond the journal's end: it belongs to another tape.
 * - `Taken`: another relay of the same name has moved it.
 * - `NotReadable`, `NotWritable`: its place cannot be read, or written.
 *
 * @since 0.1.0
 * @category errors
 */
export class CursorError extends Schema.TaggedError<CursorError>("effect-tape/Sinks/CursorError")("CursorError", {
  reason: Schema.Literal("Damaged", "Ahead", "Taken", "NotReadable", "NotWritable"),
  /** Where it is kept: a path, or the relay's key. */
  place: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message(): string {
    return `the cursor at ${this.place} cannot be used (${this.reason}): ${this.detail}`
  }
}
