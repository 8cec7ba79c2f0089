/**
 * A tape in a SQLite file, or in memory.
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Ids } from "../../Ids.js"
import { StoreError } from "../../StoreError.js"
import { runBatch } from "../Batch.js"
import { type Snapshot, Store } from "../Store.js"
import * as Tail from "../Tail.js"
import { type Job, readerOf } from "../Transaction.js"
import * as Writer from "../Writer.js"
import * as Driver from "./SqliteDriver.js"
import * as File from "./SqliteFile.js"

export interface Options {
  /** `sqlite:<path>` or `memory:`. */
  readonly url: string
}

export const layer = (options: Options): Layer.Layer<Store, StoreError> => Layer.scoped(Store, make(options))

/** How often another process's writes are looked for, while somebody watches. */
const otherWriters = "25 millis"

/** How long to wait for another process that holds the write lock. */
const busyRetries = Schedule.exponential("1 millis", 1.5).pipe(
  Schedule.jittered,
  Schedule.union(Schedule.spaced("50 millis")),
  Schedule.intersect(Schedule.recurUpTo("5 seconds"))
)

const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Context.Tag.Service<Store>, StoreError, Scope.Scope> {
  const file = yield* File.open(options.url, busyRetries)
  const ids = yield* Ids
  const { failed } = file
  const writing = Driver.make(file.writer, failed)
  const reading = file.reader === file.writer ? writing : Driver.make(file.reader, failed)

  const snapshot: Snapshot = { ...readerOf(reading), head: reading.head }
  const read = <A, E>(body: (snapshot: Snapshot) => Effect.Effect<A, E>): Effect.Effect<A, E | StoreError> =>
    unlessBusy(reading.transaction("begin", body(snapshot)))

  const tail = Tail.make(yield* writing.head, read)

  const transact = (jobs: ReadonlyArray<Job>): Effect.Effect<ReadonlyArray<Exit.Exit<unknown, unknown>>, StoreError> =>
    Effect.map(
      unlessBusy(
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          writing.transaction("begin immediate", runBatch(writing, jobs, { nowMs: wholeMs(now), newId: ids.uuid }))
        )
      ),
      ({ entries, exits }) => {
        tail.publish(entries)
        return exits
      }
    )

  const closed = file.error("Closed", "the store has been closed")
  yield* Effect.addFinalizer(() => Effect.sync(() => tail.close(closed)))
  const { write } = yield* Writer.make({ transact, closed })

  if (file.isShared) {
    yield* Effect.flatMap(reading.head, (head) => Effect.sync(() => tail.advance(head))).pipe(
      Effect.when(() => tail.isWatched()),
      Effect.catchAll((error) => Effect.logWarning("the journal's head could not be read", error)),
      Effect.repeat(Schedule.spaced(otherWriters)),
      Effect.annotateLogs({ package: "effect-tape", module: "SqliteStore" }),
      Effect.interruptible,
      Effect.forkScoped
    )
  }

  return {
    url: options.url,
    isShared: file.isShared,
    write,
    read,
    nowMs: Effect.map(Clock.currentTimeMillis, wholeMs),
    tail,
    durability: Effect.try({ try: () => File.durability(file.writer), catch: failed })
  }
})

/** Tries again while another process holds the lock. */
const unlessBusy = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.catchIf(effect, isBusy, () => Effect.retry(effect, { while: isBusy, schedule: busyRetries }))

const isBusy = (error: unknown): boolean => error instanceof StoreError && error.reason === "Busy"

/** A test's clock may stand between two milliseconds. */
const wholeMs = (ms: number): bigint => BigInt(Math.floor(ms))
