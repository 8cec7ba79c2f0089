import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import {
  Cause,
  Chunk,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Scope,
  Stream,
  TestClock,
  TestServices
} from "effect"
import { Client, TapeClient } from "effect-tape"
import { Engine, Ids, Store, StoreError } from "effect-tape/engine"
import { EffectStatus, RunStatus } from "effect-tape/proto"
import * as SqliteDriver from "../../src/engine/store/sqlite/SqliteDriver.js"
import * as SqliteStore from "../../src/engine/store/sqlite/SqliteStore.js"
import type { Job } from "../../src/engine/store/Transaction.js"
import * as Tables from "../../src/engine/store/tables.js"
import * as Writer from "../../src/engine/store/Writer.js"
import { tapeOverStore } from "./ledgerFixtures.js"

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tape-test-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

const tapeAt = (url: string): Layer.Layer<TapeClient, StoreError> =>
  Layer.provide(Client.layerHandlers(Engine.Engine), Engine.layerUrl(url))

const open = (url: string) => Effect.scoped(Layer.build(tapeAt(url)))

describe("opening a store", () => {
  const refused = (name: string, prepare: (folder: string) => string, reason: StoreError["reason"], words: RegExp) =>
    it.scoped(name, () =>
      Effect.gen(function* () {
        const url = prepare(yield* temporaryFolder)
        const error = yield* Effect.flip(open(url))
        assert.strictEqual(error.reason, reason)
        assert.match(error.message, words)
      })
    )

  refused("a folder that does not exist", (folder) => `sqlite:${folder}/no/tape.db`, "NotWritable", /does not exist/)
  refused("a folder in place of the file", (folder) => `sqlite:${folder}`, "NotWritable", /is a folder/)
  refused(
    "a file that is no database",
    (folder) => {
      Fs.writeFileSync(`${folder}/notes.txt`, "not a database, but long enough to have a header".repeat(10))
      return `sqlite:${folder}/notes.txt`
    },
    "NotADatabase",
    /not a database/
  )
  refused(
    "another program's database",
    (folder) => {
      const db = new Database(`${folder}/other.db`)
      db.exec("create table customers (id integer)")
      db.close()
      return `sqlite:${folder}/other.db`
    },
    "NotADatabase",
    /another program/
  )
  refused("something that is no store", () => "sqlite:", "InvalidUrl", /sqlite:<path>/)

  it.scoped("written by a later version", () =>
    Effect.gen(function* () {
      const url = `sqlite:${yield* temporaryFolder}/tape.db`
      yield* open(url)
      const db = new Database(url.slice("sqlite:".length))
      db.pragma("user_version = 9999")
      db.close()
      const error = yield* Effect.flip(open(url))
      assert.strictEqual(error.reason, "SchemaTooNew")
    })
  )

  it.scoped("twice in one process names the path, and works again after the first is closed", () =>
    Effect.gen(function* () {
      const path = `${yield* temporaryFolder}/tape.db`
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(tapeAt(`sqlite:${path}`))
          const error = yield* Effect.flip(open(`sqlite:${path}`))
          assert.strictEqual(error.reason, "AlreadyOpen")
          assert.include(error.message, path)
          Fs.symlinkSync(path, `${path}.link`)
          assert.strictEqual((yield* Effect.flip(open(`sqlite:${path}.link`))).reason, "AlreadyOpen")
        })
      )
      yield* open(`sqlite:${path}`)
    })
  )

  it.scoped("the writing connection itself says that it is fully durable", () =>
    Effect.gen(function* () {
      const url = `sqlite:${yield* temporaryFolder}/tape.db`
      const durability = Effect.flatMap(Store.Store, (store) => store.durability)
      assert.deepStrictEqual(yield* Effect.provide(durability, SqliteStore.layer({ url })), {
        journalMode: "wal",
        synchronous: 2
      })
    })
  )
})

describe("transactions", () => {
  it.scoped("a refused call is undone alone, the calls that share its transaction stand", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "batch", invocationId: "1" })
      const calls = Array.from({ length: 40 }, (_, index) =>
        Effect.exit<unknown, unknown, never>(
          index % 4 === 0
            ? tape.completeEffect({ runId, idempotencyKey: `never begun ${index}`, status: EffectStatus.CONFIRMED })
            : tape.recordDecision({ runId, decisionIndex: BigInt(index), model: "m" })
        )
      )
      const exits = yield* Effect.all(calls, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        exits.map(Exit.isSuccess),
        calls.map((_, index) => index % 4 !== 0)
      )
      const entries = yield* tape.subscribeRun({ runId }).pipe(Stream.take(31), Stream.runCollect)
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(entries).map((entry) => entry.seq),
        Array.from({ length: 31 }, (_, index) => BigInt(index + 1))
      )
    }).pipe(Effect.provide(tapeAt("memory:")))
  )

  it.scoped("what was acknowledged is there after closing and opening again", () =>
    Effect.gen(function* () {
      const url = `sqlite:${yield* temporaryFolder}/tape.db`
      const { runId } = yield* Effect.flatMap(TapeClient, (tape) =>
        tape.beginRun({ appName: "é", labels: { a: "1" } })
      ).pipe(Effect.provide(tapeAt(url)))
      const run = yield* Effect.flatMap(TapeClient, (tape) => tape.getRun({ runId })).pipe(Effect.provide(tapeAt(url)))
      assert.strictEqual(run.appName, "é")
      assert.deepStrictEqual(run.labels, { a: "1" })
      assert.strictEqual(run.status, RunStatus.RUNNING)
    })
  )

  it.scoped("the same script gives the same journal, byte for byte, with the same clock and ids", () =>
    Effect.gen(function* () {
      const script = Effect.gen(function* () {
        const tape = yield* TapeClient
        const { runId } = yield* tape.beginRun({ appName: "same", userId: "u" })
        yield* TestClock.adjust("5 seconds")
        yield* tape.recordDecision({ runId, model: "m", rationale: "because" })
        const { idempotencyKey } = yield* tape.beginEffect({ runId, toolName: "t" })
        yield* tape.completeEffect({ runId, idempotencyKey, status: EffectStatus.CONFIRMED, responseJson: "{}" })
        yield* tape.endRun({ runId, status: RunStatus.TERMINAL })
        return yield* tape.subscribeEvents({}).pipe(Stream.take(5), Stream.runCollect)
      }).pipe(Effect.provide(tapeAt("memory:").pipe(Layer.provide(Ids.layerSeeded(7)))))
      yield* TestClock.setTime(1_000)
      const first = yield* script
      yield* TestClock.setTime(1_000)
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* script), Chunk.toReadonlyArray(first))
    })
  )

  it.scoped("what is selected and removed is gone for the calls that share its transaction", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const store = yield* Store.Store
      const { runId } = yield* tape.beginRun({ appName: "batch" })
      yield* tape.beginEffect({ runId, toolName: "t", customKey: "k", connector: "c", businessKey: "b" })
      const remove = store.write((tx) =>
        Effect.map(tx.select(Tables.Effects, "where run_id = ?", [runId]), ([row]) => tx.remove(Tables.Effects, row!))
      )
      const find = store.write((tx) => tx.find(Tables.Effects, "business", ["c", "b"]))
      const [, found] = yield* Effect.all([remove, find], { concurrency: "unbounded" })
      assert.isUndefined(found)
      assert.isFalse((yield* tape.getEffect({ runId, idempotencyKey: "k" })).found)
    }).pipe(Effect.provide(tapeOverStore))
  )

  it.effect("a failure that has already rolled back is told as it is", () =>
    Effect.gen(function* () {
      const db = new Database(":memory:")
      const driver = SqliteDriver.make(db, () => new StoreError({ reason: "Unavailable", url: "", detail: "another" }))
      const full = Effect.zipRight(
        Effect.sync(() => db.exec("rollback")),
        Effect.fail("no space left")
      )
      assert.strictEqual(yield* Effect.flip(driver.transaction("begin immediate", full)), "no space left")
      assert.isFalse(db.inTransaction)
    })
  )

  it.effect("closing answers all who wait, also those whom the queue has no room for", () =>
    Effect.gen(function* () {
      const closed = new StoreError({ reason: "Closed", url: "", detail: "closed" })
      const scope = yield* Scope.make()
      const begun = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const transact = (jobs: ReadonlyArray<Job>) =>
        Deferred.succeed(begun, undefined).pipe(
          Effect.zipRight(Deferred.await(goOn)),
          Effect.as(jobs.map(() => Exit.void))
        )
      const writer = yield* Scope.extend(Writer.make({ transact, closed }), scope)
      const calls = Array.from({ length: 1_300 }, () => Effect.exit(writer.write(() => Effect.void)))
      const answers = yield* Effect.fork(Effect.all(calls, { concurrency: "unbounded" }))
      yield* Deferred.await(begun)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(closing)
      const exits = yield* TestServices.provideLive(Effect.timeout(Fiber.join(answers), "2 seconds"))
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 128)
      assert.deepStrictEqual(
        new Set(exits.flatMap((exit) => (Exit.isFailure(exit) ? [Cause.squash(exit.cause)] : []))),
        new Set([closed])
      )
    })
  )
})

describe("the tail", () => {
  it.scoped("a reader that starts in the past and is slow sees every entry once, while writers go on", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "tail" })
      const total = 6_000
      const decide = (index: number) => tape.recordDecision({ runId, decisionIndex: BigInt(index) })
      const write = (from: number, to: number) =>
        Effect.forEach(
          Array.from({ length: to - from }, (_, index) => from + index),
          decide,
          { concurrency: 64, discard: true }
        )
      yield* write(0, 1_000)
      const reader = yield* tape.subscribeBySubject({ subjectPattern: "/tape/decision/**" }).pipe(
        Stream.tap((entry) => (entry.globalSeq % 97n === 0n ? Effect.yieldNow() : Effect.void)),
        Stream.take(total),
        Stream.runCollect,
        Effect.fork
      )
      yield* write(1_000, total)
      const seen = Chunk.toReadonlyArray(yield* Fiber.join(reader)).map((entry) => entry.globalSeq)
      assert.deepStrictEqual(
        seen,
        Array.from({ length: total }, (_, index) => BigInt(index + 2))
      )
    }).pipe(Effect.provide(tapeAt("memory:")))
  )

  it.scopedLive("sees what another process commits to the same file", () =>
    Effect.gen(function* () {
      const path = `${yield* temporaryFolder}/tape.db`
      const tape = Context.get(yield* Layer.build(tapeAt(`sqlite:${path}`)), TapeClient)
      const { runId } = yield* tape.beginRun({ appName: "shared" })
      const caughtUp = yield* Deferred.make<void>()
      const reader = yield* tape.subscribeRun({ runId }).pipe(
        Stream.tap(() => Deferred.succeed(caughtUp, undefined)),
        Stream.take(2),
        Stream.runCollect,
        Effect.fork
      )
      yield* Deferred.await(caughtUp)
      const other = new Database(path)
      other.exec(`begin immediate;
        update counters set value = value + 1 where name = 'global_seq';
        insert into journal select value, '${runId}', 2, 'run', '/tape/run/x', '{}', 0, 1, '', '', '' from counters where name = 'global_seq';
        commit`)
      other.close()
      const entries = yield* Effect.timeout(Fiber.join(reader), "5 seconds")
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(entries).map((entry) => entry.subject),
        [`/tape/run/running/shared/_/_/${runId}`, "/tape/run/x"]
      )
    })
  )
})
