/** Section A: life cycle, leases, recovery. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { EffectStatus, RunStatus } from "effect-tape/proto"
import { eventually, refused } from "./Expect.js"
import { record, seen } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

export const runs: ReadonlyArray<Scenario> = [
  scenario("RUN-01", "P0", "a first BeginRun opens a RUNNING run, leased for the time asked", function* (w) {
    const before = yield* w.now
    const begun = yield* w.beginRun("a")
    const after = yield* w.now
    assert.equal(begun.resumed, false)
    assert.notEqual(begun.runId, "")
    assert.equal(begun.status, RunStatus.RUNNING)
    const run = yield* w.getRun(begun.runId)
    assert.equal(run.status, RunStatus.RUNNING)
    assert.equal(run.leaseOwner, "drv")
    assert.ok(run.leaseExpiresAtMs >= before + 59_000n && run.leaseExpiresAtMs <= after + 61_000n)
    assert.ok(run.startedAtMs > 0n)
    assert.equal(run.endedAtMs, 0n)
    assert.equal(run.waitingOnGate, "")
  }),

  scenario("RUN-02", "P0", "a second BeginRun of the tuple resumes the run and its decisions", function* (w) {
    const first = yield* w.beginRun("a")
    yield* w.decide(first.runId, 0)
    const again = yield* w.beginRun("a")
    assert.equal(again.resumed, true)
    assert.equal(again.runId, first.runId)
    assert.ok(again.nextSeq > 0n)
    const decision = yield* w.tape.getDecision({ runId: first.runId, decisionIndex: 0n })
    assert.equal(decision.found, true)
  }),

  scenario("RUN-04", "P0", "32 parallel BeginRuns of one tuple make one run", function* (w) {
    const begun = yield* Effect.all(
      Array.from({ length: 32 }, () => w.beginRun("a")),
      { concurrency: "unbounded" }
    )
    assert.equal(new Set(begun.map((answer) => answer.runId)).size, 1)
    assert.equal(begun.filter((answer) => !answer.resumed).length, 1)
  }),

  scenario("RUN-05", "P0", "BeginRun never reopens a TERMINAL run", function* (w) {
    const runId = yield* w.run("a")
    yield* w.endRun(runId, RunStatus.TERMINAL)
    const again = yield* w.beginRun("a")
    assert.equal(again.resumed, true)
    assert.equal(again.runId, runId)
    assert.equal(again.status, RunStatus.TERMINAL)
    assert.equal((yield* w.getRun(runId)).status, RunStatus.TERMINAL)
  }),

  scenario("RUN-06", "P0", "a run is recoverable once its lease has expired, not before", function* (w) {
    const runId = yield* w.run("a", { leaseTtlMs: 1500n })
    const { leaseExpiresAtMs } = yield* w.getRun(runId)
    assert.deepEqual(yield* w.recoverableIds(leaseExpiresAtMs - 1n), [])
    assert.deepEqual(yield* w.recoverableIds(leaseExpiresAtMs), [])
    const [listed] = yield* w.recoverable(leaseExpiresAtMs + 1n)
    assert.equal(listed?.runId, runId)
    assert.notEqual(listed?.status, RunStatus.TERMINAL)
  }),

  scenario("RUN-07", "P0", "ResumeRun takes an expired lease", function* (w) {
    const runId = yield* w.run("a", { leaseTtlMs: 1n })
    yield* eventually("the lease expires", w.recoverableIds(), (ids) => ids.includes(runId))
    const run = yield* w.resume(runId, "B")
    assert.equal(run.leaseOwner, "B")
    assert.ok(run.leaseExpiresAtMs > (yield* w.now))
    assert.equal(run.status, RunStatus.RUNNING)
    assert.deepEqual(yield* w.recoverableIds(), [])
  }),

  scenario("RUN-08", "P1", "ResumeRun is refused while another owner's lease is alive", function* (w) {
    const runId = yield* w.run("a")
    yield* refused(w.resume(runId, "B"), "PreconditionFailed", "lease")
    assert.equal((yield* w.getRun(runId)).leaseOwner, "drv")
  }),

  scenario("RUN-10", "P1", "the owner's ResumeRun is a heartbeat", function* (w) {
    const runId = yield* w.run("a", { leaseTtlMs: 2000n })
    const before = yield* w.getRun(runId)
    yield* refused(w.resume(runId, "B"), "PreconditionFailed", "lease")
    yield* eventually("the clock goes on", w.now, (now) => now > before.startedAtMs)
    const after = yield* w.resume(runId, "drv", 2000n)
    assert.ok(after.leaseExpiresAtMs > before.leaseExpiresAtMs)
    assert.equal(after.leaseOwner, "drv")
    assert.deepEqual(yield* w.recoverableIds(before.leaseExpiresAtMs + 1n), [])
  }),

  scenario("RUN-11", "P0", "a cancelled run is never recovered", function* (w) {
    const runId = yield* w.run("a")
    const { leaseExpiresAtMs } = yield* w.getRun(runId)
    yield* w.endRun(runId, RunStatus.CANCELLED)
    assert.equal((yield* w.getRun(runId)).status, RunStatus.CANCELLED)
    assert.deepEqual(yield* w.recoverableIds(leaseExpiresAtMs + 1n), [])
  }),

  scenario("RUN-12", "P1", "the first final status wins, repeats journal nothing", function* (w) {
    const runId = yield* w.run("a")
    const first = yield* w.endRun(runId, RunStatus.TERMINAL)
    assert.ok(first.endedAtMs > 0n)
    for (const status of [RunStatus.TERMINAL, RunStatus.FAILED]) {
      const again = yield* w.endRun(runId, status)
      assert.equal(again.status, RunStatus.TERMINAL)
      assert.equal(again.endedAtMs, first.endedAtMs)
    }
    const entries = yield* w.journal(runId)
    assert.deepEqual(
      entries.map((entry) => seen(entry).payload["status"]),
      ["running", "terminal"]
    )
  }),

  scenario("RUN-13", "P1", "calls on a run that does not exist are NOT_FOUND and create nothing", function* (w) {
    const runId = `no-such-run-${w.id}`
    yield* refused(w.getRun(runId), "NotFound")
    yield* refused(w.resume(runId, "B"), "NotFound")
    yield* refused(w.endRun(runId, RunStatus.TERMINAL), "NotFound")
    yield* refused(w.decide(runId, 0), "NotFound")
    yield* refused(w.getRun(runId), "NotFound")
    assert.equal((yield* w.tape.getDecision({ runId, decisionIndex: 0n })).found, false)
  }),

  scenario("RUN-14", "P0", "SubscribeRun replays every kind in order", function* (w) {
    const runId = yield* w.run("a")
    yield* w.decide(runId, 0)
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0)
    yield* w.confirm(runId, idempotencyKey)
    yield* w.register(runId, idempotencyKey, "undo")
    yield* w.tape.awaitSignal({ runId, gateName: "cfo" })
    yield* w.tape.sendSignal({ runId, gateName: "cfo", resolutionJson: "{}" })
    const entries = yield* w.journal(runId)
    const kinds = new Set(entries.map((entry) => entry.kind))
    for (const kind of ["run", "decision", "effect", "obligation", "gate"]) assert.ok(kinds.has(kind), kind)
    assert.deepEqual(
      entries.map((entry) => entry.seq),
      entries.map((_, index) => BigInt(index + 1))
    )
    for (const entry of entries) {
      assert.ok(entry.tsMs > 0n)
      assert.ok(entry.globalSeq > 0n)
    }
  }),

  scenario("RUL-RUN-DURABLE-READ", "P1", "what was acknowledged reads back byte-equal", function* (w) {
    const text = '{ "n": 1.0, "big":9007199254740993, "s":"é\\u0001 \\"q\\"", "k":[ ] }'
    const runId = yield* w.run("a")
    yield* w.decide(runId, 0, { requestJson: text, responseJson: text, rationale: text })
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0, { requestJson: text })
    yield* w.complete(runId, idempotencyKey, EffectStatus.CONFIRMED, text)
    const decision = record((yield* w.tape.getDecision({ runId, decisionIndex: 0n })).decision)
    assert.deepEqual([decision.requestJson, decision.responseJson, decision.rationale], [text, text, text])
    const effect = yield* w.getEffect(runId, idempotencyKey)
    assert.deepEqual([effect.requestJson, effect.responseJson], [text, text])
  })
]
