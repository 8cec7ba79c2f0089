/** Section B: the decision ledger. */
import * as assert from "node:assert/strict"
import { RunStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { record } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

export const decisions: ReadonlyArray<Scenario> = [
  scenario("DEC-01", "P0", "a decision reads back byte-equal", function* (w) {
    const runId = yield* w.run("a")
    const said = {
      model: "m-é",
      requestJson: '{"q": 1}',
      responseJson: '{ "a":[ ] }',
      rationale: "why\n",
      policyVersion: "p9"
    }
    const recorded = yield* w.decide(runId, 0, said)
    const { decision, found } = yield* w.tape.getDecision({ runId, decisionIndex: 0n })
    assert.equal(found, true)
    assert.deepEqual(decision, recorded)
    const { model, policyVersion, rationale, requestJson, responseJson, seq, tsMs } = record(decision)
    assert.deepEqual({ model, requestJson, responseJson, rationale, policyVersion }, said)
    assert.ok(seq > 0n)
    assert.ok(tsMs > 0n)
  }),

  scenario("DEC-02", "P0", "a decision that was never recorded is not found, without an error", function* (w) {
    const runId = yield* w.run("a")
    const { decision, found } = yield* w.tape.getDecision({ runId, decisionIndex: 7n })
    assert.deepEqual([found, decision], [false, undefined])
  }),

  scenario("DEC-03", "P0", "the first write of an index wins", function* (w) {
    const runId = yield* w.run("a")
    const first = yield* w.decide(runId, 0, { responseJson: '{"is":"A"}' })
    const { answer, entries } = yield* w.journaledBy(
      runId,
      w.decide(runId, 0, { responseJson: '{"is":"B"}', model: "other", policyVersion: "p2" })
    )
    assert.deepEqual(answer, first)
    assert.deepEqual((yield* w.tape.getDecision({ runId, decisionIndex: 0n })).decision, first)
    assert.deepEqual(entries, [])
  }),

  scenario(
    "RUL-DEC-1",
    "P1",
    "indices may be sparse, out of order and negative; each gets the next seq",
    function* (w) {
      const runId = yield* w.run("a")
      const indices = [5, -1, 0, 3]
      for (const [nth, index] of indices.entries()) {
        const decision = yield* w.decide(runId, index)
        assert.deepEqual([decision.decisionIndex, decision.seq], [BigInt(index), BigInt(nth + 2)])
      }
    }
  ),

  scenario("RUL-DEC-2", "P1", "32 racing writers of one index all get the one record", function* (w) {
    const runId = yield* w.run("a")
    const outcomes = yield* w.race(32, (n) => w.decide(runId, 0, { responseJson: `{"by":${n}}` }))
    const records = outcomes.map((outcome) =>
      outcome._tag === "Right" ? outcome.right : assert.fail(outcome.left.message)
    )
    for (const other of records) assert.deepEqual(other, records[0])
    assert.equal((yield* w.getRun(runId)).seqCursor, 2n)
  }),

  scenario("RUL-DEC-3", "P0", "on an ended run a repeat returns its row, a new decision is refused", function* (w) {
    for (const status of [RunStatus.TERMINAL, RunStatus.STUCK, RunStatus.CANCELLED]) {
      const runId = yield* w.run(`ended-${status}`)
      const first = yield* w.decide(runId, 0)
      yield* w.endRun(runId, status)
      assert.deepEqual(yield* w.decide(runId, 0), first)
      yield* refused(w.decide(runId, 1), "PreconditionFailed")
      assert.equal((yield* w.tape.getDecision({ runId, decisionIndex: 1n })).found, false)
    }
  }),

  scenario("RUL-DEC-4", "P1", "FAILED and COMPENSATING runs still take decisions", function* (w) {
    for (const status of [RunStatus.FAILED, RunStatus.COMPENSATING]) {
      const runId = yield* w.run(`ended-${status}`)
      yield* w.endRun(runId, status)
      assert.ok((yield* w.decide(runId, 0)).seq > 0n)
    }
  }),

  scenario("RUL-DEC-5", "P0", "a decision's entry: its keys and its subject", function* (w) {
    const runId = yield* w.run("a")
    const { answer, entries } = yield* w.journaledBy(runId, w.decide(runId, 4, { rationale: "why" }))
    assert.deepEqual(
      entries.map(({ kind, payload, seq, subject }) => ({ kind, payload, seq, subject })),
      [
        {
          kind: "decision",
          payload: { decision_index: 4, model: "m", policy_version: "p1", rationale: "why" },
          seq: answer.seq,
          subject: `/tape/decision/recorded/${runId}/4`
        }
      ]
    )
  })
]
