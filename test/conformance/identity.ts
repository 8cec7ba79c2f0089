/** Section O: who a run acts for, and what it may. */
import * as assert from "node:assert/strict"
import { EffectStatus, type RunState } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { record, seen } from "./Fixtures.js"
import { requiringScope, type Scenario, scenario } from "./Scenario.js"

const identity = {
  tenantId: "tenant é",
  actor: "alice",
  subject: "bob",
  agentId: "agent-1",
  aiplexInstanceId: "instance/1",
  gatewayRoute: "eu",
  scopes: ["s:b", "s:a"],
  labels: { team: "treasury", "": "empty" }
}

const identityOf = (run: RunState) => ({
  tenantId: run.tenantId,
  actor: run.actor,
  subject: run.subject,
  agentId: run.agentId,
  aiplexInstanceId: run.aiplexInstanceId,
  gatewayRoute: run.gatewayRoute,
  scopes: run.scopes,
  labels: { ...run.labels }
})

export const identities: ReadonlyArray<Scenario> = [
  scenario("IDN-04", "P1", "identity, scopes and labels come back, wherever a run is shown", function* (w) {
    const runId = yield* w.run("a", { ...identity, leaseTtlMs: 1n })
    assert.deepEqual(identityOf(yield* w.getRun(runId)), identity)
    const [listed] = yield* w.recoverable((yield* w.now) + 10_000n)
    assert.deepEqual(identityOf(record(listed)), identity)
    assert.deepEqual(identityOf(yield* w.resume(runId, "B")), identity)
    assert.deepEqual(identityOf(yield* w.endRun(runId, 4)), identity)
    const { runs } = yield* w.tape.listCompactableRuns({ beforeMs: (yield* w.now) + 10_000n, limit: 10_000n })
    const compactable = runs.find((run) => run.runId === runId)
    assert.deepEqual(identityOf(record(compactable)), identity)
  }),

  requiringScope("SCP-02", "P1", "a non-idempotent effect needs a scope that is granted", function* (w) {
    const from = yield* w.position
    const runId = yield* w.run("a", { scopes: ["s:a"] })
    yield* refused(w.out(runId, "bk"), "PermissionDenied", "scope")
    assert.deepEqual(yield* w.dispatchable(), [], "no row is made")
    yield* refused(w.out(runId, "bk", { scope: "s:b" }), "PermissionDenied", "s:b")
    assert.equal((yield* w.out(runId, "bk", { scope: "s:a" })).status, EffectStatus.PENDING)
    assert.equal((yield* w.effect(runId, 1, "t", 0)).status, EffectStatus.PENDING, "idempotent ones need none")
    const denials = yield* w.bySubject(`/tape/policy/denied/wire_money/${runId}`, from, (entry) =>
      entry.payloadJson.includes("s:b")
    )
    assert.deepEqual(
      denials.map((entry) => seen(entry).payload["required_scope"]),
      ["", "s:b"]
    )
  })
]
