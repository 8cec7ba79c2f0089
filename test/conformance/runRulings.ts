/** Rulings on runs: who may begin them again, and take them over. */
import * as assert from "node:assert/strict"
import { ObligationStatus, RunStatus } from "effect-tape/proto"
import { eventually } from "./Expect.js"
import { seen } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

const ifFree = { metadata: { "tape-lease": "if-free" } }

const identity = {
  tenantId: "acme",
  actor: "ann",
  subject: "sub-1",
  agentId: "agent-7",
  aiplexInstanceId: "inst-3",
  gatewayRoute: "/route",
  scopes: ["s:b", "s:a", "s:b"],
  labels: { team: "treasury", ключ: "é" }
}

export const runRulings: ReadonlyArray<Scenario> = [
  scenario("RUL-BEGINRUN-1", "P0", "BeginRun reopens FAILED: times and gate cleared, nothing journaled", function* (w) {
    const runId = yield* w.run("a")
    yield* w.tape.awaitSignal({ runId, gateName: "cfo" })
    yield* w.endRun(runId, RunStatus.FAILED)
    const { answer, entries } = yield* w.journaledBy(runId, w.beginRun("a", { leaseOwner: "B" }))
    assert.equal(answer.resumed, true)
    assert.equal(answer.status, RunStatus.RUNNING)
    const run = yield* w.getRun(runId)
    assert.deepEqual([run.status, run.endedAtMs, run.waitingOnGate, run.leaseOwner], [RunStatus.RUNNING, 0n, "", "B"])
    assert.deepEqual(entries, [])
  }),

  scenario("RUL-BEGINRUN-2", "P0", "BeginRun never reopens TERMINAL, STUCK or CANCELLED", function* (w) {
    for (const status of [RunStatus.TERMINAL, RunStatus.STUCK, RunStatus.CANCELLED]) {
      const x = `ended-${status}`
      const runId = yield* w.run(x)
      const ended = yield* w.endRun(runId, status)
      const again = yield* w.beginRun(x, { leaseOwner: "B" })
      assert.deepEqual([again.runId, again.resumed, again.status], [runId, true, status])
      assert.equal(again.nextSeq, ended.seqCursor)
      assert.deepEqual(yield* w.getRun(runId), ended)
    }
  }),

  scenario(
    "RUL-BEGINRUN-3",
    "P0",
    "a FAILED run whose undo began stays FAILED, a merely owed undo does not hold it",
    function* (w) {
      const committed = yield* w.run("committed")
      const owed = yield* w.register(committed, "k", "undo")
      yield* w.claimObligation(committed, owed.seq, "c")
      const compensated = yield* w.run("compensated")
      const done = yield* w.register(compensated, "k", "undo")
      yield* w.resolve(compensated, done.seq, ObligationStatus.COMPENSATED)
      const pending = yield* w.run("pending")
      yield* w.register(pending, "k", "undo")
      for (const runId of [committed, compensated, pending]) yield* w.endRun(runId, RunStatus.FAILED)
      assert.equal((yield* w.beginRun("committed")).status, RunStatus.FAILED)
      assert.equal((yield* w.getRun(committed)).status, RunStatus.FAILED)
      assert.equal((yield* w.beginRun("compensated")).status, RunStatus.FAILED)
      assert.equal((yield* w.beginRun("pending")).status, RunStatus.RUNNING)
    }
  ),

  scenario("RUL-BEGINRUN-4", "P0", "BeginRun on COMPENSATING takes the lease and leaves the status", function* (w) {
    const runId = yield* w.run("a")
    yield* w.endRun(runId, RunStatus.COMPENSATING)
    const again = yield* w.beginRun("a", { leaseOwner: "B" })
    assert.deepEqual([again.resumed, again.status], [true, RunStatus.COMPENSATING])
    const run = yield* w.getRun(runId)
    assert.deepEqual([run.status, run.leaseOwner], [RunStatus.COMPENSATING, "B"])
    assert.ok(run.leaseExpiresAtMs > (yield* w.now))
  }),

  scenario("RUL-BEGINRUN-5", "P0", "a plain BeginRun takes over a live lease: an explicit re-drive", function* (w) {
    const { answer } = yield* w.journaledBy(yield* w.run("a"), w.beginRun("a", { leaseOwner: "B" }))
    assert.equal(answer.status, RunStatus.RUNNING)
    assert.equal((yield* w.getRun(answer.runId)).leaseOwner, "B")
  }),

  scenario("RUL-BEGINRUN-6", "P0", "tape-lease: if-free leaves another's live lease alone", function* (w) {
    const runId = yield* w.run("a")
    const before = yield* w.getRun(runId)
    const other = yield* w.beginRun("a", { leaseOwner: "B" }, ifFree)
    assert.deepEqual([other.runId, other.resumed, other.status], [runId, true, RunStatus.RUNNING])
    assert.deepEqual(yield* w.getRun(runId), before)
  }),

  scenario("RUL-BEGINRUN-7", "P0", "tape-lease: if-free begins, renews its own, and takes what is free", function* (w) {
    const begun = yield* w.beginRun("a", { leaseOwner: "A", leaseTtlMs: 5_000n }, ifFree)
    assert.equal(begun.resumed, false)
    const first = yield* w.getRun(begun.runId)
    yield* w.beginRun("a", { leaseOwner: "A", leaseTtlMs: 60_000n }, ifFree)
    assert.ok((yield* w.getRun(begun.runId)).leaseExpiresAtMs > first.leaseExpiresAtMs)
    yield* w.beginRun("a", { leaseOwner: "A", leaseTtlMs: 1n })
    yield* eventually("the lease expires", w.recoverableIds(), (ids) => ids.includes(begun.runId))
    yield* w.beginRun("a", { leaseOwner: "B" }, ifFree)
    assert.equal((yield* w.getRun(begun.runId)).leaseOwner, "B")
  }),

  scenario("RUL-BEGINRUN-13", "P1", "if-free respects the lease of a run that is being undone", function* (w) {
    const runId = yield* w.run("a")
    yield* w.endRun(runId, RunStatus.COMPENSATING)
    yield* w.resume(runId, "drainer")
    const before = yield* w.getRun(runId)
    const other = yield* w.beginRun("a", { leaseOwner: "B" }, ifFree)
    assert.deepEqual([other.resumed, other.status], [true, RunStatus.COMPENSATING])
    assert.deepEqual(yield* w.getRun(runId), before)
  }),

  scenario("RUL-BEGINRUN-14", "P0", "of 16 racing if-free begins of a free run one takes it", function* (w) {
    const runId = yield* w.run("a", { leaseTtlMs: 1n })
    yield* eventually("the lease expires", w.recoverableIds(), (ids) => ids.includes(runId))
    const outcomes = yield* w.race(16, (n) => w.beginRun("a", { leaseOwner: `o${n}` }, ifFree))
    for (const outcome of outcomes) assert.equal(outcome._tag, "Right")
    const { leaseOwner } = yield* w.getRun(runId)
    assert.match(leaseOwner, /^o\d+$/)
    yield* w.beginRun("a", { leaseOwner: "late" }, ifFree)
    assert.equal((yield* w.getRun(runId)).leaseOwner, leaseOwner)
  }),

  scenario("RUL-BEGINRUN-8", "P1", "identity comes back unchanged, and a repeat does not change it", function* (w) {
    const runId = yield* w.run("a", { ...identity, leaseTtlMs: 1n })
    yield* w.beginRun("a", { tenantId: "other", scopes: ["x"], labels: {}, leaseTtlMs: 1n })
    const [listed] = yield* eventually("the lease expires", w.recoverable(), (listed) => listed.length === 1)
    for (const run of [yield* w.getRun(runId), listed]) {
      const { actor, agentId, aiplexInstanceId, gatewayRoute, labels, scopes, subject, tenantId } = run ?? assert.fail()
      const got = { tenantId, actor, subject, agentId, aiplexInstanceId, gatewayRoute, scopes, labels: { ...labels } }
      assert.deepEqual(got, identity)
    }
  }),

  scenario("RUL-BEGINRUN-9", "P1", "lease defaults to two minutes, and its owner may be empty", function* (w) {
    const before = yield* w.now
    const runId = yield* w.run("a", { leaseOwner: "", leaseTtlMs: 0n })
    const run = yield* w.getRun(runId)
    assert.equal(run.leaseOwner, "")
    assert.ok(run.leaseExpiresAtMs >= before + 119_000n && run.leaseExpiresAtMs <= before + 130_000n)
    assert.equal((yield* w.resume(runId, "B")).leaseOwner, "B", "an unowned lease is not alive")
  }),

  scenario("RUL-BEGINRUN-10", "P1", "each of the four names tells runs apart, empty ones too", function* (w) {
    const first = yield* w.run("a", { invocationId: "" })
    assert.equal(yield* w.run("a", { invocationId: "" }), first)
    const others = [
      yield* w.run("a", { invocationId: "i" }),
      yield* w.run("a", { invocationId: "", userId: "" }),
      yield* w.run("a", { invocationId: "", sessionId: "" }),
      yield* w.run("a", { invocationId: "", appName: `${w.app}-2` })
    ]
    assert.equal(new Set([first, ...others]).size, 5)
  }),

  scenario(
    "RUL-BEGINRUN-11",
    "P1",
    "a BeginRun that resumes says the last used seq and journals nothing",
    function* (w) {
      const first = yield* w.beginRun("a")
      assert.equal(first.nextSeq, 0n)
      const decision = yield* w.decide(first.runId, 0)
      assert.equal(decision.seq, 2n)
      const { answer, entries } = yield* w.journaledBy(first.runId, w.beginRun("a"))
      assert.equal(answer.nextSeq, 2n)
      assert.deepEqual(entries, [])
      assert.equal((yield* w.getRun(first.runId)).seqCursor, 2n)
    }
  ),

  scenario("RUL-BEGINRUN-12", "P1", "BeginRun un-parks WAITING and takes RUNNABLE", function* (w) {
    const runId = yield* w.run("a")
    yield* w.tape.awaitSignal({ runId, gateName: "g" })
    assert.equal((yield* w.beginRun("a")).status, RunStatus.RUNNING)
    yield* w.tape.awaitSignal({ runId, gateName: "g" })
    yield* w.tape.sendSignal({ runId, gateName: "g", resolutionJson: "{}" })
    assert.equal((yield* w.beginRun("a")).status, RunStatus.RUNNING)
  }),

  scenario(
    "RUL-RUN-1",
    "P1",
    "the first entry is seq 1 and carries the run's identity, not its scopes or labels",
    function* (w) {
      const runId = yield* w.run("a", identity)
      const [entry] = yield* w.journal(runId)
      assert.equal(entry?.seq, 1n)
      const { kind, payload, subject } = seen(entry ?? assert.fail())
      assert.equal(kind, "run")
      assert.equal(subject, `/tape/run/running/${w.app}/u/s-a/${runId}`)
      assert.deepEqual(payload, {
        actor: "ann",
        agent_id: "agent-7",
        aiplex_instance_id: "inst-3",
        app: w.app,
        invocation_id: "inv-a",
        run_id: runId,
        session: "s-a",
        status: "running",
        subject: "sub-1",
        tenant_id: "acme",
        user: "u"
      })
    }
  )
]
