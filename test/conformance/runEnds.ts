/** Rulings on runs: who may renew and recover them, and how they end. */
import * as assert from "node:assert/strict"
import { RunStatus } from "effect-tape/proto"
import { eventually, refused } from "./Expect.js"
import { type Scenario, scenario } from "./Scenario.js"

export const runEnds: ReadonlyArray<Scenario> = [
  scenario(
    "RUL-RESUME-1",
    "P0",
    "ResumeRun is refused on every ended run: a heartbeat never undoes a cancellation",
    function* (w) {
      for (const status of [RunStatus.TERMINAL, RunStatus.STUCK, RunStatus.CANCELLED, RunStatus.FAILED]) {
        const runId = yield* w.run(`ended-${status}`)
        const ended = yield* w.endRun(runId, status)
        yield* refused(w.resume(runId, "drv"), "PreconditionFailed")
        assert.deepEqual(yield* w.getRun(runId), ended)
      }
    }
  ),

  scenario(
    "RUL-RESUME-2",
    "P0",
    "ResumeRun on COMPENSATING leases it, once at a time, and leaves the status",
    function* (w) {
      const runId = yield* w.run("a")
      yield* w.endRun(runId, RunStatus.COMPENSATING)
      const run = yield* w.resume(runId, "B")
      assert.deepEqual([run.status, run.leaseOwner], [RunStatus.COMPENSATING, "B"])
      yield* refused(w.resume(runId, "C"), "PreconditionFailed", "lease")
      assert.equal((yield* w.resume(runId, "B")).leaseOwner, "B")
    }
  ),

  scenario("RUL-RESUME-3", "P0", "ResumeRun leaves a parked run parked, and takes a released one", function* (w) {
    const runId = yield* w.run("a")
    yield* w.tape.awaitSignal({ runId, gateName: "g" })
    const parked = yield* w.getRun(runId)
    assert.deepEqual(yield* w.resume(runId, "B"), parked)
    yield* w.tape.sendSignal({ runId, gateName: "g", resolutionJson: "{}" })
    const { answer, entries } = yield* w.journaledBy(runId, w.resume(runId, "B"))
    assert.deepEqual([answer.status, answer.leaseOwner], [RunStatus.RUNNING, "B"])
    assert.deepEqual(entries, [])
  }),

  scenario("RUL-RESUME-4", "P0", "of 16 racing recoverers one gets the run", function* (w) {
    const runId = yield* w.run("a", { leaseTtlMs: 1n })
    yield* eventually("the lease expires", w.recoverableIds(), (ids) => ids.includes(runId))
    const outcomes = yield* w.race(16, (n) => w.resume(runId, `R${n}`))
    const winners = outcomes.filter((outcome) => outcome._tag === "Right")
    assert.equal(winners.length, 1)
    assert.equal((yield* w.getRun(runId)).leaseOwner, winners[0]?._tag === "Right" ? winners[0].right.leaseOwner : "")
    for (const outcome of outcomes) {
      if (outcome._tag === "Left") assert.equal(outcome.left._tag, "PreconditionFailed")
    }
  }),

  scenario("RUL-ENDRUN-1", "P0", "from a final status only the ruled steps are taken", function* (w) {
    const { CANCELLED, COMPENSATING, FAILED, STUCK, TERMINAL } = RunStatus
    const all = [TERMINAL, FAILED, STUCK, CANCELLED, COMPENSATING]
    const allowed = new Map<RunStatus, ReadonlyArray<RunStatus>>([
      [TERMINAL, []],
      [FAILED, [COMPENSATING]],
      [CANCELLED, [COMPENSATING]],
      [STUCK, [COMPENSATING, FAILED, TERMINAL]]
    ])
    for (const [from, steps] of allowed) {
      for (const to of all) {
        const runId = yield* w.run(`${from}-${to}`)
        const ended = yield* w.endRun(runId, from)
        const { answer, entries } = yield* w.journaledBy(runId, w.endRun(runId, to))
        if (from !== to && steps.includes(to)) {
          assert.equal(answer.status, to, `${RunStatus[from]} → ${RunStatus[to]}`)
          assert.equal(entries.length, 1)
        } else {
          assert.deepEqual(answer, ended, `${RunStatus[from]} → ${RunStatus[to]}`)
          assert.deepEqual(entries, [])
        }
      }
    }
  }),

  scenario("RUL-ENDRUN-2", "P0", "COMPENSATING is not final: no end time, and any end may follow", function* (w) {
    const { CANCELLED, COMPENSATING, FAILED, STUCK, TERMINAL } = RunStatus
    for (const to of [TERMINAL, FAILED, STUCK, CANCELLED]) {
      const runId = yield* w.run(`to-${to}`)
      const compensating = yield* w.endRun(runId, COMPENSATING)
      assert.deepEqual([compensating.status, compensating.endedAtMs], [COMPENSATING, 0n])
      const repeat = yield* w.journaledBy(runId, w.endRun(runId, COMPENSATING))
      assert.deepEqual(repeat.entries, [])
      const { answer, entries } = yield* w.journaledBy(runId, w.endRun(runId, to))
      assert.equal(answer.status, to)
      assert.ok(answer.endedAtMs > 0n)
      assert.equal(entries.length, 1)
    }
  }),

  scenario("RUL-ENDRUN-3", "P0", "EndRun takes no other status", function* (w) {
    const runId = yield* w.run("a")
    const before = yield* w.getRun(runId)
    for (const status of [RunStatus.UNSPECIFIED, RunStatus.RUNNABLE, RunStatus.RUNNING, RunStatus.WAITING, 9, -1]) {
      yield* refused(w.endRun(runId, status), "InvalidRequest", "status")
    }
    assert.deepEqual(yield* w.getRun(runId), before)
  }),

  scenario("RUL-ENDRUN-4", "P0", "EndRun gives back the lease, and each verb is its own subject", function* (w) {
    const verbs = new Map([
      [RunStatus.TERMINAL, "terminal"],
      [RunStatus.FAILED, "failed"],
      [RunStatus.STUCK, "stuck"],
      [RunStatus.CANCELLED, "cancelled"],
      [RunStatus.COMPENSATING, "compensating"]
    ])
    for (const [status, verb] of verbs) {
      const runId = yield* w.run(verb)
      const { answer, entries } = yield* w.journaledBy(runId, w.endRun(runId, status))
      assert.equal(answer.leaseOwner, "")
      assert.deepEqual(
        entries.map(({ kind, payload, subject }) => ({ kind, payload, subject })),
        [
          {
            kind: "run",
            payload: { app: w.app, run_id: runId, session: `s-${verb}`, status: verb, user: "u" },
            subject: `/tape/run/${verb}/${w.app}/u/s-${verb}/${runId}`
          }
        ]
      )
    }
  }),

  scenario("RUL-RECOVER-1", "P0", "a parked run is recoverable only by its own gate's signal", function* (w) {
    const runId = yield* w.run("a")
    yield* w.tape.awaitSignal({ runId, gateName: "A" })
    yield* w.tape.sendSignal({ runId, gateName: "B", resolutionJson: "{}" })
    const later = (yield* w.now) + 3_600_000n
    assert.deepEqual(yield* w.recoverableIds(later), [])
    yield* w.tape.sendSignal({ runId, gateName: "A", resolutionJson: "{}" })
    assert.deepEqual(yield* w.recoverableIds(), [runId])
  }),

  scenario(
    "RUL-RECOVER-2",
    "P1",
    "recovery lists the oldest lease first, and no COMPENSATING or ended run",
    function* (w) {
      const third = yield* w.run("third", { leaseTtlMs: 3_000n })
      const first = yield* w.run("first", { leaseTtlMs: 1_000n })
      const second = yield* w.run("second", { leaseTtlMs: 2_000n })
      for (const status of [RunStatus.TERMINAL, RunStatus.FAILED, RunStatus.STUCK, RunStatus.COMPENSATING]) {
        yield* w.endRun(yield* w.run(`ended-${status}`, { leaseTtlMs: 1n }), status)
      }
      assert.deepEqual(yield* w.recoverableIds((yield* w.now) + 60_000n), [first, second, third])
    }
  )
]
