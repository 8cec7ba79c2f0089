/**
 * Section I: timers. They are set in 1970 and asked for with `now_ms`, so that a claim in a shared store takes nobody's
 * real timers.
 */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { RunStatus } from "effect-tape/proto"
import { eventually, refused } from "./Expect.js"
import { record, type World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

/** The timers due at `nowMs`, of one run, in the order they were listed. */
const due = (w: World, runId: string, nowMs: bigint, options: { readonly claim?: boolean } = {}) =>
  Effect.map(w.tape.listDueTimers({ nowMs, limit: 10_000n, ...options }), ({ timers }) =>
    timers.filter((timer) => timer.runId === runId)
  )

const ids = (timers: ReadonlyArray<{ readonly timerId: string }>) => timers.map((timer) => timer.timerId)

const set = (w: World, runId: string, timerId: string, fireAtMs: bigint, kind = "k", payloadJson = "{}") =>
  w.tape.setTimer({ runId, timerId, fireAtMs, kind, payloadJson })

export const timers: ReadonlyArray<Scenario> = [
  scenario("TMR-01", "P0", "a due timer is claimed once; the next comes when it is due", function* (w) {
    const runId = yield* w.run("a")
    yield* set(w, runId, "t1", 9_000n)
    yield* set(w, runId, "t2", 70_000n)
    const claimed = yield* due(w, runId, 10_000n, { claim: true })
    assert.deepEqual(
      claimed.map((timer) => [timer.timerId, timer.fired]),
      [["t1", true]]
    )
    assert.deepEqual(ids(yield* due(w, runId, 10_000n)), [])
    assert.deepEqual(ids(yield* due(w, runId, 71_000n)), ["t2"])
  }),

  scenario("TMR-03", "P0", "SetTimer is an upsert that re-arms", function* (w) {
    const runId = yield* w.run("a")
    const first = yield* set(w, runId, "t1", 12_345n)
    yield* eventually("the clock goes on", w.now, (now) => now > first.createdAtMs)
    const second = yield* set(w, runId, "t1", 99_999n, "k2", '{"p": 2}')
    assert.equal(second.createdAtMs, first.createdAtMs)
    assert.deepEqual(ids(yield* due(w, runId, 99_998n)), [])
    const [timer, ...others] = yield* due(w, runId, 99_999n, { claim: true })
    assert.deepEqual(others, [])
    assert.deepEqual(
      [timer?.fireAtMs, timer?.kind, timer?.payloadJson, timer?.createdAtMs],
      [99_999n, "k2", '{"p": 2}', first.createdAtMs]
    )
    assert.deepEqual(ids(yield* due(w, runId, 99_999n)), [])
    const armed = yield* set(w, runId, "t1", 50_000n)
    assert.equal(armed.fired, false)
    assert.deepEqual(ids(yield* due(w, runId, 50_000n, { claim: true })), ["t1"])
  }),

  scenario("TMR-04", "P1", "an empty timer id is given one, a new one each time", function* (w) {
    const runId = yield* w.run("a")
    const generated = [yield* set(w, runId, "", 1n), yield* set(w, runId, "", 1n)]
    const [one, two] = ids(generated)
    assert.notEqual(one, two)
    for (const id of [one, two]) {
      assert.match(id ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    }
    assert.deepEqual(ids(yield* due(w, runId, 1n, { claim: true })).toSorted(), [one, two].toSorted())
  }),

  scenario("TMR-05", "P1", "CancelTimer: pending, again, fired", function* (w) {
    const runId = yield* w.run("a")
    yield* set(w, runId, "pending", 1n)
    yield* set(w, runId, "fired", 1n)
    const cancel = (timerId: string) => Effect.map(w.tape.cancelTimer({ runId, timerId }), (answer) => answer.cancelled)
    assert.equal(yield* cancel("pending"), true)
    assert.equal(yield* cancel("pending"), false)
    assert.deepEqual(ids(yield* due(w, runId, 1n, { claim: true })), ["fired"])
    assert.equal(yield* cancel("fired"), false)
    assert.deepEqual(ids(yield* due(w, runId, 1_000_000n)), [])
    assert.equal((yield* w.tape.cancelTimer({ runId: `no-such-run-${w.id}`, timerId: "t" })).cancelled, false)
  }),

  scenario("RUL-TMR-1", "P0", "due is inclusive, earliest first, and a plain look takes nothing", function* (w) {
    const runId = yield* w.run("a")
    for (const at of [300n, 100n, 200n]) yield* set(w, runId, `at-${at}`, at)
    assert.deepEqual(ids(yield* due(w, runId, 99n)), [])
    assert.deepEqual(ids(yield* due(w, runId, 100n)), ["at-100"])
    for (let n = 0; n < 2; n++) {
      const looked = yield* due(w, runId, 300n)
      assert.deepEqual(ids(looked), ["at-100", "at-200", "at-300"])
      assert.ok(looked.every((timer) => !timer.fired))
    }
    assert.deepEqual(ids(yield* due(w, runId, 300n, { claim: true })), ["at-100", "at-200", "at-300"])
  }),

  scenario("RUL-TMR-2", "P0", "8 racing claimers share no timer and leave none", function* (w) {
    const runId = yield* w.run("a")
    for (let n = 0; n < 40; n++) yield* set(w, runId, `t${n}`, 1n)
    const outcomes = yield* w.race(8, () => due(w, runId, 1n, { claim: true }))
    const claimed = outcomes.flatMap((outcome) => (outcome._tag === "Right" ? ids(outcome.right) : []))
    assert.equal(claimed.length, 40)
    assert.equal(new Set(claimed).size, 40)
  }),

  scenario("RUL-TMR-3", "P0", "a timer needs a run, and a new one an unfinished run", function* (w) {
    yield* refused(set(w, `no-such-run-${w.id}`, "t", 1n), "NotFound")
    for (const status of [RunStatus.TERMINAL, RunStatus.STUCK, RunStatus.CANCELLED]) {
      const runId = yield* w.run(`ended-${status}`)
      yield* set(w, runId, "old", 1n)
      yield* w.endRun(runId, status)
      yield* refused(set(w, runId, "new", 1n), "PreconditionFailed")
      assert.equal((yield* set(w, runId, "old", 1n)).timerId, "old")
      assert.deepEqual(ids(yield* due(w, runId, 1n)), ["old"])
      assert.equal((yield* w.tape.cancelTimer({ runId, timerId: "old" })).cancelled, true)
    }
  }),

  scenario("RUL-TMR-4", "P1", "timers journal nothing, and every field reads back", function* (w) {
    const runId = yield* w.run("a")
    const before = yield* w.now
    const { answer, entries } = yield* w.journaledBy(runId, set(w, runId, "t", 7n, "redrive", '{ "a":1.0 }'))
    assert.deepEqual(entries, [])
    assert.deepEqual(
      [answer.runId, answer.timerId, answer.fireAtMs, answer.kind, answer.payloadJson, answer.fired],
      [runId, "t", 7n, "redrive", '{ "a":1.0 }', false]
    )
    assert.ok(answer.createdAtMs >= before)
    const claiming = w.journaledBy(runId, due(w, runId, 7n, { claim: true }))
    const claimed = yield* claiming
    assert.deepEqual(claimed.entries, [])
    assert.equal(record(claimed.answer[0]).payloadJson, '{ "a":1.0 }')
  }),

  scenario("RUL-TMR-5", "P1", "without now_ms the server's clock decides", function* (w) {
    const runId = yield* w.run("a")
    const now = yield* w.now
    yield* set(w, runId, "past", now - 1000n)
    yield* set(w, runId, "future", now + 60_000n)
    assert.deepEqual(ids(yield* due(w, runId, 0n)), ["past"])
    yield* w.tape.cancelTimer({ runId, timerId: "past" })
    yield* w.tape.cancelTimer({ runId, timerId: "future" })
  })
]
