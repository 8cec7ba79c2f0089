/** Section C: inline effects, their keys and their short-circuit. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { EffectDispatchMode, EffectSemantics, EffectStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { type Scenario, scenario } from "./Scenario.js"

const { CONFIRMED, FAILED, PENDING, UNKNOWN } = EffectStatus

export const effects: ReadonlyArray<Scenario> = [
  scenario("EFF-01", "P0", "a begun effect is PENDING under its derived key", function* (w) {
    const runId = yield* w.run("a")
    yield* w.decide(runId, 0)
    const begun = yield* w.effect(runId, 0, "execute_sweep", 0)
    assert.equal(begun.status, PENDING)
    assert.equal(begun.idempotencyKey, `${runId}/decision-0/execute_sweep/0`)
  }),

  scenario("EFF-02", "P0", "beginning it again is the same row", function* (w) {
    const runId = yield* w.run("a")
    const first = yield* w.effect(runId, 0, "execute_sweep", 0)
    assert.deepEqual(yield* w.effect(runId, 0, "execute_sweep", 0), first)
    const { effects } = yield* w.tape.listPendingEffects({ limit: 10_000n })
    assert.equal(effects.filter((effect) => effect.runId === runId).length, 1)
  }),

  scenario("EFF-03", "P0", "a confirmed effect short-circuits with its response", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0)
    yield* w.confirm(runId, idempotencyKey, '{"wire_id":"w1"}')
    const again = yield* w.effect(runId, 0, "t", 0)
    assert.deepEqual([again.status, again.responseJson], [CONFIRMED, '{"wire_id":"w1"}'])
    const stored = yield* w.getEffect(runId, idempotencyKey)
    assert.deepEqual([stored.status, stored.responseJson], [CONFIRMED, '{"wire_id":"w1"}'])
  }),

  scenario("EFF-04", "P0", "FAILED and UNKNOWN short-circuit with their error", function* (w) {
    const runId = yield* w.run("a")
    for (const status of [FAILED, UNKNOWN]) {
      const { idempotencyKey } = yield* w.effect(runId, 0, "t", status)
      yield* w.complete(runId, idempotencyKey, status, "", '{"e":1}')
      const again = yield* w.effect(runId, 0, "t", status)
      assert.deepEqual([again.status, again.errorJson, again.responseJson], [status, '{"e":1}', ""])
    }
  }),

  scenario("EFF-05", "P0", "the first outcome stands", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0)
    const first = yield* w.confirm(runId, idempotencyKey, '{"is":"A"}')
    const late = yield* w.journaledBy(runId, w.complete(runId, idempotencyKey, FAILED, "", "{}"))
    assert.deepEqual(late.answer, first)
    assert.deepEqual(yield* w.getEffect(runId, idempotencyKey), first)
    assert.deepEqual(late.entries, [])
  }),

  scenario("EFF-06", "P0", "the key names the decision, not the arguments", function* (w) {
    const runId = yield* w.run("a")
    const first = yield* w.effect(runId, 0, "wire", 0, { requestJson: '{"amount":100}' })
    const again = yield* w.effect(runId, 0, "wire", 0, { requestJson: '{"amount":250}' })
    assert.deepEqual([again.idempotencyKey, again.seq], [first.idempotencyKey, first.seq])
    assert.equal((yield* w.getEffect(runId, first.idempotencyKey)).requestJson, '{"amount":100}')
  }),

  scenario("EFF-07", "P0", "call index, tool and decision each make a key of their own", function* (w) {
    const runId = yield* w.run("a")
    const begun = [
      yield* w.effect(runId, 0, "t", 0),
      yield* w.effect(runId, 0, "t", 1),
      yield* w.effect(runId, 0, "u", 0),
      yield* w.effect(runId, 1, "t", 0)
    ]
    assert.equal(new Set(begun.map((effect) => effect.idempotencyKey)).size, 4)
    assert.equal(new Set(begun.map((effect) => effect.seq)).size, 4)
  }),

  scenario("EFF-09", "P1", "calls on a key that was never begun", function* (w) {
    const runId = yield* w.run("a")
    const key = "never-begun"
    yield* refused(w.confirm(runId, key), "PreconditionFailed")
    yield* refused(
      w.tape.reconcileEffect({ runId, idempotencyKey: key, resolvedStatus: CONFIRMED }),
      "NotFound",
      "effect"
    )
    yield* refused(w.attempt(runId, key, "e", 0n), "NotFound", "effect")
    yield* refused(w.observe(runId, key, 1), "NotFound", "effect")
    const { effect, found } = yield* w.tape.getEffect({ runId, idempotencyKey: key })
    assert.deepEqual([found, effect], [false, undefined])
  }),

  scenario("EFF-10", "P0", "a NON_IDEMPOTENT effect is refused inline", function* (w) {
    const runId = yield* w.run("a")
    for (const dispatchMode of [EffectDispatchMode.INLINE, EffectDispatchMode.UNSPECIFIED]) {
      const call = w.effect(runId, 0, "t", 0, { semantics: EffectSemantics.NON_IDEMPOTENT, dispatchMode })
      yield* refused(call, "InvalidRequest", "NON_IDEMPOTENT", "OUTBOX")
    }
    const key = `${runId}/decision-0/t/0`
    assert.equal((yield* w.tape.getEffect({ runId, idempotencyKey: key })).found, false)
  }),

  scenario("EFF-11", "P0", "OUTBOX needs a connector", function* (w) {
    const runId = yield* w.run("a")
    const call = w.effect(runId, 0, "t", 0, { dispatchMode: EffectDispatchMode.OUTBOX })
    yield* refused(call, "InvalidRequest", "connector")
    const key = `${runId}/decision-0/t/0`
    assert.equal((yield* w.tape.getEffect({ runId, idempotencyKey: key })).found, false)
  }),

  scenario("EFF-12", "P0", "business_key needs a connector", function* (w) {
    const runId = yield* w.run("a")
    const call = w.effect(runId, 0, "t", 0, { businessKey: "acct:1" })
    yield* refused(call, "InvalidRequest", "business_key requires connector")
    const key = `${runId}/decision-0/t/0`
    assert.equal((yield* w.tape.getEffect({ runId, idempotencyKey: key })).found, false)
  }),

  scenario("EFF-13", "P0", "one business key is one row over runs", function* (w) {
    const [first, second] = [yield* w.run("1"), yield* w.run("2")]
    const begun = yield* w.out(first, "acct:1000:d1")
    const hit = yield* w.out(second, "acct:1000:d1")
    assert.deepEqual([hit.idempotencyKey, hit.seq], [begun.idempotencyKey, begun.seq])
    assert.equal((yield* w.dispatchable()).length, 1)
  }),

  scenario("EFF-15", "P0", "32 runs racing for one business key share one row", function* (w) {
    const runIds = yield* Effect.all(
      Array.from({ length: 32 }, (_, n) => w.run(`${n}`)),
      { concurrency: "unbounded" }
    )
    const outcomes = yield* w.race(32, (n) => w.out(runIds[n] ?? "", "acct:1000:d1"))
    const keys = outcomes.map((outcome) =>
      outcome._tag === "Right" ? outcome.right.idempotencyKey : assert.fail(outcome.left.message)
    )
    assert.equal(new Set(keys).size, 1)
    assert.equal((yield* w.dispatchable()).length, 1)
  })
]
