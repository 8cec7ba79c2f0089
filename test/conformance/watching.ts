/** Section L: values as they change. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { ValueEvent } from "effect-tape/proto"
import { eventually } from "./Expect.js"
import { collect, record } from "./Fixtures.js"
import { open } from "./Open.js"
import { type Scenario, scenario } from "./Scenario.js"
import { valueOf } from "./values.js"

/** What an event says: version, text, whether deleted, and its predecessor. */
const said = ({ prevValueJson, prevVersion, value }: ValueEvent) => {
  const { deleted, valueJson, version } = record(value)
  return [version, valueJson, deleted, prevVersion, prevValueJson] as const
}

const upTo = (version: bigint) => (event: ValueEvent) => event.value?.version === version

export const watching: ReadonlyArray<Scenario> = [
  scenario("VAL-05", "P0", "a watcher sees the current record, then each change with its predecessor", function* (w) {
    const value = valueOf(w, "x")
    yield* value.write("70", -1n, "alice")
    const watched = yield* open(value.watch())
    assert.deepEqual(said(yield* watched.next), [1n, "70", false, 0n, ""])
    const second = yield* value.write("90", -1n, "bob")
    const event = yield* watched.next
    assert.deepEqual(said(event), [2n, "90", false, 1n, "70"])
    assert.deepEqual(event.value, second)
  }),

  scenario("VAL-07", "P1", "a watcher that comes back goes on after the version it names", function* (w) {
    const value = valueOf(w, "x")
    for (let n = 1; n <= 9; n++) yield* value.write(`${n}`)
    for (const from of [1n, 4n, 8n]) {
      const events = yield* collect(value.watch(from), upTo(9n))
      assert.deepEqual(
        events.map(said),
        Array.from({ length: Number(9n - from) }, (_, n) => {
          const version = from + BigInt(n) + 1n
          return [version, `${version}`, false, version - 1n, `${version - 1n}`]
        })
      )
    }
    const snapshot = yield* open(value.watch(0n))
    assert.deepEqual(said(yield* snapshot.next), [9n, "9", false, 8n, "8"], "one event for all that was")
    const changes = yield* open(value.watch(9n))
    yield* value.write("10")
    assert.deepEqual(said(yield* snapshot.next), [10n, "10", false, 9n, "9"])
    assert.deepEqual(said(yield* changes.next), [10n, "10", false, 9n, "9"], "the current version is not repeated")
  }),

  scenario("VAL-09-WATCH", "P1", "a deletion is one event, and a write after it the next version", function* (w) {
    const value = valueOf(w, "x")
    yield* value.write("1")
    yield* value.write("2")
    const watched = yield* open(value.watch())
    yield* watched.next
    yield* value.remove
    assert.deepEqual(said(yield* watched.next), [3n, "", true, 2n, "2"])
    yield* value.write("4")
    assert.deepEqual(said(yield* watched.next), [4n, "4", false, 3n, ""])
    yield* watched.silent
  }),

  scenario("RUL-WATCH-1", "P1", "a tombstone comes first to who watches from 0, with its predecessor", function* (w) {
    const value = valueOf(w, "x")
    yield* value.write("1")
    yield* value.remove
    const watched = yield* open(value.watch())
    assert.deepEqual(said(yield* watched.next), [2n, "", true, 1n, "1"])
    yield* value.write("3")
    assert.deepEqual(said(yield* watched.next), [3n, "3", false, 2n, ""])
  }),

  scenario("RUL-WATCH-2", "P1", "a key that is not there is silence until it is written", function* (w) {
    const value = valueOf(w, "x")
    const watched = yield* open(value.watch())
    const other = valueOf(w, "other")
    const seesOther = yield* open(other.watch())
    yield* other.write("1")
    yield* seesOther.next
    yield* watched.silent
    yield* value.write("1", 0n)
    assert.deepEqual(said(yield* watched.next), [1n, "1", false, 0n, ""])
  }),

  scenario("RUL-WATCH-3", "P0", "300 quick changes reach three watchers, each once, in order", function* (w) {
    const value = valueOf(w, "x")
    yield* value.write("1")
    const watching = yield* Effect.forkScoped(
      Effect.all(
        [0n, 1n, 1n].map((from) => collect(value.watch(from), upTo(301n))),
        { concurrency: "unbounded" }
      )
    )
    yield* Effect.forEach(
      Array.from({ length: 300 }, (_, n) => n),
      (n) => value.write(`"${n}"`),
      { concurrency: 16 }
    )
    const all = yield* Fiber.join(watching)
    const history = (yield* collect(value.watch(1n), upTo(301n))).map(said)
    assert.deepEqual(
      history.map(([version]) => version),
      Array.from({ length: 300 }, (_, nth) => BigInt(nth + 2))
    )
    for (const events of all) {
      const [first, ...later] = events.map(said)
      assert.deepEqual(later, history.slice(-later.length))
      assert.equal(record(first)[0] + BigInt(later.length), 301n)
    }
    let [version, text] = [1n, "1"]
    for (const event of history) {
      assert.deepEqual(event.slice(3), [version, text])
      ;[version, text] = [event[0], event[1]]
    }
  }),

  scenario("RUL-WATCH-4", "P1", "a change is seen within 50 ms of its commit", function* (w) {
    const value = valueOf(w, "x")
    const watched = yield* open(value.watch())
    const round = Effect.gen(function* () {
      const waits: Array<number> = []
      for (let n = 0; n < 9; n++) {
        yield* value.write(`${n}`)
        const committed = Date.now()
        yield* watched.next
        waits.push(Date.now() - committed)
      }
      return waits.toSorted((a, b) => a - b)[4] ?? 0
    })
    // the median, and again if the machine had other things to do
    yield* eventually("half of the changes are seen within 50 ms", round, (median) => median <= 50)
  }),

  scenario("RUL-WATCH-5", "P1", "a watcher that stops holds no one up, and a slow one misses nothing", function* (w) {
    const value = valueOf(w, "x")
    yield* value.write("1")
    assert.deepEqual((yield* collect(value.watch(), () => true)).map(said), [[1n, "1", false, 0n, ""]])
    const slow = yield* open(Stream.rechunk(value.watch(1n), 1).pipe(Stream.tap(() => Effect.sleep("2 millis"))))
    for (let n = 2; n <= 60; n++) yield* value.write(`${n}`)
    for (let version = 2n; version <= 60n; version++) {
      assert.deepEqual(said(yield* slow.next), [version, `${version}`, false, version - 1n, `${version - 1n}`])
    }
  })
]
