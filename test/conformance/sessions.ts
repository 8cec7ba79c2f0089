/** Section M: sessions. */
import * as assert from "node:assert/strict"
import type { MessageInitShape } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type { EventRecordSchema } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { record, seen, type World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

/** The calls on one session of the scenario's own app. */
export const sessionOf = ({ app, tape }: World, sessionId: string, userId = "u") => {
  const key = { appName: app, userId, sessionId }
  return {
    key,
    create: (stateJson = "") => tape.createSession({ ...key, stateJson }),
    append: (event: MessageInitShape<typeof EventRecordSchema>, stateDeltaJson = "") =>
      tape.appendEvent({ ...key, event, stateDeltaJson }),
    find: (maxEvents = 0n) => tape.getSession({ ...key, maxEvents }),
    get: (maxEvents = 0n) => Effect.map(tape.getSession({ ...key, maxEvents }), ({ session }) => record(session)),
    remove: tape.deleteSession(key)
  }
}

const full = {
  id: "e1",
  invocationId: "inv",
  author: "agent é",
  branch: "main",
  contentJson: '{ "parts":[{"text":"hi"}] }',
  actionsJson: '{"stateDelta":{}}',
  timestampMs: 1234n
}

const ids = (session: { readonly events: ReadonlyArray<{ readonly id: string }> }) =>
  session.events.map((event) => event.id)

export const sessions: ReadonlyArray<Scenario> = [
  scenario("SES-01", "P0", "an event is kept whole, its delta merged into the state", function* (w) {
    const session = sessionOf(w, "s")
    const created = yield* session.create('{"k":1}')
    assert.deepEqual([created.sessionId, created.stateJson, created.events], ["s", '{"k":1}', []])
    const { timestampMs: _, ...untimed } = full
    const appended = yield* session.append(untimed, '{"k":2,"n":3}')
    const event = record(appended.event)
    assert.ok(event.timestampMs > 0n)
    const found = yield* session.find()
    assert.equal(found.found, true)
    const got = record(found.session)
    assert.deepEqual([got.appName, got.userId, got.sessionId], [w.app, "u", "s"])
    const { $typeName: _name, ...stored } = record(got.events[0])
    assert.deepEqual([got.events.length, stored], [1, { ...untimed, timestampMs: event.timestampMs }])
    assert.deepEqual(JSON.parse(got.stateJson), { k: 2, n: 3 })
    assert.ok(got.lastUpdateTimeMs >= event.timestampMs)
    assert.equal(appended.lastUpdateTimeMs, got.lastUpdateTimeMs)
  }),

  scenario("SES-02", "P1", "ids are made, unknown sessions not found, and made by their first event", function* (w) {
    const { appName, userId } = sessionOf(w, "").key
    const made = yield* Effect.all([
      w.tape.createSession({ appName, userId }),
      w.tape.createSession({ appName, userId })
    ])
    assert.equal(new Set(made.map((session) => session.sessionId)).size, 2)
    assert.match(made[0].sessionId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.equal(made[0].stateJson, "{}")
    const missing = sessionOf(w, "missing")
    const unknown = yield* missing.find()
    assert.deepEqual([unknown.found, unknown.session], [false, undefined])
    yield* missing.append(full, '{"a":1}')
    const session = yield* missing.get()
    assert.deepEqual([ids(session), session.stateJson], [["e1"], '{"a":1}'])
    assert.equal(session.events[0]?.timestampMs, 1234n, "the event's own time is kept")
    yield* refused(w.tape.appendEvent({ ...missing.key }), "InvalidRequest", "event")
  }),

  scenario("SES-06", "P0", "listing is exact and without events; deleting is true once", function* (w) {
    const [one, two] = [sessionOf(w, "1"), sessionOf(w, "2")]
    const [other, nobody] = [sessionOf(w, "1", "other"), sessionOf(w, "1", "")]
    for (const session of [one, other, nobody]) yield* session.append(full)
    yield* two.append({ id: "e2", timestampMs: 99_999n })
    const list = (userId: string) =>
      Effect.map(w.tape.listSessions({ appName: w.app, userId }), (listed) => listed.sessions)
    const mine = yield* list("u")
    assert.deepEqual(
      mine.map((session) => [session.userId, session.sessionId, session.events]),
      [
        ["u", "2", []],
        ["u", "1", []]
      ],
      "the one that changed last comes first"
    )
    assert.deepEqual((yield* list("")).length, 1, "an empty user is a user")
    assert.deepEqual(yield* list("nobody else"), [])
    assert.equal((yield* one.remove).deleted, true)
    assert.equal((yield* one.remove).deleted, false)
    assert.equal((yield* one.find()).found, false)
    assert.equal((yield* list("u")).length, 1)
    yield* one.append({ id: "e9" })
    assert.deepEqual(ids(yield* one.get()), ["e9"], "the events of the deleted one are gone for good")
    assert.deepEqual(ids(yield* other.get()), ["e1"])
  }),

  scenario("SES-07", "P1", "an appended event is on the bus, without its content", function* (w) {
    const from = yield* w.position
    const session = sessionOf(w, "s 1", "")
    yield* session.append({ ...full, contentJson: '"secret"' }, '{"secret":1}')
    const subject = `/tape/event/appended/${w.app}/_/s%201`
    const [entry] = yield* w.bySubject(`/tape/event/appended/${w.app}/**`, from, () => true)
    const { kind, payload, ...rest } = seen(record(entry))
    assert.deepEqual([kind, rest.subject], ["event", subject])
    assert.deepEqual(payload, { author: "agent é", event_id: "e1", invocation_id: "inv" })
    assert.equal(entry?.runId, "")
    assert.ok(rest.seq > 0n)
  }),

  scenario("RUL-SES-1", "P0", "an event id that is stored is answered as it is, once and for all", function* (w) {
    const from = yield* w.position
    const session = sessionOf(w, "s")
    const first = yield* session.append(full, '{"n":1}')
    const again = yield* session.append({ ...full, author: "another", timestampMs: 9999n }, '{"n":2}')
    assert.deepEqual(again, first)
    assert.deepEqual(yield* session.append(full, '{"n":3}'), first, "an exact repeat, too")
    const racing = yield* w.race(16, (n) => session.append({ id: "raced", author: `a${n}` }, `{"by":${n}}`))
    const authors = racing.map((outcome) => (outcome._tag === "Right" ? outcome.right.event?.author : outcome.left))
    assert.equal(new Set(authors).size, 1)
    const got = yield* session.get()
    assert.deepEqual(ids(got), ["e1", "raced"])
    assert.deepEqual(JSON.parse(got.stateJson), { n: 1, by: Number(String(authors[0]).slice(1)) })
    yield* session.append({ id: "last" })
    const entries = yield* w.bySubject(
      `/tape/event/appended/${w.app}/**`,
      from,
      (entry) => seen(entry).payload["event_id"] === "last"
    )
    assert.equal(entries.length, 3)
    const elsewhere = sessionOf(w, "elsewhere")
    yield* elsewhere.append({ ...full, author: "me" })
    assert.equal((yield* elsewhere.get()).events[0]?.author, "me", "ids are unique within their session")
  }),

  scenario("RUL-SES-2", "P0", "events without an id are all kept", function* (w) {
    const session = sessionOf(w, "s")
    for (const author of ["a", "b", "b"]) yield* session.append({ author })
    assert.deepEqual(
      (yield* session.get()).events.map((event) => event.author),
      ["a", "b", "b"]
    )
  }),

  scenario("RUL-SES-3", "P0", "max_events keeps the last n, in order", function* (w) {
    const session = sessionOf(w, "s")
    for (let n = 1; n <= 12; n++) yield* session.append({ id: `${n}` })
    assert.deepEqual(ids(yield* session.get(3n)), ["10", "11", "12"])
    assert.deepEqual(ids(yield* session.get(1n)), ["12"])
    assert.equal((yield* session.get(100n)).events.length, 12)
    for (const all of [0n, -1n]) assert.equal((yield* session.get(all)).events.length, 12)
  }),

  scenario(
    "RUL-SES-4",
    "P0",
    "creating again: a state replaces, none leaves what is there; events stay",
    function* (w) {
      const session = sessionOf(w, "s")
      yield* session.create('{"k":1}')
      yield* session.append(full, '{"n":2}')
      const kept = yield* session.create("")
      assert.deepEqual(JSON.parse(kept.stateJson), { k: 1, n: 2 })
      assert.deepEqual(kept.events, [])
      assert.deepEqual(ids(yield* session.get()), ["e1"])
      const replaced = yield* session.create('{ "z":1.0 }')
      assert.equal(replaced.stateJson, '{ "z":1.0 }', "kept as it came")
      const got = yield* session.get()
      assert.deepEqual([got.stateJson, ids(got)], ['{ "z":1.0 }', ["e1"]])
    }
  ),

  scenario("RUL-SES-5", "P0", "state is merged as text: numbers survive, keys are sorted", function* (w) {
    const session = sessionOf(w, "s")
    yield* session.create('{"z":1.0, "big":9007199254740993, "gone":1, "deep":{"b":1,"a":2.50}}')
    const steps = [
      ['{"e":1e400, "gone":null}', '{"big":9007199254740993,"deep":{"b":1,"a":2.50},"e":1e400,"z":1.0}'],
      [
        '{"deep":{"c":18446744073709551615}}',
        '{"big":9007199254740993,"deep":{"c":18446744073709551615},"e":1e400,"z":1.0}'
      ],
      ["", '{"big":9007199254740993,"deep":{"c":18446744073709551615},"e":1e400,"z":1.0}'],
      ['{"absent":null}', '{"big":9007199254740993,"deep":{"c":18446744073709551615},"e":1e400,"z":1.0}'],
      ['{"z":-0.0,"big":null,"e":null,"deep":null,"é😀":"\\u00e9"}', '{"z":-0.0,"é😀":"\\u00e9"}'],
      ["[1,2]", '{"z":-0.0,"é😀":"\\u00e9"}'],
      ['{"app:a":1,"user:b":2,"temp:c":3}', '{"app:a":1,"temp:c":3,"user:b":2,"z":-0.0,"é😀":"\\u00e9"}']
    ] as const
    for (const [nth, [delta, expected]] of steps.entries()) {
      yield* session.append({ id: `e${nth}` }, delta)
      assert.equal((yield* session.get()).stateJson, expected, `after ${delta}`)
    }
  }),

  scenario("RUL-SES-6", "P1", "a delta that is no JSON is refused, and changes nothing", function* (w) {
    const session = sessionOf(w, "s")
    yield* session.append({ id: "1" }, '{"a":1}')
    for (const delta of ["{", "nonsense", '{"a":01}', "{'a':1}", '{"a":1} x']) {
      yield* refused(session.append({ id: "2" }, delta), "InvalidRequest", "state_delta_json")
    }
    const got = yield* session.get()
    assert.deepEqual([ids(got), got.stateJson], [["1"], '{"a":1}'])
    const list = sessionOf(w, "list")
    yield* list.create("[1]")
    yield* list.append({ id: "1" }, '{"a":1}')
    assert.equal((yield* list.get()).stateJson, "[1]", "what is no object keeps its content")
  }),

  scenario("RUL-SES-7", "P0", "32 racing appends lose no event and no delta", function* (w) {
    const session = sessionOf(w, "s")
    const outcomes = yield* w.race(32, (n) => session.append({ id: `e${n}` }, `{"k${n}":${n}}`))
    assert.ok(outcomes.every((outcome) => outcome._tag === "Right"))
    const got = yield* session.get()
    assert.deepEqual(ids(got).toSorted(), Array.from({ length: 32 }, (_, n) => `e${n}`).toSorted())
    assert.equal(Object.keys(JSON.parse(got.stateJson)).length, 32)
  })
]
