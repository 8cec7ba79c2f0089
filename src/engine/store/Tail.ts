/**
 * The journal's tail: every subscriber sees every entry once, in order, from its cursor on.
 *
 * A subscriber that is behind reads pages from the store; one that keeps up reads the newest entries from memory, which
 * all subscribers share. Nothing is buffered per subscriber: a slow one simply falls back to the store.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import { yieldToEventLoop } from "../internal/eventLoop.js"
import type { StoreError } from "../StoreError.js"
import { pageBytes, rowBytes } from "./Room.js"
import type { Snapshot } from "./Store.js"
import { type Entry, Journal } from "./tables.js"

/** Entries kept in memory for subscribers that keep up, by number and by size; as many again before they are dropped. */
const recentEntries = 4096
const recentBytes = 8 * 1024 * 1024

/** What an entry takes in memory at most: two bytes for each unit of its long texts, and some for the rest. */
const sizeOf = (entry: Entry): number => 2 * (entry.payloadJson.length + entry.subject.length) + rowBytes

export interface Page {
  readonly entries: ReadonlyArray<Entry>
  /** Everything up to this global_seq has been looked at. */
  readonly upTo: bigint
}

export interface Tail {
  /** The next entries after a global_seq, at most `limit`, and no more than a page has room for; waits while there are none. */
  readonly after: (globalSeq: bigint, limit: number) => Effect.Effect<Page, StoreError>
}

export interface Publisher extends Tail {
  /** Hands on what has just been committed by this process. */
  readonly publish: (entries: ReadonlyArray<Entry>) => void
  /** Tells how far the journal reaches, when somebody else may have written. */
  readonly advance: (head: bigint) => void
  /** How far the journal is known to reach. */
  readonly reach: () => bigint
  readonly close: (error: StoreError) => void
  readonly isWatched: () => boolean
}

export const make = (
  head: bigint,
  read: <A>(body: (snapshot: Snapshot) => Effect.Effect<A, StoreError>) => Effect.Effect<A, StoreError>
): Publisher => {
  let known = head
  let closed: StoreError | undefined
  let recent: Array<Entry> = []
  let recentSize = 0
  let watchers = 0
  let changed = Deferred.unsafeMake<void, StoreError>(FiberId.none)

  const wake = (): void => {
    const waiting = changed
    changed = Deferred.unsafeMake(FiberId.none)
    Deferred.unsafeDone(waiting, closed === undefined ? Effect.void : Effect.fail(closed))
  }

  /** Drops the oldest entries, down to what is kept: rarely, and many at once. */
  const drop = (): void => {
    let start = Math.max(0, recent.length - recentEntries)
    recentSize -= recent.slice(0, start).reduce((size, entry) => size + sizeOf(entry), 0)
    while (recentSize > recentBytes && start < recent.length) {
      recentSize -= sizeOf(recent[start]!)
      start += 1
    }
    recent = recent.slice(start)
  }

  const fromMemory = (globalSeq: bigint, limit: number): Page | undefined => {
    const first = recent[0]
    if (first === undefined || globalSeq < first.globalSeq - 1n) {
      return undefined
    }
    const start = Number(globalSeq - first.globalSeq) + 1
    const wanted = Math.min(recent.length, start + limit)
    let end = start
    // What a subscriber holds while others go on is not held for them.
    for (let room = pageBytes; end < wanted; end++) {
      room -= sizeOf(recent[end]!)
      if (room < 0 && end > start) {
        break
      }
    }
    const entries = recent.slice(start, end)
    const last = entries.at(-1)
    return last === undefined ? undefined : { entries, upTo: last.globalSeq }
  }

  const fromStore = (globalSeq: bigint, limit: number): Effect.Effect<Page, StoreError> =>
    read(
      (snapshot) =>
        Effect.gen(function* () {
          const head = yield* snapshot.head
          const { isAll, rows: entries } = yield* snapshot.selectWithin(
            Journal,
            "where global_seq > ? and global_seq <= ? order by global_seq limit ?",
            [globalSeq, head, BigInt(limit)],
            { bytes: pageBytes }
          )
          const last = entries.at(-1)
          const isLast = isAll && entries.length < limit
          return { entries, upTo: isLast || last === undefined ? head : last.globalSeq }
        })
      // A subscriber that catches up must not keep the event loop for itself.
    ).pipe(Effect.zipLeft(yieldToEventLoop))

  const wait = (change: Deferred.Deferred<void, StoreError>): Effect.Effect<void, StoreError> =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        watchers += 1
      }),
      () => Deferred.await(change),
      () =>
        Effect.sync(() => {
          watchers -= 1
        })
    )

  const after = (globalSeq: bigint, limit: number): Effect.Effect<Page, StoreError> =>
    Effect.suspend(() => {
      if (closed !== undefined) {
        return Effect.fail(closed)
      }
      if (globalSeq >= known) {
        // Taken in the same step as the look at `known`: a change in between would be missed.
        return Effect.zipRight(wait(changed), after(globalSeq, limit))
      }
      const page = fromMemory(globalSeq, limit)
      if (page !== undefined) {
        return Effect.succeed(page)
      }
      const believed = known
      return Effect.flatMap(fromStore(globalSeq, limit), (page) => {
        if (page.upTo > globalSeq) {
          return Effect.succeed(page)
        }
        // The journal does not reach as far as somebody said: wait for it instead of looking again and again.
        known = known === believed ? page.upTo : known
        return after(globalSeq, limit)
      })
    })

  return {
    after,
    publish: (entries) => {
      const first = entries[0]
      const last = entries.at(-1)
      if (first === undefined || last === undefined) {
        return
      }
      const newest = recent.at(-1)
      if (newest === undefined || newest.globalSeq + 1n !== first.globalSeq) {
        recent = []
        recentSize = 0
      }
      recent.push(...entries)
      recentSize += entries.reduce((size, entry) => size + sizeOf(entry), 0)
      if (recent.length > 2 * recentEntries || recentSize > 2 * recentBytes) {
        drop()
      }
      // Another server's entries may have been announced before ours.
      known = last.globalSeq > known ? last.globalSeq : known
      wake()
    },
    advance: (head) => {
      if (head > known) {
        known = head
        wake()
      }
    },
    reach: () => known,
    close: (error) => {
      closed = error
      wake()
    },
    isWatched: () => watchers > 0
  }
}
