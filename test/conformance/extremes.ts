/** Rubbish and extremes: whatever the numbers are, an answer or a typed refusal, never a bug, and nothing is poisoned. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { RunStatus } from "effect-tape/proto"
import type { TapeError } from "./Expect.js"
import { refused } from "./Expect.js"
import { type Scenario, scenario } from "./Scenario.js"

const max = 2n ** 63n - 1n
const min = -(2n ** 63n)

/** An answer, or a refusal that blames the request. */
const borne = <A>(what: string, call: Effect.Effect<A, TapeError>) =>
  Effect.map(Effect.either(call), (outcome) => {
    if (Either.isLeft(outcome)) assert.equal(outcome.left._tag, "InvalidRequest", `${what}: ${outcome.left.message}`)
    return outcome
  })

export const extremes: ReadonlyArray<Scenario> = [
  scenario("RUL-EXTREME-1", "P1", "leases of any length are borne", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.out(runId, "bk")
    const { seq } = yield* w.register(runId, "k", "undo")
    for (const ttl of [max, min]) {
      yield* borne("BeginRun", w.beginRun(`b${ttl}`, { leaseTtlMs: ttl }))
      yield* borne("ResumeRun", w.resume(runId, "drv", ttl))
      yield* borne("ClaimEffectDispatch", w.claim(runId, idempotencyKey, "A", ttl))
      yield* borne("ClaimObligation", w.claimObligation(runId, seq, "A", ttl))
    }
    const run = yield* w.getRun(runId)
    assert.equal(run.status, RunStatus.RUNNING)
    assert.ok(run.leaseExpiresAtMs > 0n)
    assert.equal((yield* w.resume(runId, "drv")).leaseOwner, "drv", "the run is still its owner's")
  }),

  scenario("RUL-EXTREME-2", "P1", "times, positions and limits of any size are borne", function* (w) {
    const { tape } = w
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.out(runId, "bk")
    const { seq } = yield* w.register(runId, "k", "undo", { maxAttempts: 2 ** 31 - 1 })
    for (const n of [max, min]) {
      yield* borne("ListRunsToRecover", tape.listRunsToRecover({ nowMs: n }))
      yield* borne("ListEffectsToDispatch", tape.listEffectsToDispatch({ nowMs: n, connector: w.bank }))
      yield* borne("ListPendingEffects", tape.listPendingEffects({ olderThanMs: n }))
      yield* borne("ListUnresolvedObligations", tape.listUnresolvedObligations({ nowMs: n }))
      yield* borne("ListDueTimers", tape.listDueTimers({ nowMs: n }))
      yield* borne("SetTimer", tape.setTimer({ runId, timerId: `t${n}`, fireAtMs: n }))
      yield* borne("RecordDispatchAttempt", w.attempt(runId, idempotencyKey, "e", n))
      yield* borne("RecordObligationAttempt", w.attemptObligation(runId, seq, "e", n))
      yield* borne("RecordDecision", tape.recordDecision({ runId, decisionIndex: n }))
      yield* borne("GetDecision", tape.getDecision({ runId, decisionIndex: n }))
      const streams = [
        tape.subscribeRun({ runId, fromSeq: n }),
        tape.subscribeEvents({ runId, fromGlobalSeq: n }),
        tape.subscribeEvents({ runId, fromTsMs: n }),
        tape.subscribeBySubject({ subjectPattern: "/tape/run/**", fromGlobalSeq: n })
      ]
      for (const stream of streams) {
        yield* borne(
          "a stream",
          Stream.runDrain(Stream.interruptAfter(Stream.take<{}, TapeError, never>(stream, 1), "20 millis"))
        )
      }
    }
    for (const callIndex of [2 ** 31 - 1, -(2 ** 31)]) {
      const begun = yield* w.effect(runId, 0, "t", callIndex)
      assert.equal(begun.idempotencyKey, `${runId}/decision-0/t/${callIndex}`)
    }
    assert.equal((yield* w.effect(runId, 5, "u", 0)).idempotencyKey, `${runId}/decision-5/u/0`)
  }),

  scenario("RUL-EXTREME-3", "P1", "no charge can poison a budget", function* (w) {
    const { tape } = w
    const runId = yield* w.run("a")
    for (const usd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      yield* borne("AdmitBudget", tape.admitBudget({ runId, usdEstimate: usd }))
      yield* refused(tape.chargeBudget({ runId, usd }), "InvalidRequest")
      yield* refused(tape.setBudget({ runId, usdCap: usd }), "InvalidRequest")
    }
    yield* tape.chargeBudget({ runId, usd: 0.5, tokens: max })
    yield* borne("ChargeBudget", tape.chargeBudget({ runId, tokens: max }))
    const { budget } = yield* tape.admitBudget({ runId })
    assert.equal(budget?.usdSpent, 0.5)
    assert.ok(budget.tokensSpent >= max - 1n, "it did not wrap around")
    const charged = yield* tape.chargeBudget({ runId, usd: 0.25 })
    assert.equal(charged.usdSpent, 0.75)
  }),

  scenario("RUL-EXTREME-4", "P1", "empty names are names; canonically equal text is not equal", function* (w) {
    yield* refused(w.getRun(""), "NotFound")
    yield* refused(w.resume("", "A"), "NotFound")
    const runId = yield* w.run("a")
    const [composed, decomposed] = ["\u00e9", "e\u0301"]
    const one = yield* w.effect(runId, 0, "t", 0, { customKey: composed })
    const two = yield* w.effect(runId, 0, "t", 0, { customKey: decomposed })
    assert.notEqual(one.seq, two.seq)
    const upper = yield* w.effect(runId, 0, "t", 0, { customKey: "KEY" })
    const lower = yield* w.effect(runId, 0, "t", 0, { customKey: "key" })
    assert.notEqual(upper.seq, lower.seq)
    const empty = yield* w.effect(runId, 0, "", 0)
    assert.equal(empty.idempotencyKey, `${runId}/decision-0//0`)
    assert.equal((yield* w.register(runId, "", "")).kind, "")
    assert.equal((yield* w.tape.awaitSignal({ runId, gateName: "" })).delivered, false)
    assert.equal((yield* w.tape.sendSignal({ runId, gateName: "", resolutionJson: "" })).accepted, true)
    const awaited = yield* w.tape.awaitSignal({ runId, gateName: "" })
    assert.deepEqual([awaited.delivered, awaited.resolutionJson], [true, ""], "an empty answer is an answer")
  })
]
