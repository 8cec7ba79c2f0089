/**
 * The journal as streams: every entry from a cursor on, once, in order, then the new ones as they are committed.
 */
import { create } from "@bufbuild/protobuf"
import * as Chunk from "effect/Chunk"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  type EventEntry,
  EventEntrySchema,
  type JournalEntry,
  JournalEntrySchema,
  type SubscribeBySubjectRequest,
  type SubscribeEventsRequest,
  type SubscribeRunRequest
} from "../gen/tape/v1/tape_pb.js"
import { Refusal } from "../Handlers.js"
import { requireRun } from "./ledgers/common.js"
import * as Predicate from "./Predicate.js"
import type { StoreError } from "./StoreError.js"
import * as Subject from "./Subject.js"
import { pageBytes } from "./store/Room.js"
import type { Store } from "./store/Store.js"
import { type Entry, Journal } from "./store/tables.js"

type StoreService = Context.Tag.Service<Store>

/** The entries of one run, from a seq (inclusive). */
export const ofRun = (store: StoreService, request: SubscribeRunRequest): Stream.Stream<JournalEntry, Refusal> =>
  Stream.unwrap(
    Effect.as(
      unavailable(store.read((snapshot) => requireRun(snapshot, request.runId))),
      Stream.map(entriesOfRun(store, request.runId, request.fromSeq, 0n), toJournalEntry)
    )
  )

/** The entries of all runs, by any of the filters together. */
export const all = (store: StoreService, request: SubscribeEventsRequest): Stream.Stream<EventEntry, Refusal> => {
  const { fromGlobalSeq, fromTsMs, kind, runId, subjectPattern } = request
  const problem = Subject.patternProblem(subjectPattern)
  if (problem !== undefined) {
    return Stream.fail(Refusal.invalid(problem))
  }
  const matches = Subject.matcher(subjectPattern)
  const since = fromGlobalSeq > 0n ? 0n : fromTsMs
  const entries =
    runId !== ""
      ? entriesOfRun(store, runId, 0n, fromGlobalSeq)
      : fromGlobalSeq > 0n || since <= 0n
        ? entriesAfter(store, fromGlobalSeq)
        : Stream.unwrap(Effect.map(unavailable(startOf(store, since)), (after) => entriesAfter(store, after)))
  return entries.pipe(
    Stream.filter((entry) => entry.tsMs >= since && (kind === "" || entry.kind === kind) && matches(entry.subject)),
    Stream.map(toEventEntry)
  )
}

/** The entries of all runs whose subject matches a pattern, and that a predicate is true of. */
export const bySubject = (
  store: StoreService,
  request: SubscribeBySubjectRequest
): Stream.Stream<EventEntry, Refusal> => {
  const problem = Subject.patternProblem(request.subjectPattern)
  if (problem !== undefined) {
    return Stream.fail(Refusal.invalid(problem))
  }
  const matches = Subject.matcher(request.subjectPattern)
  return Stream.unwrap(
    Effect.mapBoth(Predicate.compile(request.predicateCel), {
      onFailure: Predicate.toRefusal,
      onSuccess: (predicate) =>
        entriesAfter(store, request.fromGlobalSeq).pipe(
          Stream.mapChunksEffect((entries) =>
            Effect.map(Predicate.select(matches, predicate, Chunk.toReadonlyArray(entries)), Chunk.unsafeFromArray)
          ),
          Stream.map(toEventEntry)
        )
    })
  )
}

const entriesAfter = (store: StoreService, after: bigint): Stream.Stream<Entry, Refusal> =>
  pages(after, (cursor, limit) => Effect.map(store.tail.after(cursor, limit), ({ entries, upTo }) => [entries, upTo]))

/** Where a run's stream is: reading its own entries by seq, or following the tail. */
type RunCursor = { readonly seq: bigint } | { readonly globalSeq: bigint }

const entriesOfRun = (
  store: StoreService,
  runId: string,
  fromSeq: bigint,
  afterGlobalSeq: bigint
): Stream.Stream<Entry, Refusal> =>
  pages<RunCursor>({ seq: fromSeq }, (cursor, limit) =>
    "seq" in cursor
      ? store.read((snapshot) =>
          Effect.gen(function* () {
            const globalSeq = yield* snapshot.head
            const { isAll, rows: entries } = yield* snapshot.selectWithin(
              Journal,
              "where run_id = ? and seq >= ? and global_seq > ? order by seq limit ?",
              [runId, cursor.seq, afterGlobalSeq, BigInt(limit)],
              { bytes: pageBytes }
            )
            const last = entries.at(-1)
            const isLast = isAll && entries.length < limit
            return [entries, isLast || last === undefined ? { globalSeq } : { seq: last.seq + 1n }]
          })
        )
      : Effect.map(store.tail.after(cursor.globalSeq, limit), ({ entries, upTo }) => [
          entries.filter((entry) => entry.runId === runId && entry.seq >= fromSeq && entry.globalSeq > afterGlobalSeq),
          { globalSeq: upTo }
        ])
  )

/** The cursor just before the first entry that is not older than a time. */
const startOf = (store: StoreService, sinceMs: bigint): Effect.Effect<bigint, StoreError> =>
  store.read((snapshot) =>
    Effect.gen(function* () {
      const [first] = yield* snapshot.select(
        Journal,
        "where global_seq = (select min(global_seq) from journal where ts_ms >= ?)",
        [sinceMs]
      )
      return first === undefined ? yield* snapshot.head : first.globalSeq - 1n
    })
  )

/** Pages grow while a reader keeps on reading: one that only wants the next entry does not pay for hundreds. */
const firstPage = 16
const largestPage = 512

const pages = <Cursor>(
  start: Cursor,
  next: (
    cursor: Cursor,
    limit: number
  ) => Effect.Effect<readonly [entries: ReadonlyArray<Entry>, cursor: Cursor], StoreError>
): Stream.Stream<Entry, Refusal> =>
  Stream.unfoldChunkEffect({ cursor: start, limit: firstPage }, ({ cursor, limit }) =>
    Effect.map(unavailable(next(cursor, limit)), ([entries, moved]) =>
      Option.some([Chunk.unsafeFromArray(entries), { cursor: moved, limit: Math.min(largestPage, 2 * limit) }] as const)
    )
  )

const unavailable = <A>(effect: Effect.Effect<A, Refusal | StoreError>): Effect.Effect<A, Refusal> =>
  Effect.catchTag(effect, "StoreError", (error) => Refusal.unavailable(error.message))

const toEventEntry = (entry: Entry): EventEntry => create(EventEntrySchema, entry)

const toJournalEntry = (entry: Entry): JournalEntry => create(JournalEntrySchema, entry)
