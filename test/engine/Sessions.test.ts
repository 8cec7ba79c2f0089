import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, FastCheck, Stream, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { tapeOverStore as tape } from "./ledgerFixtures.js"

const session = { appName: "app", userId: "u", sessionId: "s" }

const create = (stateJson: string) =>
  Effect.flatMap(TapeClient, (tape) => tape.createSession({ ...session, stateJson }))

const append = (id: string, stateDeltaJson = "", timestampMs = 0n) =>
  Effect.flatMap(TapeClient, (tape) => tape.appendEvent({ ...session, event: { id, timestampMs }, stateDeltaJson }))

const state = Effect.flatMap(TapeClient, (tape) => tape.getSession(session)).pipe(
  Effect.map(({ session }) => session?.stateJson)
)

const eventIds = (maxEvents: bigint) =>
  Effect.flatMap(TapeClient, (tape) => tape.getSession({ ...session, maxEvents })).pipe(
    Effect.map(({ session }) => session?.events.map(({ id }) => id))
  )

const merged = (before: string, delta: string) =>
  Effect.gen(function* () {
    yield* create(before)
    yield* append("", delta)
    return yield* state
  })

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The merge as the contract tells it, over parsed values. */
const modelMerge = (before: string, delta: string): unknown => {
  const state: unknown = JSON.parse(before)
  const change: unknown = JSON.parse(delta)
  if (!isObject(state) || !isObject(change)) {
    return state
  }
  const entries = new Map([...Object.entries(state), ...Object.entries(change)])
  return Object.fromEntries([...entries].filter(([name, value]) => value !== null || !Object.hasOwn(change, name)))
}

describe("a session's state", () => {
  it.effect("numbers keep the form and every digit that they were written with", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* merged('{"big":9223372036854775807,"z":1.0}', ' { "a" : [ 1.0 , -0 , 1E5 ] , "one":1.0, "gone":null } '),
        '{"a":[1.0,-0,1E5],"big":9223372036854775807,"one":1.0,"z":1.0}'
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("a member is replaced whole, null removes it, and braces in strings are only text", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* merged(
          '{"a":{"x":1,"y":2},"b":"}{,\\"","c":1}',
          '{"a":{"x":null},"c":null,"d":null,"__proto__":{"e":1}}'
        ),
        '{"__proto__":{"e":1},"a":{"x":null},"b":"}{,\\""}'
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("is stored as it was given until an event comes, and an event without a delta only orders it", () =>
    Effect.gen(function* () {
      yield* create(' {"b":1, "a":2} ')
      assert.strictEqual(yield* state, ' {"b":1, "a":2} ')
      yield* append("1")
      assert.strictEqual(yield* state, '{"a":2,"b":1}')
    }).pipe(Effect.provide(tape))
  )

  it.effect("what is JSON but no object changes nothing and is not changed", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* merged('{"a":1}', "[1]"), '{"a":1}')
      assert.strictEqual(yield* merged("[1, 2]", '{"a":1}'), "[1,2]")
    }).pipe(Effect.provide(tape))
  )

  it.effect("what is not JSON is refused, and then nothing was appended", () =>
    Effect.gen(function* () {
      yield* create("{}")
      assert.strictEqual((yield* Effect.flip(append("1", "{a:1}")))._tag, "InvalidRequest")
      yield* create("not json")
      assert.strictEqual((yield* Effect.flip(append("2", "{}")))._tag, "InvalidRequest")
      assert.deepStrictEqual(yield* eventIds(0n), [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("nesting of any depth is no danger", () =>
    Effect.gen(function* () {
      const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`
      assert.strictEqual(yield* merged("{}", `{"deep":${deep}}`), `{"deep":${deep}}`)
    }).pipe(Effect.provide(tape))
  )

  const object = FastCheck.dictionary(FastCheck.string(), FastCheck.jsonValue())
  const pretty = FastCheck.tuple(
    FastCheck.oneof(object, FastCheck.jsonValue()),
    FastCheck.integer({ min: 0, max: 3 })
  ).map(([value, indent]) => JSON.stringify(value, null, indent))
  it.effect("merges as parsed values would, whatever the text", () =>
    Effect.gen(function* () {
      const cases = FastCheck.sample(FastCheck.tuple(pretty, pretty), { numRuns: 500, seed: 7 })
      for (const [before, delta] of cases) {
        const text = yield* merged(before, delta)
        const expected = modelMerge(before, delta)
        assert.deepStrictEqual(JSON.parse(text ?? ""), expected, `${before} + ${delta}`)
        if (isObject(expected)) {
          assert.deepStrictEqual(Object.keys(JSON.parse(text ?? "")).toSorted(), Object.keys(expected).toSorted())
        }
      }
    }).pipe(Effect.provide(tape))
  )
})

describe("a session's events", () => {
  it.effect("max_events keeps the last ones, in order", () =>
    Effect.gen(function* () {
      for (const id of ["1", "2", "3", "4"]) {
        yield* append(id)
      }
      assert.deepStrictEqual(yield* eventIds(2n), ["3", "4"])
      assert.deepStrictEqual(yield* eventIds(9n), ["1", "2", "3", "4"])
      assert.deepStrictEqual(yield* eventIds(-1n), ["1", "2", "3", "4"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("an event that is stored already is answered, and merges and journals nothing", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* TestClock.setTime(1_000)
      const first = yield* append("e", '{"n":1}', 500n)
      yield* TestClock.setTime(2_000)
      assert.deepStrictEqual(yield* append("e", '{"n":2}', 900n), first)
      assert.strictEqual(yield* state, '{"n":1}')
      yield* append("f")
      const entries = yield* tape.subscribeEvents({ kind: "event" }).pipe(Stream.take(2), Stream.runCollect)
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(entries).map(({ payloadJson, runId, seq, subject }) => [
          runId,
          seq,
          subject,
          payloadJson
        ]),
        [
          ["", 1n, "/tape/event/appended/app/u/s", '{"author":"","event_id":"e","invocation_id":""}'],
          ["", 2n, "/tape/event/appended/app/u/s", '{"author":"","event_id":"f","invocation_id":""}']
        ]
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("events without an id are never taken for one another", () =>
    Effect.gen(function* () {
      yield* append("")
      yield* append("")
      assert.deepStrictEqual(yield* eventIds(0n), ["", ""])
    }).pipe(Effect.provide(tape))
  )

  it.effect("of a hundred appenders at once each has its event and its delta", () =>
    Effect.gen(function* () {
      const names = Array.from({ length: 100 }, (_, index) => `${index}`)
      yield* Effect.forEach(names, (name) => append(name, `{"${name}":${name}}`), { concurrency: "unbounded" })
      assert.sameMembers([...((yield* eventIds(0n)) ?? [])], names)
      assert.sameMembers(Object.keys(JSON.parse((yield* state) ?? "")), names)
    }).pipe(Effect.provide(tape))
  )

  it.effect("no event is missing: it is refused", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const error = yield* Effect.flip(tape.appendEvent(session))
      assert.strictEqual(error._tag, "InvalidRequest")
      assert.isFalse((yield* tape.getSession(session)).found)
    }).pipe(Effect.provide(tape))
  )
})

describe("sessions", () => {
  it.effect("making one that exists without a state leaves the state alone, and the events always", () =>
    Effect.gen(function* () {
      yield* create('{"a":1}')
      yield* append("1")
      assert.strictEqual((yield* create("")).stateJson, '{"a":1}')
      assert.strictEqual((yield* create('{"b":1}')).stateJson, '{"b":1}')
      assert.deepStrictEqual(yield* eventIds(0n), ["1"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("a session made anew after it was deleted has none of the old events, and may repeat their ids", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* append("1", '{"a":1}')
      assert.isTrue((yield* tape.deleteSession(session)).deleted)
      assert.isFalse((yield* tape.deleteSession(session)).deleted)
      yield* append("1", '{"b":1}')
      assert.deepStrictEqual(yield* eventIds(0n), ["1"])
      assert.strictEqual(yield* state, '{"b":1}')
    }).pipe(Effect.provide(tape))
  )

  it.effect("the list has exactly this user's sessions, the one that changed last first", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      for (const [index, sessionId] of ["a", "b", "c"].entries()) {
        yield* TestClock.setTime(index * 1_000)
        yield* tape.createSession({ appName: "app", userId: "u", sessionId })
      }
      yield* tape.createSession({ appName: "app", userId: "", sessionId: "nobody's" })
      yield* TestClock.setTime(9_000)
      yield* tape.appendEvent({ appName: "app", userId: "u", sessionId: "a", event: { id: "1" } })
      const ids = (userId: string) =>
        Effect.map(tape.listSessions({ appName: "app", userId }), ({ sessions }) =>
          sessions.map(({ events, sessionId }) => `${sessionId} ${events.length}`)
        )
      assert.deepStrictEqual(yield* ids("u"), ["a 0", "c 0", "b 0"])
      assert.deepStrictEqual(yield* ids(""), ["nobody's 0"])
    }).pipe(Effect.provide(tape))
  )
})
