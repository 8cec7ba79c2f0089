import { create } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { TapeClient } from "effect-tape"
import { Store, StoreError } from "effect-tape/engine"
import { CompactRunRequestSchema, EffectStatus, RunStatus } from "effect-tape/proto"
import * as Compaction from "../../src/engine/ledgers/Compaction.js"
import { pruneWhole } from "../../src/engine/retention/effects.js"
import * as Room from "../../src/engine/store/Room.js"
import * as SqliteStore from "../../src/engine/store/sqlite/SqliteStore.js"
import type * as Table from "../../src/engine/store/Table.js"
import * as Tail from "../../src/engine/store/Tail.js"
import type { Transaction } from "../../src/engine/store/Transaction.js"
import { Counters, type Entry, Runs } from "../../src/engine/store/tables.js"
import * as Trace from "../../src/engine/Trace.js"
import * as LargeRows from "./largeRows.js"
import { tapeAt, tapeOverStore } from "./ledgerFixtures.js"
import * as LongKeys from "./longKeys.js"

const largeRows = tapeAt("memory:", { maxMessageBytes: LargeRows.maxMessageBytes })

const payloadJson = JSON.stringify("x".repeat(400_000))

const entry = (globalSeq: bigint): Entry => ({
  globalSeq,
  runId: "r",
  seq: globalSeq,
  kind: "value",
  subject: "/s",
  payloadJson: "1",
  tsMs: 0n,
  schemaVersion: 1,
  traceId: "",
  spanId: "",
  parentSpanId: ""
})

/** The transaction, with what each query of it answers, in bytes. */
const readsOf = (tx: Transaction, look: (bytes: number) => void): Transaction => {
  const looked = <T extends Table.Table>(table: T, rows: ReadonlyArray<Table.Row<T>>) => {
    const sizeOf = Room.sizerOf(table)
    look(rows.reduce((size, row) => size + sizeOf(row), 0))
  }
  return {
    nowMs: tx.nowMs,
    newId: tx.newId,
    drafts: tx.drafts,
    get: (table, key) => tx.get(table, key),
    find: (table, unique, values) => tx.find(table, unique, values),
    put: (table, row) => tx.put(table, row),
    remove: (table, key) => tx.remove(table, key),
    append: (draft) => tx.append(draft),
    select: (table, clause, parameters) =>
      Effect.tap(tx.select(table, clause, parameters), (rows) => looked(table, rows)),
    selectWithin: (table, clause, parameters, room) =>
      Effect.tap(tx.selectWithin(table, clause, parameters, room), ({ rows }) => looked(table, rows))
  }
}

describe("the engine's limits", () => {
  it.effect("a request that is too large is refused with its size, one that just fits is not", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const write = (length: number) => tape.writeValue({ key: "k", valueJson: "é".repeat(length), ifVersion: -1n })
      const error = yield* Effect.flip(write(5_000))
      assert.strictEqual(error._tag, "ResourceExhausted")
      assert.match(error.message, /takes 100\d\d bytes, the limit is 10000 bytes/)
      assert.strictEqual((yield* write(4_400)).version, 1n)
    }).pipe(Effect.provide(tapeAt("memory:", { maxMessageBytes: 10_000 })))
  )

  it.effect("the longest keys work, longer ones are refused", () =>
    Effect.flatMap(TapeClient, (tape) => Effect.zipRight(LongKeys.refused(tape), LongKeys.work(tape))).pipe(
      Effect.provide(tapeAt("memory:"))
    )
  )

  it.effect("an answer is never larger than a message may be, and nothing is lost of what it has no room for", () =>
    Effect.flatMap(TapeClient, LargeRows.lists).pipe(Effect.provide(largeRows))
  )

  it.effect("what no message could carry is refused, and nobody who follows gets stuck in silence", () =>
    Effect.flatMap(TapeClient, LargeRows.messages).pipe(Effect.provide(largeRows))
  )

  it.effect("versions that fill a page each are all seen", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const key = { namespace: "n", key: "k" }
      for (let version = 0n; version < 4n; version++) {
        yield* tape.writeValue({ ...key, valueJson: "x".repeat(1_100_000), ifVersion: version })
      }
      const events = yield* tape.watchValue({ ...key, fromVersion: 1n }).pipe(Stream.take(3), Stream.runCollect)
      assert.deepStrictEqual(
        Array.from(events, ({ prevVersion, value }) => [prevVersion, value?.version]),
        [
          [1n, 2n],
          [2n, 3n],
          [3n, 4n]
        ]
      )
    }).pipe(Effect.provide(tapeAt("memory:")))
  )

  it.effect("calls that write much share a transaction only as far as it does not become too large", () =>
    Effect.gen(function* () {
      const { write } = yield* Store.Store
      const seen = yield* Effect.forEach(
        Array.from({ length: 8 }, (_, index) => entry(BigInt(index + 1))),
        ({ globalSeq: _, ...draft }) =>
          write((tx) =>
            Effect.map(tx.get(Counters, { name: "global_seq" }), (counter) => {
              tx.append({ ...draft, payloadJson: "x".repeat(3_000_000) })
              return counter?.value
            })
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(seen, [0n, 0n, 0n, 3n, 3n, 3n, 6n, 6n])
    }).pipe(Effect.provide(SqliteStore.layer({ url: "memory:" })))
  )

  it.effect("a run is compacted, and its effects are pruned, without holding all its texts", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const store = yield* Store.Store
      const { runId } = yield* tape.beginRun({ appName: "app" })
      const texts = Array.from({ length: 410 }, (_, index) => (index % 50 === 0 ? "x".repeat(400_000) : "y"))
      yield* Effect.forEach(
        texts.entries(),
        ([index, requestJson]) =>
          Effect.gen(function* () {
            yield* tape.recordDecision({ runId, decisionIndex: BigInt(index - 200), requestJson })
            const idempotencyKey = String(index)
            yield* tape.beginEffect({ runId, toolName: "t", customKey: idempotencyKey, requestJson })
            yield* tape.completeEffect({ runId, idempotencyKey, status: EffectStatus.CONFIRMED })
          }),
        { concurrency: 64, discard: true }
      )
      yield* tape.endRun({ runId, status: RunStatus.TERMINAL })
      let most = 0
      const looking = (tx: Transaction) => readsOf(tx, (bytes) => (most = Math.max(most, bytes)))
      // A call that fails is undone: what it would have pruned is still there.
      const pruned = yield* Effect.flip(
        store.write((tx) =>
          Effect.flatMap(tx.get(Runs, { runId }), (run) => Effect.flip(pruneWhole(looking(tx), run!)))
        )
      )
      assert.deepStrictEqual(pruned, { pruned: 410, kept: 0 })
      const compacted = yield* store.write((tx) =>
        Compaction.compact({ tx: looking(tx), trace: Trace.none }, create(CompactRunRequestSchema, { runId }))
      )
      assert.deepInclude(compacted, {
        decisionsZeroed: 410n,
        effectsZeroed: 410n,
        bytesSaved: BigInt(2 * texts.join("").length)
      })
      assert.isBelow(most, 1_100_000)
    }).pipe(Effect.provide(tapeOverStore))
  )

  it.effect("a page of the journal is bounded in bytes, and so is what is kept in memory", () =>
    Effect.flatMap(Store.Store, (store) => LargeRows.pages(store, store)).pipe(
      Effect.provide(SqliteStore.layer({ url: "memory:" }))
    )
  )

  it.effect("of entries that are large few are kept in memory", () =>
    Effect.gen(function* () {
      let reads = 0
      const unread = new StoreError({ reason: "Closed", url: "", detail: "read" })
      const tail = Tail.make(0n, () => {
        reads += 1
        return Effect.fail(unread)
      })
      const large = Array.from({ length: 64 }, (_, index) => ({ ...entry(BigInt(index + 1)), payloadJson }))
      large.forEach((each) => tail.publish([each]))
      assert.strictEqual(yield* Effect.flip(tail.after(40n, 512)), unread)
      assert.strictEqual((yield* tail.after(63n, 512)).upTo, 64n)
      assert.strictEqual(reads, 1)
      // Small ones are kept as before, however large those were that came before them.
      const small = Array.from({ length: 4_096 }, (_, index) => entry(BigInt(index + 65)))
      tail.publish(small)
      assert.lengthOf((yield* tail.after(64n, 512)).entries, 512)
      assert.strictEqual(reads, 1)
    })
  )

  it.effect("a list answers no more than the ceiling, whatever is asked for", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "app" })
      const names = Array.from({ length: 520 }, (_, index) => `${index}`)
      yield* Effect.forEach(names, (timerId) => tape.setTimer({ runId, timerId, fireAtMs: 0n }), {
        concurrency: 64,
        discard: true
      })
      const count = (limit: bigint, claim = false) =>
        Effect.map(tape.listDueTimers({ limit, claim }), ({ timers }) => timers.length)
      assert.deepStrictEqual(yield* Effect.all([count(10_000n), count(3n), count(0n)]), [500, 3, 200])
      assert.deepStrictEqual(yield* Effect.all([count(10_000n, true), count(10_000n, true)]), [500, 20])
      // Of what is only worth something as a whole nothing is left out in silence.
      const owed = tape.listObligations({ runId })
      const owe = (effectKey: string) => tape.registerCompensation({ runId, effectKey, kind: "undo" })
      yield* Effect.forEach(names.slice(0, 500), owe, { concurrency: 64, discard: true })
      assert.lengthOf((yield* owed).obligations, 500)
      yield* owe("one more")
      const error = yield* Effect.flip(owed)
      assert.strictEqual(error._tag, "ResourceExhausted")
      assert.match(error.message, /more than 500 items: ask for only_unresolved/)
      const event = (id: string) => tape.appendEvent({ sessionId: "s", event: { id } })
      yield* Effect.forEach(names, event, { concurrency: 64, discard: true })
      for (const maxEvents of [0n, 10_000n]) {
        const { session } = yield* tape.getSession({ sessionId: "s", maxEvents })
        assert.strictEqual(session?.events.length, 500)
      }
    }).pipe(Effect.provide(tapeAt("memory:", { maxListed: 500 })))
  )
})
