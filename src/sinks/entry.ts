import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const field = <Name extends string, A, I>(name: Name, schema: Schema.Schema<A, I>) =>
  Schema.propertySignature(schema).pipe(Schema.fromKey(name))

/**
 * A journal entry as sinks receive it and as it is written on the wire: keys in snake_case, in this order, none omitted;
 * `payload_json` stays text. Receivers decode with the same schema.
 *
 * @example
 * import { Sinks } from "effect-tape"
 * import { Schema } from "effect"
 *
 * export const received = Schema.decodeUnknown(Schema.parseJson(Sinks.Entry))
 *
 * @since 0.1.0
 * @category models
 */
export const Entry = Schema.Struct({
  /** Empty for an entry that belongs to no run. */
  runId: field("run_id", Schema.String),
  /** Counts within the run. */
  seq: Schema.BigIntFromNumber,
  kind: Schema.String,
  payloadJson: field("payload_json", Schema.String),
  tsMs: field("ts_ms", Schema.BigIntFromNumber),
  /** Rises over all runs, in the order of commits. */
  globalSeq: field("global_seq", Schema.BigIntFromNumber),
  subject: Schema.String,
  schemaVersion: field("schema_version", Schema.Int),
  traceId: field("trace_id", Schema.String),
  spanId: field("span_id", Schema.String),
  parentSpanId: field("parent_span_id", Schema.String)
})

/**
 * @since 0.1.0
 * @category models
 */
export type Entry = typeof Entry.Type

const encodeEntry = Schema.encodeOption(Entry)

/** The entry as one line of JSON; none when a number is beyond 2^53 - 1. */
export const toJson = (entry: Entry): Option.Option<string> =>
  Option.map(encodeEntry(entry), ({ run_id, seq, kind, payload_json, ts_ms, global_seq, subject, ...rest }) =>
    // The schema's own order is not that of its fields: renamed ones come last.
    JSON.stringify({ run_id, seq, kind, payload_json, ts_ms, global_seq, subject, ...rest })
  )

/**
 * What receivers deduplicate on: `<run_id>/<seq>`; `global/<global_seq>` for an entry that has neither.
 *
 * @since 0.1.0
 * @category models
 */
export const eventIdOf = (entry: Entry): string =>
  entry.runId === "" && entry.seq === 0n ? `global/${entry.globalSeq}` : `${entry.runId}/${entry.seq}`
