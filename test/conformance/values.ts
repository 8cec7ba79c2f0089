/** Section L: values, their versions and their entries. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { refused } from "./Expect.js"
import { record, seen, type World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

/** The calls on one key of the scenario's own namespace. */
export const valueOf = ({ id, tape }: World, key: string, namespace = `ns-${id}`) => ({
  namespace,
  key,
  write: (valueJson: string, ifVersion = -1n, writer = "w") =>
    tape.writeValue({ namespace, key, valueJson, ifVersion, writer }),
  get: tape.getValue({ namespace, key }),
  remove: tape.deleteValue({ namespace, key }),
  watch: (fromVersion = 0n) => tape.watchValue({ namespace, key, fromVersion })
})

export const values: ReadonlyArray<Scenario> = [
  scenario("VAL-01", "P0", "versions count writes and deletions; a tombstone is shown but not found", function* (w) {
    const value = valueOf(w, "x")
    const first = yield* value.write("1", -1n, "alice")
    assert.deepEqual([first.version, first.valueJson, first.writer, first.deleted], [1n, "1", "alice", false])
    assert.deepEqual([first.namespace, first.key], [value.namespace, "x"])
    assert.ok(first.tsMs > 0n)
    assert.deepEqual(yield* value.get, { ...(yield* value.get), found: true, value: first })
    assert.equal((yield* value.write("2", -1n, "bob")).version, 2n)
    const two = record((yield* value.get).value)
    assert.deepEqual([two.version, two.valueJson, two.writer], [2n, "2", "bob"])
    const removed = yield* value.remove
    assert.deepEqual([removed.deleted, removed.version], [true, 3n])
    const gone = yield* value.get
    assert.equal(gone.found, false)
    const tombstone = record(gone.value)
    assert.deepEqual(
      [tombstone.deleted, tombstone.version, tombstone.valueJson, tombstone.writer],
      [true, 3n, "", "bob"]
    )
  }),

  scenario("VAL-02", "P0", "if_version: 0 only creates, n replaces n, negative replaces any", function* (w) {
    const value = valueOf(w, "x")
    yield* refused(value.write("0", 1n), "Conflict", "version conflict")
    assert.equal((yield* value.write("1", 0n)).version, 1n)
    const conflict = yield* refused(value.write("9", 0n), "Conflict", "version conflict", "1", "0")
    assert.equal(conflict.rpc, "WriteValue")
    assert.equal((yield* value.write("2", 1n)).version, 2n)
    yield* refused(value.write("9", 1n), "Conflict", "version conflict")
    assert.equal((yield* value.write("3", -1n)).version, 3n)
    assert.equal((yield* value.write("4", -77n)).version, 4n)
    assert.equal(record((yield* value.get).value).valueJson, "4")
  }),

  scenario("VAL-09", "P1", "a tombstone counts: the next write is version 4, and 0 creates nothing", function* (w) {
    const value = valueOf(w, "x")
    yield* value.write("1")
    yield* value.write("2")
    yield* value.remove
    yield* refused(value.write("9", 0n), "Conflict", "version conflict")
    const again = yield* value.write("4", 3n)
    assert.deepEqual([again.version, again.deleted], [4n, false])
    assert.equal((yield* value.get).found, true)
  }),

  scenario("VAL-11", "P1", "deleting what was never there is false, and journals nothing", function* (w) {
    const from = yield* w.position
    const value = valueOf(w, "x")
    const removed = yield* value.remove
    assert.deepEqual([removed.deleted, removed.version], [false, 0n])
    const missing = yield* value.get
    assert.deepEqual([missing.found, missing.value], [false, undefined])
    const marker = valueOf(w, "marker")
    yield* marker.write("1")
    const entries = yield* w.bySubject(`/tape/value/*/${value.namespace}/*`, from, () => true)
    assert.deepEqual(
      entries.map((entry) => entry.subject),
      [`/tape/value/changed/${value.namespace}/marker`]
    )
  }),

  scenario("RUL-VAL-1", "P0", "a write is a real compare-and-set: of 32 racing writers one wins", function* (w) {
    const value = valueOf(w, "x")
    for (let round = 0n; round < 5n; round++) {
      const outcomes = yield* w.race(32, (n) => value.write(`${n}`, round, `w${n}`))
      const winners = outcomes.filter(Either.isRight)
      assert.equal(winners.length, 1)
      for (const lost of outcomes.filter(Either.isLeft)) assert.equal(lost.left._tag, "Conflict", lost.left.message)
      assert.deepEqual((yield* value.get).value, winners[0]?.right)
    }
  }),

  scenario("RUL-VAL-2", "P0", "a counter of 8 writers that retry on conflict loses no increment", function* (w) {
    const value = valueOf(w, "counter")
    yield* value.write("0")
    const increment = Effect.gen(function* () {
      const held = record((yield* value.get).value)
      yield* value.write(`${Number(held.valueJson) + 1}`, held.version)
    })
    const retried = Effect.retry(increment, { while: (error) => error._tag === "Conflict" })
    yield* Effect.all(
      Array.from({ length: 8 }, () => Effect.repeatN(retried, 4)),
      { concurrency: "unbounded" }
    )
    const last = record((yield* value.get).value)
    assert.deepEqual([last.valueJson, last.version], ["40", 41n])
  }),

  scenario("RUL-VAL-3", "P0", "value entries: payloads, subjects, an empty run, a counter they share", function* (w) {
    const from = yield* w.position
    const namespace = `ä/${w.id}`
    const value = valueOf(w, "k 1", namespace)
    yield* value.write('{"n":1.0, "s":"é"}', -1n, "alice")
    yield* value.remove
    yield* valueOf(w, "", namespace).write("7", -1n, "")
    const at = `ä%2F${w.id}`
    const last = `/tape/value/changed/${at}/_`
    const entries = yield* w.bySubject(`/tape/value/*/${at}/**`, from, (entry) => entry.subject === last)
    assert.deepEqual(
      entries.map(seen).map(({ kind, payload, subject }) => ({ kind, payload, subject })),
      [
        {
          kind: "value",
          subject: `/tape/value/changed/${at}/k%201`,
          payload: {
            key: "k 1",
            namespace,
            value: { key: "k 1", namespace, value_json: '{"n":1.0, "s":"é"}', version: 1 },
            version: 1,
            writer: "alice"
          }
        },
        {
          kind: "value",
          subject: `/tape/value/deleted/${at}/k%201`,
          payload: { deleted: true, key: "k 1", namespace, version: 2 }
        },
        {
          kind: "value",
          subject: last,
          payload: {
            key: "",
            namespace,
            value: { key: "", namespace, value_json: "7", version: 1 },
            version: 1,
            writer: ""
          }
        }
      ]
    )
    let seq = 0n
    for (const entry of entries) {
      assert.equal(entry.runId, "")
      assert.ok(entry.seq > seq)
      seq = entry.seq
      assert.equal(Object.keys(seen(entry).payload).join(), Object.keys(seen(entry).payload).toSorted().join())
    }
  }),

  scenario("RUL-VAL-4", "P1", "a deleted tombstone is deleted again, with the next version", function* (w) {
    const value = valueOf(w, "x")
    yield* value.write("1")
    assert.equal((yield* value.remove).version, 2n)
    const again = yield* value.remove
    assert.deepEqual([again.deleted, again.version], [true, 3n])
    assert.equal((yield* value.write("2", 3n)).version, 4n)
  }),

  scenario("RUL-VAL-5", "P1", "a value's text is kept as it is; a namespace and a key may be empty", function* (w) {
    const texts = ["", " ", '{ "b":1.0, "a":9007199254740993 }', "not JSON", '"é 😀\\u0000"', "null"]
    for (const [nth, text] of texts.entries()) {
      const value = valueOf(w, `${nth}`)
      assert.equal((yield* value.write(text)).valueJson, text)
      assert.equal(record((yield* value.get).value).valueJson, text)
    }
    yield* refused(valueOf(w, "a\u0000b").write("1"), "InvalidRequest")
    const odd = valueOf(w, "", "")
    const { version } = yield* odd.write("1")
    assert.equal(record((yield* odd.get).value).version >= version, true)
  }),

  scenario("RUL-VAL-6", "P0", "keys that look alike are apart", function* (w) {
    const names = [
      ["a/b", "c"],
      ["a", "b/c"],
      ["a%2Fb", "c"],
      ["A/b", "c"],
      ["", "a/b/c"]
    ] as const
    for (const [nth, [namespace, key]] of names.entries()) {
      yield* valueOf(w, key, `${w.id}-${namespace}`).write(`${nth}`, 0n)
    }
    for (const [nth, [namespace, key]] of names.entries()) {
      assert.equal(record((yield* valueOf(w, key, `${w.id}-${namespace}`).get).value).valueJson, `${nth}`)
    }
  })
]
