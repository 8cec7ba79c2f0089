/** Between what the tape keeps of values and what a program works with. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { CodecError, codec } from "../durable/json.js"
import { Internal } from "../Errors.js"
import type { EventEntry, ValueEvent, ValueRecord } from "../gen/tape/v1/tape_pb.js"

/**
 * A value that does not fit the schema of its store: as it is kept (by another program, or under an earlier schema), or as
 * it was to be written, in which case nothing was.
 *
 * @since 0.1.0
 * @category errors
 */
export class ValueMismatch extends Schema.TaggedError<ValueMismatch>("effect-tape/Values/ValueMismatch")(
  "ValueMismatch",
  {
    namespace: Schema.String,
    key: Schema.String,
    /** The version that holds it; absent when it was to be written. */
    version: Schema.optional(Schema.Number),
    /** The place of that version in the journal, where it was read from there: `changes` goes on after it. */
    globalSeq: Schema.optional(Schema.BigInt),
    /** The beginning of the stored text; empty when it was to be written. */
    excerpt: Schema.String,
    /** What does not fit. */
    reason: Schema.String
  }
) {
  override get message(): string {
    const name = `value ${JSON.stringify(this.namespace)}/${JSON.stringify(this.key)}`
    return this.version === undefined
      ? `${name} was not written: ${this.reason}`
      : `${name}, version ${this.version}, is not what its schema says: ${this.reason} (stored: ${this.excerpt})`
  }
}

/**
 * A value, and which version of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Versioned<out A> {
  readonly value: A
  /** From 1, one more with each write and each deletion; it never starts over. */
  readonly version: number
  /** Who wrote it; empty unless it was said. */
  readonly writer: string
  /** When it was written, by the tape's clock. */
  readonly at: DateTime.Utc
}

/**
 * A version of a value as it came to be.
 *
 * @since 0.1.0
 * @category models
 */
export interface Change<out A> extends Versioned<Option.Option<A>> {
  readonly key: string
  /** None when this version is a deletion; nobody is said to have written it then. */
  readonly value: Option.Option<A>
}

/**
 * A change that `watch` tells of.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchedChange<out A> extends Change<A> {
  /** What the version before held. None when there was none, it was a deletion, or it does not fit the schema. */
  readonly previous: Option.Option<A>
}

/**
 * A change that `changes` tells of.
 *
 * @since 0.1.0
 * @category models
 */
export interface JournaledChange<out A> extends Change<A> {
  /** Its place in the journal. */
  readonly globalSeq: bigint
}

/** An event that has its record, as all have. */
export interface WatchedRecord extends Pick<ValueEvent, "prevValueJson"> {
  readonly value: ValueRecord
}

export const hasRecord = (event: ValueEvent): event is ValueEvent & WatchedRecord => event.value !== undefined

/** What a record says beside its value. */
export const about = ({ tsMs, version, writer }: ValueRecord) => ({
  version: Number(version),
  writer,
  at: timeOf(tsMs)
})

/** How values of one namespace are written and read. */
export const reading = <A, I, R>(namespace: string, schema: Schema.Schema<A, I, R>) => {
  const json = codec(schema)

  const read = (key: string, version: number, text: string, globalSeq?: bigint): Effect.Effect<A, ValueMismatch, R> =>
    Effect.mapError(
      json.decode(text),
      ({ reason }) => new ValueMismatch({ namespace, key, version, globalSeq, excerpt: shorten(text), reason })
    )

  const versioned = (record: ValueRecord): Effect.Effect<Versioned<A>, ValueMismatch, R> =>
    Effect.map(read(record.key, Number(record.version), record.valueJson), (value) => ({ ...about(record), value }))

  return {
    /** None of a record that is not there or was deleted. */
    current: (record: ValueRecord | undefined): Effect.Effect<Option.Option<Versioned<A>>, ValueMismatch, R> =>
      record === undefined || record.deleted ? Effect.succeedNone : Effect.asSome(versioned(record)),

    /** What is written must be read again: NaN and dates have a text, but not one that is NaN or a date. */
    encode: (key: string, value: A): Effect.Effect<string, ValueMismatch, R> =>
      json.encode(value).pipe(
        Effect.filterOrFail(
          (text) => text !== "",
          () => new CodecError({ reason: "undefined has no form in JSON" })
        ),
        Effect.tap((text) =>
          Effect.mapError(
            json.decode(text),
            ({ reason }) => new CodecError({ reason: `${shorten(text)}, which it would become, is not one: ${reason}` })
          )
        ),
        Effect.mapError(({ reason }) => new ValueMismatch({ namespace, key, excerpt: "", reason }))
      ),

    watched: ({ prevValueJson, value: record }: WatchedRecord): Effect.Effect<WatchedChange<A>, ValueMismatch, R> =>
      Effect.gen(function* () {
        const value = record.deleted ? Option.none() : Option.some((yield* versioned(record)).value)
        // a deletion has no text
        const previous = prevValueJson === "" ? Option.none() : yield* Effect.option(json.decode(prevValueJson))
        // of a deletion the record has the writer of what was deleted
        const writer = record.deleted ? "" : record.writer
        return { ...about(record), key: record.key, writer, value, previous }
      }),

    /** None of an entry that is about another namespace: two may share a subject. */
    journaled: (entry: EventEntry): Effect.Effect<Option.Option<JournaledChange<A>>, Internal | ValueMismatch, R> =>
      Effect.gen(function* () {
        const { globalSeq, payloadJson, tsMs } = entry
        const told = yield* Effect.mapError(decodeEntry(payloadJson), (error) => strange(entry, error))
        if (told.namespace !== namespace) return Option.none()
        const { key, value: kept, version, writer } = told
        const value =
          kept === undefined ? Option.none() : Option.some(yield* read(key, version, kept.value_json, globalSeq))
        return Option.some({ key, value, version, writer, at: timeOf(tsMs), globalSeq })
      })
  }
}

// ---- internal ----

/** The tape itself writes these entries, whatever the values are. */
const strange = ({ globalSeq, subject }: EventEntry, { message }: ParseResult.ParseError) =>
  new Internal({ rpc: "SubscribeBySubject", detail: `entry ${globalSeq} of ${subject}: ${message}`, ids: {} })

const timeOf = (tsMs: bigint): DateTime.Utc => DateTime.unsafeMake(Number(tsMs))

const decodeEntry = Schema.decode(
  Schema.parseJson(
    Schema.Struct({
      namespace: Schema.String,
      key: Schema.String,
      version: Schema.Number,
      /** Absent from deletions, as is the value. */
      writer: Schema.optionalWith(Schema.String, { default: () => "" }),
      value: Schema.optional(Schema.Struct({ value_json: Schema.String }))
    })
  )
)

const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}...` : text)
