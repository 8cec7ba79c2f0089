import { assert, describe, it } from "@effect/vitest"
import { Chunk, Deferred, Effect, Fiber, Stream } from "effect"
import { TapeClient } from "effect-tape"
import { Store } from "effect-tape/engine"
import type { ValueEvent } from "effect-tape/proto"
import { ValueVersions } from "../../src/engine/store/tables.js"
import { tapeOverStore as tape } from "./ledgerFixtures.js"

const plain = (event: ValueEvent) => ({
  value: event.value?.valueJson,
  version: event.value?.version,
  writer: event.value?.writer,
  deleted: event.value?.deleted,
  before: [event.prevVersion, event.prevValueJson]
})

const key = { namespace: "fx", key: "EUR" }

const write = (valueJson: string, ifVersion = -1n) =>
  Effect.flatMap(TapeClient, (tape) => tape.writeValue({ ...key, valueJson, ifVersion, writer: "w" }))

const watch = (fromVersion: bigint, count: number) =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.watchValue({ ...key, fromVersion }).pipe(Stream.take(count), Stream.map(plain), Stream.runCollect)
  ).pipe(Effect.map(Chunk.toReadonlyArray))

describe("values", () => {
  it.effect("a value's text comes back byte for byte, in the answer, the record, the stream and the journal", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const valueJson = '{ "b" : 1.0, "a":9007199254740993,\n"é":"\\u0041\\ud83d\\ude00 😀" }'
      assert.strictEqual((yield* write(valueJson)).valueJson, valueJson)
      assert.strictEqual((yield* tape.getValue(key)).value?.valueJson, valueJson)
      assert.strictEqual((yield* watch(0n, 1))[0]?.value, valueJson)
      const [entry] = yield* tape
        .subscribeBySubject({ subjectPattern: "/tape/value/changed/fx/EUR" })
        .pipe(Stream.take(1), Stream.runCollect)
      assert.strictEqual(
        entry?.payloadJson,
        `{"key":"EUR","namespace":"fx","value":{"key":"EUR","namespace":"fx","value_json":${JSON.stringify(valueJson)},"version":1},"version":1,"writer":"w"}`
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("a conflict names the version held and the one expected, and changes nothing", () =>
    Effect.gen(function* () {
      yield* write("1", 0n)
      yield* write("2", 1n)
      const error = yield* Effect.flip(write("3", 1n))
      assert.strictEqual(error._tag, "Conflict")
      assert.match(error.message, /version conflict.*version 2 is held, 1 was expected/)
      assert.strictEqual((yield* Effect.flatMap(TapeClient, (tape) => tape.getValue(key))).value?.valueJson, "2")
    }).pipe(Effect.provide(tape))
  )

  it.effect("of many writers with the same expectation exactly one wins, each time", () =>
    Effect.gen(function* () {
      for (let version = 0n; version < 20n; version++) {
        const exits = yield* Effect.all(
          Array.from({ length: 16 }, (_, index) => Effect.either(write(`${index}`, version))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter((exit) => exit._tag === "Right").length, 1)
      }
    }).pipe(Effect.provide(tape))
  )
})

describe("watching a value", () => {
  it.effect("from 0 starts with the current record and its true predecessor", () =>
    Effect.gen(function* () {
      yield* write("70")
      yield* write("80")
      yield* write("90")
      assert.deepStrictEqual(yield* watch(0n, 1), [
        { value: "90", version: 3n, writer: "w", deleted: false, before: [2n, "80"] }
      ])
    }).pipe(Effect.provide(tape))
  )

  it.effect("a tombstone is an event like any other, also as the first one", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* write("70")
      yield* tape.deleteValue(key)
      const gone = { value: "", version: 2n, writer: "w", deleted: true, before: [1n, "70"] }
      assert.deepStrictEqual(yield* watch(0n, 1), [gone])
      yield* tape.deleteValue(key)
      yield* write("80")
      assert.deepStrictEqual(yield* watch(1n, 3), [
        gone,
        { value: "", version: 3n, writer: "w", deleted: true, before: [2n, ""] },
        { value: "80", version: 4n, writer: "w", deleted: false, before: [3n, ""] }
      ])
    }).pipe(Effect.provide(tape))
  )

  it.effect("from n brings each later version once, in order, however many there are, and then the new ones", () =>
    Effect.gen(function* () {
      for (let version = 1; version <= 200; version++) {
        yield* write(`${version}`)
      }
      const watching = yield* Effect.fork(watch(3n, 300))
      for (let version = 201; version <= 303; version++) {
        yield* write(`${version}`)
        if (version % 10 === 0) {
          yield* Effect.yieldNow()
        }
      }
      assert.deepStrictEqual(
        (yield* Fiber.join(watching)).map(({ before, value }) => [value, before[1]]),
        Array.from({ length: 300 }, (_, index) => [`${index + 4}`, `${index + 3}`])
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("a key that does not exist is silent until it is created, and other keys are not heard", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const watching = yield* Effect.fork(watch(0n, 2))
      yield* Effect.yieldNow()
      yield* tape.writeValue({ namespace: "fx", key: "USD", valueJson: "1", ifVersion: -1n })
      yield* write("1")
      yield* write("2")
      assert.deepStrictEqual(
        (yield* Fiber.join(watching)).map((event) => event.version),
        [1n, 2n]
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("from a version that is still to come, only what comes after it", () =>
    Effect.gen(function* () {
      yield* write("1")
      const watching = yield* Effect.fork(watch(2n, 1))
      yield* Effect.yieldNow()
      yield* write("2")
      yield* write("3")
      assert.deepStrictEqual(yield* Fiber.join(watching), [
        { value: "3", version: 3n, writer: "w", deleted: false, before: [2n, "2"] }
      ])
    }).pipe(Effect.provide(tape))
  )

  it.effect("the empty name and the name _ share a subject, not a history", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const watching = yield* tape
        .watchValue({ namespace: "", key: "" })
        .pipe(Stream.take(1), Stream.runCollect, Effect.fork)
      yield* Effect.yieldNow()
      yield* tape.writeValue({ namespace: "_", key: "_", valueJson: '"underscore"', ifVersion: -1n })
      yield* tape.writeValue({ namespace: "", key: "", valueJson: '"empty"', ifVersion: -1n })
      const [event] = yield* Fiber.join(watching)
      assert.strictEqual(event?.value?.valueJson, '"empty"')
    }).pipe(Effect.provide(tape))
  )

  it.live("a change is seen within 50 ms of its acknowledgement", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* write("0")
      const seen = new Map<bigint, number>()
      const first = yield* Deferred.make<void>()
      const watching = yield* tape.watchValue({ ...key, fromVersion: 0n }).pipe(
        Stream.tap(({ value }) => {
          seen.set(value?.version ?? 0n, performance.now())
          return Deferred.succeed(first, undefined)
        }),
        Stream.take(21),
        Stream.runDrain,
        Effect.fork
      )
      yield* Deferred.await(first)
      const late: Array<number> = []
      const written = new Map<bigint, number>()
      for (let index = 0; index < 20; index++) {
        written.set((yield* write(`${index}`)).version, performance.now())
        yield* Effect.sleep("2 millis")
      }
      yield* Fiber.join(watching)
      written.forEach((at, version) => late.push((seen.get(version) ?? Number.POSITIVE_INFINITY) - at))
      assert.isBelow(late.toSorted((left, right) => left - right)[10] ?? 50, 50)
    }).pipe(Effect.provide(tape))
  )

  it.effect("history that is no longer kept is refused, saying where to start", () =>
    Effect.gen(function* () {
      yield* write("1")
      yield* write("2")
      yield* write("3")
      const store = yield* Store.Store
      yield* store.write((tx) =>
        Effect.sync(() => [1n, 2n].forEach((version) => tx.remove(ValueVersions, { ...key, version })))
      )
      const error = yield* Effect.flip(watch(1n, 1))
      assert.strictEqual(error._tag, "PreconditionFailed")
      assert.match(error.message, /start from version 3/)
      assert.deepStrictEqual(
        (yield* watch(0n, 1)).map(({ version }) => version),
        [3n]
      )
    }).pipe(Effect.provide(tape))
  )
})
