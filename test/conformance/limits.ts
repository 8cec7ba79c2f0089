/** What is refused wherever it occurs, and how much a list gives. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { EffectStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { type Scenario, scenario } from "./Scenario.js"

const many = <A, E, R>(count: number, call: (n: number) => Effect.Effect<A, E, R>) =>
  Effect.forEach(
    Array.from({ length: count }, (_, n) => n),
    call,
    { concurrency: 64, discard: true }
  )

export const limits: ReadonlyArray<Scenario> = [
  scenario("RUL-UNKNOWN-1", "P0", "every write that names an unknown run is NOT_FOUND", function* (w) {
    const runId = `no-such-run-${w.id}`
    const key = "k"
    const { tape } = w
    const writes = {
      resumeRun: w.resume(runId, "A"),
      endRun: w.endRun(runId, 4),
      recordDecision: w.decide(runId, 0),
      beginEffect: w.effect(runId, 0, "t", 0),
      beginOutbox: w.out(runId, "bk"),
      completeEffect: w.confirm(runId, key),
      reconcileEffect: tape.reconcileEffect({ runId, idempotencyKey: key, resolvedStatus: EffectStatus.CONFIRMED }),
      recordDispatchAttempt: w.attempt(runId, key, "e", 0n),
      recordExternalObservation: w.observe(runId, key, 1),
      registerCompensation: w.register(runId, key, "undo"),
      resolveObligation: w.resolve(runId, 1n, 3),
      recordObligationAttempt: w.attemptObligation(runId, 1n, "e", 0n),
      setBudget: tape.setBudget({ runId, usdCap: 1 }),
      chargeBudget: tape.chargeBudget({ runId, usd: 1 }),
      awaitSignal: tape.awaitSignal({ runId, gateName: "g" }),
      sendSignal: tape.sendSignal({ runId, gateName: "g" }),
      setTimer: tape.setTimer({ runId, timerId: "t", fireAtMs: 1n })
    }
    for (const call of Object.values<Effect.Effect<unknown, Effect.Effect.Error<(typeof writes)["endRun"]>>>(writes)) {
      const error = yield* refused(call, "NotFound")
      assert.notEqual(error.message, "")
    }
  }),

  scenario("RUL-UNKNOWN-2", "P0", "reads of an unknown run answer as ruled", function* (w) {
    const runId = `no-such-run-${w.id}`
    yield* refused(w.getRun(runId), "NotFound")
    yield* refused(Stream.runHead(w.tape.subscribeRun({ runId })), "NotFound")
    assert.deepEqual(yield* w.obligations(runId), [])
    assert.equal((yield* w.tape.admitBudget({ runId, usdEstimate: 1 })).admitted, true)
    assert.equal((yield* w.tape.cancelTimer({ runId, timerId: "t" })).cancelled, false)
    assert.equal((yield* w.tape.getDecision({ runId, decisionIndex: 0n })).found, false)
    assert.equal((yield* w.tape.getEffect({ runId, idempotencyKey: "k" })).found, false)
  }),

  scenario("RUL-TEXT-1", "P0", "a raw U+0000 is refused in any string", function* (w) {
    const runId = yield* w.run("a")
    const bad = "a\u0000b"
    const { tape } = w
    const calls = {
      app: w.beginRun("x", { appName: bad }),
      owner: w.beginRun("x", { leaseOwner: bad }),
      scopes: w.beginRun("x", { scopes: ["ok", bad] }),
      labelValue: w.beginRun("x", { labels: { a: bad } }),
      labelKey: w.beginRun("x", { labels: { [bad]: "a" } }),
      getRun: w.getRun(bad),
      decision: w.decide(runId, 0, { responseJson: bad }),
      tool: w.effect(runId, 0, bad, 0),
      customKey: w.effect(runId, 0, "t", 0, { customKey: bad }),
      error: w.attempt(runId, "k", bad, 0n),
      kind: w.register(runId, "k", bad),
      gate: tape.awaitSignal({ runId, gateName: bad }),
      resolution: tape.sendSignal({ runId, gateName: "g", resolutionJson: bad }),
      timer: tape.setTimer({ runId, timerId: "t", payloadJson: bad }),
      pattern: Stream.runHead(tape.subscribeBySubject({ subjectPattern: `/${bad}` })),
      events: Stream.runHead(tape.subscribeEvents({ runId: bad }))
    }
    for (const call of Object.values<Effect.Effect<unknown, Effect.Effect.Error<(typeof calls)["app"]>>>(calls)) {
      yield* refused(call, "InvalidRequest")
    }
    assert.equal((yield* w.getRun(runId)).seqCursor, 1n)
    const escaped = yield* w.decide(runId, 0, { responseJson: '"a\\u0000b"' })
    assert.equal(escaped.responseJson, '"a\\u0000b"', "an escape in JSON text is no U+0000")
  }),

  scenario(
    "RUL-SIZE-1",
    "P0",
    "a message over 4 MiB is refused, naming the limit; one under it is stored",
    function* (w) {
      const runId = yield* w.run("a")
      const text = (mebibytes: number) => `"${"x".repeat(mebibytes * 1024 * 1024)}"`
      yield* refused(w.decide(runId, 0, { responseJson: text(5) }), "ResourceExhausted", "4194304")
      assert.equal((yield* w.tape.getDecision({ runId, decisionIndex: 0n })).found, false)
      const stored = yield* w.decide(runId, 0, { responseJson: text(3) })
      assert.equal(stored.responseJson.length, 3 * 1024 * 1024 + 2)
      assert.equal((yield* w.getRun(runId)).seqCursor, 2n)
    }
  ),

  scenario("RUL-LIMIT-1", "P1", "limits of zero and less mean the defaults", function* (w) {
    const { tape } = w
    yield* many(101, (n) => w.run(`r${n}`, { leaseTtlMs: 1n }))
    const runId = yield* w.run("a")
    yield* many(201, (n) => w.out(runId, `k${n}`, { callIndex: n }))
    yield* many(501, (n) => w.register(runId, "k", `undo${n}`))
    yield* many(201, (n) => tape.setTimer({ runId, timerId: `t${n}`, fireAtMs: 1n }))
    const nowMs = (yield* w.now) + 10_000n
    for (const limit of [0n, -1n]) {
      assert.equal((yield* tape.listRunsToRecover({ limit, nowMs })).runs.length, 100)
      assert.equal((yield* tape.listEffectsToDispatch({ limit, connector: w.bank })).effects.length, 200)
      assert.equal((yield* tape.listPendingEffects({ limit })).effects.length, 200)
      assert.equal((yield* tape.listUnresolvedObligations({ limit: Number(limit), nowMs })).obligations.length, 500)
      assert.equal((yield* tape.listDueTimers({ limit, nowMs })).timers.length, 200)
    }
    assert.equal((yield* w.dispatchable()).length, 200)
    assert.equal((yield* w.obligations(runId)).length, 501)
  }),

  scenario("RUL-LIMIT-2", "P1", "a limit of the caller's is kept", function* (w) {
    const { tape } = w
    const runId = yield* w.run("a", { leaseTtlMs: 1n })
    yield* w.run("b", { leaseTtlMs: 1n })
    yield* many(5, (n) => w.out(runId, `k${n}`, { callIndex: n }))
    yield* many(5, (n) => w.register(runId, "k", `undo${n}`))
    yield* many(5, (n) => tape.setTimer({ runId, timerId: `t${n}`, fireAtMs: 1n }))
    const nowMs = (yield* w.now) + 10_000n
    assert.equal((yield* tape.listRunsToRecover({ limit: 1n, nowMs })).runs.length, 1)
    assert.equal((yield* tape.listEffectsToDispatch({ limit: 3n, connector: w.bank })).effects.length, 3)
    assert.equal((yield* tape.listEffectsToDispatch({ limit: 900n, connector: w.bank })).effects.length, 5)
    assert.equal((yield* tape.listPendingEffects({ limit: 3n })).effects.length, 3)
    assert.equal((yield* tape.listUnresolvedObligations({ limit: 3, nowMs })).obligations.length, 3)
    assert.equal((yield* tape.listDueTimers({ limit: 3n, nowMs })).timers.length, 3)
    const claimed = yield* tape.listDueTimers({ limit: 2n, nowMs: 1n, claim: true })
    assert.equal(claimed.timers.length, 2)
  })
]
