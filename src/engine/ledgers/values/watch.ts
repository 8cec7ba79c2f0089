/**
 * A value as it changes: every version once, in order, read from the journal's entries.
 */
import { create, toBinary } from "@bufbuild/protobuf"
import * as Chunk from "effect/Chunk"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  type ValueEvent,
  ValueEventSchema,
  ValueRecordSchema,
  type WatchValueRequest
} from "../../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../../Handlers.js"
import type { StoreError } from "../../StoreError.js"
import { pageBytes } from "../../store/Room.js"
import type { Snapshot, Store } from "../../store/Store.js"
import type { Tail } from "../../store/Tail.js"
import type { Reader } from "../../store/Transaction.js"
import { type Entry, Journal, type ValueRow, Values, ValueVersions } from "../../store/tables.js"
import { atMost } from "../../Validate.js"
import { subjectsOf } from "../Values.js"

type StoreService = Context.Tag.Service<Store>

/**
 * From version 0 the current record comes first, as one event; from any other version all that came after it. Then
 * every later version. A tombstone is a version like any other.
 */
export const watch = (
  store: StoreService,
  request: WatchValueRequest,
  maxBytes: number
): Stream.Stream<ValueEvent, Refusal> => {
  const subjects = subjectsOf(request.namespace, request.key)
  const next = Effect.fnUntraced(function* ({ after, isFirst, readUpTo }: Cursor) {
    if (readUpTo !== undefined) {
      yield* nextChange(store.tail, subjects, readUpTo)
    }
    const [events, moved] = yield* store.read((snapshot) => page(snapshot, request, after, isFirst))
    const large = events.findIndex((event) => sizeOf(event, maxBytes) > maxBytes)
    if (large === -1) {
      return [events, moved] as const
    }
    const last = events[large - 1]?.value
    // Those before it are told first; with nothing before it, there is nothing left but to say so.
    return last === undefined
      ? yield* tooLarge(events[large]!, maxBytes)
      : ([events.slice(0, large), { after: last.version, isFirst: false, readUpTo: undefined }] as const)
  })
  return Stream.unfoldChunkEffect<Cursor, ValueEvent, Refusal, never>(
    { after: request.fromVersion, isFirst: true, readUpTo: undefined },
    (cursor) =>
      next(cursor).pipe(
        Effect.catchTag("StoreError", (error) => Refusal.unavailable(error.message)),
        Effect.map(([events, moved]) => Option.some([Chunk.unsafeFromArray(events), moved] as const))
      )
  )
}

/** An event tells of two versions, and each of them alone may be as long as a message. */
const tooLarge = (event: ValueEvent, maxBytes: number): Refusal => {
  const { value } = event
  return Refusal.exhausted(
    `version ${value?.version} and the one before it take ${sizeOf(event, maxBytes)} bytes together, the limit is ${maxBytes} bytes: ` +
      `read the value with GetValue, and watch on from version ${value?.version}`
  )
}

/** The event's bytes on the wire, or 0 when they are few enough by far. */
const sizeOf = (event: ValueEvent, maxBytes: number): number =>
  atMost(event) <= maxBytes ? 0 : toBinary(ValueEventSchema, event).length

interface Cursor {
  /** The version that was seen last. */
  readonly after: bigint
  readonly isFirst: boolean
  /** How far the journal was read when there was nothing more: the next change is behind it. */
  readonly readUpTo: bigint | undefined
}

const pageSize = 64n

/** How many entries of other subjects are skipped at a time. */
const tailPage = 512

const nextChange = (tail: Tail, subjects: ReadonlyArray<string>, globalSeq: bigint): Effect.Effect<void, StoreError> =>
  Effect.flatMap(tail.after(globalSeq, tailPage), ({ entries, upTo }) =>
    entries.some(({ subject }) => subjects.includes(subject)) ? Effect.void : nextChange(tail, subjects, upTo)
  )

const page = Effect.fnUntraced(function* (
  snapshot: Snapshot,
  { key, namespace }: WatchValueRequest,
  after: bigint,
  isFirst: boolean
): Effect.fn.Return<readonly [ReadonlyArray<ValueEvent>, Cursor], Refusal | StoreError> {
  const head = yield* snapshot.head
  const current = yield* snapshot.get(Values, { namespace, key })
  if (current === undefined || current.version <= after) {
    return [[], { after, isFirst: false, readUpTo: head }]
  }
  if (isFirst && after <= 0n) {
    const [previous] = yield* versionsFrom(snapshot, namespace, key, current.version - 1n)
    const isBefore = previous !== undefined && previous.version < current.version
    const event = toEvent(current, isBefore ? previous : undefined)
    return [[event], { after: current.version, isFirst: false, readUpTo: head }]
  }
  // The version seen last is read too: the first event tells of it.
  const versions = yield* versionsFrom(snapshot, namespace, key, after)
  const [first] = versions
  const last = versions.at(-1)
  if (first === undefined || last === undefined || (first.version > after && first.version > 1n)) {
    const kept = first?.version ?? current.version
    return yield* Refusal.precondition(
      `history no longer kept: start from version ${kept}, or from 0 for the current record and what comes after it`
    )
  }
  const events = versions.flatMap((row, index) => (row.version > after ? [toEvent(row, versions[index - 1])] : []))
  const isAll = last.version >= current.version
  return [events, { after: last.version, isFirst: false, readUpTo: isAll ? head : undefined }]
})

const versionsFrom = Effect.fnUntraced(function* (reader: Reader, namespace: string, key: string, version: bigint) {
  const clause = "where namespace = ? and key = ? and version >= ? order by version limit ?"
  const parameters = [namespace, key, version, pageSize]
  const versions = yield* reader.select(ValueVersions, clause, parameters)
  const { rows: entries } = yield* reader.selectWithin(
    Journal,
    `where run_id = '' and seq in (select seq from value_versions ${clause}) order by seq`,
    parameters,
    // The version that was seen last, and the next one.
    { bytes: pageBytes, atLeast: 2 }
  )
  const bySeq = new Map(entries.map((entry) => [entry.seq, entry]))
  return versions.flatMap(({ seq, version, writer }) => {
    const entry = bySeq.get(seq)
    return entry === undefined ? [] : [toRow(entry, version, writer)]
  })
})

const toRow = (entry: Entry, version: bigint, writer: string): ValueRow => {
  // Written by the ledger: an entry of a value has this shape.
  const payload = JSON.parse(entry.payloadJson) as Payload
  const { key, namespace, value } = payload
  return {
    namespace,
    key,
    version,
    writer,
    tsMs: entry.tsMs,
    valueJson: value?.value_json ?? "",
    deleted: value === undefined
  }
}

interface Payload {
  readonly namespace: string
  readonly key: string
  /** Absent from a tombstone. */
  readonly value?: { readonly value_json: string }
}

const toEvent = (row: ValueRow, previous: ValueRow | undefined): ValueEvent =>
  create(ValueEventSchema, {
    value: create(ValueRecordSchema, row),
    prevVersion: previous?.version ?? 0n,
    prevValueJson: previous?.valueJson ?? ""
  })
