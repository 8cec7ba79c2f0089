/**
 * A tape in a PostgreSQL database, which any number of servers may share.
 */
import { randomUUID } from "node:crypto"
import { performance } from "node:perf_hooks"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { withoutPassword } from "../../../internal/withoutPassword.js"
import { Ids } from "../../Ids.js"
import { StoreError } from "../../StoreError.js"
import { runBatch } from "../Batch.js"
import { pageBytes } from "../Room.js"
import { type Durability, type Snapshot, Store } from "../Store.js"
import * as Tail from "../Tail.js"
import { type Job, readerOf } from "../Transaction.js"
import { type Entry, Journal } from "../tables.js"
import * as Writer from "../Writer.js"
import { type Failure, failureOf, isConflict, isOfOneCall, toStoreError } from "./failure.js"
import * as Listener from "./Listener.js"
import * as Marks from "./Marks.js"
import { prepareDatabase } from "./migrations.js"
import * as Pool from "./Pool.js"
import { PostgresBatch, type Surroundings } from "./PostgresBatch.js"
import { PostgresSnapshot } from "./PostgresSnapshot.js"
import { Memory, predict } from "./Prediction.js"
import * as Readers from "./Readers.js"
import { command, prepare } from "./Statement.js"
import * as TableSql from "./TableSql.js"

export interface Options {
  /** `postgres://user:password@host:port/database`, with the parameters that libpq knows. */
  readonly url: string
}

export const layer = (options: Options): Layer.Layer<Store, StoreError> => Layer.scoped(Store, make(options))

/** Connections that read, for a server; one more writes, and one listens. */
const readers = 4

/** Entries of other servers that are read for all who watch; whoever is further behind reads for himself. */
const mostHeard = 512n

/** How often the journal's head is looked up in case a notification was missed. */
const safetyPoll = "1 second"

/** For batches that met another server's: it is done within milliseconds. */
const conflictRetries = Schedule.exponential("2 millis", 1.6).pipe(
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(10))
)

const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Context.Tag.Service<Store>, StoreError, Scope.Scope> {
  const url = withoutPassword(options.url)
  const ids = yield* Ids
  const toError = (failure: Failure) => toStoreError(url, failure)
  const asStoreError = (error: StoreError | Failure) => (error instanceof StoreError ? error : toError(error))
  yield* Effect.try({
    try: () => Pool.client(options.url),
    catch: (cause) =>
      new StoreError({
        reason: "InvalidUrl",
        url,
        // The cause itself may hold the URL as it was given.
        detail: `expected postgres://user:password@host:port/database (${cause instanceof Error ? cause.message : ""})`
      })
  })
  const channel = yield* Effect.mapError(
    Effect.scoped(
      Effect.flatMap(Pool.make(options.url, { size: 1, isPatient: true }), (pool) => prepareDatabase(pool, url))
    ),
    asStoreError
  )
  const writing = yield* Pool.make(options.url, { size: 1 })
  const reading = yield* Pool.make(options.url, { size: readers })
  const marks = yield* Effect.mapError(Marks.make(reading, randomUUID()), toError)

  const sqlOf = TableSql.memoized(TableSql.make)
  const memory = new Memory()
  const clock = new DatabaseClock()

  const readTogether = Readers.make(reading, yield* Effect.scope)
  const read = <A, E>(body: (snapshot: Snapshot) => Effect.Effect<A, E>): Effect.Effect<A, E | StoreError> => {
    const attempt = (alone: boolean): Effect.Effect<A, E | StoreError> =>
      Effect.suspend(() => {
        let hasFailed = false
        const once = readTogether.read((query) => {
          const snapshot = new PostgresSnapshot(query, sqlOf, (failure) => {
            hasFailed = true
            return toError(failure)
          })
          return body({ ...readerOf(snapshot), head: snapshot.head })
        }, alone)
        // The connection may have died while it was idle, or the fault have been another reader's: once more, alone.
        return Effect.catchAll(once, (error) => (hasFailed && !alone ? attempt(true) : Effect.fail(error)))
      })
    return attempt(false)
  }

  const tail = Tail.make(yield* read((snapshot) => snapshot.head), read)

  const surroundings: Surroundings = { sqlOf, channel, marks, toStoreError: toError }

  interface Outcome {
    readonly exits: ReadonlyArray<Exit.Exit<unknown, unknown>>
    readonly entries: ReadonlyArray<Entry>
  }

  const attempt = (jobs: ReadonlyArray<Job>): Effect.Effect<Outcome, Failure> =>
    writing.use((session) => {
      const batch = new PostgresBatch(session, surroundings)
      return Effect.gen(function* () {
        const nowMs = yield* batch.begin(yield* predict(jobs, memory, clock.now()))
        clock.set(nowMs)
        const done = yield* runBatch(batch, jobs, { nowMs, newId: ids.uuid })
        yield* batch.commit()
        batch.remember(memory)
        return done
      }).pipe(
        Effect.mapError((error) => batch.failure ?? failureOf(error)),
        Effect.ensuring(Effect.sync(() => batch.abandon()))
      )
    })

  const apply = (jobs: ReadonlyArray<Job>): Effect.Effect<Outcome, Failure> =>
    attempt(jobs).pipe(
      // Nothing was committed: a connection that died while it was idle is no reason to refuse a call.
      Effect.retry({ times: 1, while: (failure) => failure.isLost && failure.isAmbiguous !== true }),
      Effect.retry({ schedule: conflictRetries, while: isConflict })
    )

  const transact = (jobs: ReadonlyArray<Job>): Effect.Effect<ReadonlyArray<Exit.Exit<unknown, unknown>>, StoreError> =>
    apply(jobs).pipe(
      Effect.map(({ entries, exits }) => {
        tail.publish(entries)
        return exits
      }),
      Effect.catchAll((failure) =>
        jobs.length > 1 && (isConflict(failure) || isOfOneCall(failure))
          ? Effect.forEach(jobs, (job) =>
              Effect.match(transact([job]), {
                onFailure: Exit.fail,
                onSuccess: ([exit]) => exit ?? Exit.die("a job without an exit")
              })
            )
          : Effect.fail(toError(failure))
      )
    )

  const closed = new StoreError({ reason: "Closed", url, detail: "the store has been closed" })
  yield* Effect.addFinalizer(() => Effect.sync(() => tail.close(closed)))
  const { write } = yield* Writer.make({ transact, closed })

  /** What others have written is read once, for all who watch. */
  const hear = (head: bigint) =>
    read((snapshot) =>
      Effect.map(
        snapshot.selectWithin(
          Journal,
          "where global_seq > ? and global_seq <= ? order by global_seq limit ?",
          [tail.reach(), head, mostHeard],
          { bytes: pageBytes }
        ),
        ({ rows }) => rows
      )
    ).pipe(
      Effect.when(() => tail.isWatched() && head > tail.reach()),
      Effect.map(Option.getOrElse((): ReadonlyArray<Entry> => [])),
      Effect.map(tail.publish),
      // Whoever watches reads what is missing itself.
      Effect.catchAll(() => Effect.void),
      Effect.map(() => tail.advance(head))
    )
  const heard = yield* Queue.sliding<bigint>(1)
  yield* Effect.forkScoped(Effect.interruptible(Effect.forever(Effect.flatMap(Queue.take(heard), hear))))

  const catchUp = Effect.ignore(
    Effect.flatMap(
      read((snapshot) => snapshot.head),
      hear
    )
  )
  yield* Listener.listen({
    url: options.url,
    channel,
    onNotification: (payload) => {
      if (/^\d+$/.test(payload)) {
        heard.unsafeOffer(BigInt(payload))
      }
    },
    catchUp
  })
  yield* catchUp.pipe(
    Effect.when(() => tail.isWatched()),
    Effect.repeat(Schedule.spaced(safetyPoll)),
    Effect.interruptible,
    Effect.forkScoped
  )

  return {
    url,
    isShared: true,
    write,
    read,
    nowMs: Effect.sync(() => clock.now()),
    tail,
    durability: Effect.mapError(
      writing.use((session) => Effect.map(session.run([command(durability)]), ([rows]) => toDurability(rows![0]!))),
      toError
    )
  }
})

/**
 * The database's clock as this server knows it: heard with every batch, and carried on by a clock that nobody sets.
 * Only lists of what is due use it; whether a lease has run out is judged by the database's own answer.
 */
class DatabaseClock {
  private heardMs = BigInt(Date.now())
  private at = performance.now()

  set(nowMs: bigint): void {
    this.heardMs = nowMs
    this.at = performance.now()
  }

  now(): bigint {
    return this.heardMs + BigInt(Math.floor(performance.now() - this.at))
  }
}

const durability = prepare("select current_setting('fsync'), current_setting('synchronous_commit')")

const toDurability = ([fsync, synchronousCommit]: ReadonlyArray<string>): Durability => ({
  journalMode: "wal",
  synchronous: fsync === "off" ? 0 : synchronousCommit === "off" ? 1 : 2
})
