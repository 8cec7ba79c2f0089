/** Section H: gates and signals. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { RunStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import type { World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

const await_ = (w: World, runId: string, gateName: string, payloadJson = "{}") =>
  w.tape.awaitSignal({ runId, gateName, payloadJson })
const send = (w: World, runId: string, gateName: string, resolutionJson = "{}") =>
  w.tape.sendSignal({ runId, gateName, resolutionJson })
const route = (w: World, x: string, gateName: string, resolutionJson = "{}") =>
  w.tape.sendSignal({ appName: w.app, userId: "u", sessionId: `s-${x}`, gateName, resolutionJson })

export const gates: ReadonlyArray<Scenario> = [
  scenario("GATE-01", "P0", "awaiting parks the run, out of recovery's reach", function* (w) {
    const runId = yield* w.run("a")
    const { delivered, resolutionJson } = yield* await_(w, runId, "cfo")
    assert.deepEqual([delivered, resolutionJson], [false, ""])
    const run = yield* w.getRun(runId)
    assert.deepEqual([run.status, run.waitingOnGate, run.leaseOwner], [RunStatus.WAITING, "cfo", ""])
    assert.deepEqual(yield* w.recoverableIds(run.leaseExpiresAtMs + 1n), [])
  }),

  scenario("GATE-02", "P0", "the signal releases the run", function* (w) {
    const runId = yield* w.run("a")
    yield* await_(w, runId, "cfo")
    const sent = yield* send(w, runId, "cfo", '{"ok":true}')
    assert.deepEqual([sent.accepted, sent.runId, sent.runStatus], [true, runId, RunStatus.RUNNABLE])
    const run = yield* w.getRun(runId)
    assert.deepEqual([run.status, run.waitingOnGate], [RunStatus.RUNNABLE, ""])
    assert.deepEqual(yield* w.recoverableIds(), [runId])
  }),

  scenario("GATE-03", "P0", "a delivered gate answers at once, for ever, byte-equal", function* (w) {
    const runId = yield* w.run("a")
    yield* await_(w, runId, "cfo")
    const text = '{ "ok":true, "n":1.0, "who":"é" }'
    yield* send(w, runId, "cfo", text)
    yield* w.beginRun("a")
    for (let n = 0; n < 3; n++) {
      const { answer, entries } = yield* w.journaledBy(runId, await_(w, runId, "cfo"))
      assert.deepEqual([answer.delivered, answer.resolutionJson], [true, text])
      assert.deepEqual(entries, [])
    }
    assert.equal((yield* w.getRun(runId)).status, RunStatus.RUNNING)
  }),

  scenario("GATE-04", "P0", "a signal may come before anyone waits", function* (w) {
    const runId = yield* w.run("a")
    const { answer, entries } = yield* w.journaledBy(runId, send(w, runId, "cfo", '{"early":1}'))
    assert.equal(answer.accepted, true)
    assert.deepEqual(entries, [], "it released nobody")
    assert.equal((yield* w.getRun(runId)).status, RunStatus.RUNNING)
    const awaited = yield* await_(w, runId, "cfo")
    assert.deepEqual([awaited.delivered, awaited.resolutionJson], [true, '{"early":1}'])
    assert.equal((yield* w.getRun(runId)).status, RunStatus.RUNNING)
  }),

  scenario("GATE-05", "P1", "a signal finds its run by app, user and session", function* (w) {
    const runId = yield* w.run("a")
    yield* await_(w, runId, "cfo")
    const sent = yield* route(w, "a", "cfo")
    assert.deepEqual([sent.accepted, sent.runId, sent.runStatus], [true, runId, RunStatus.RUNNABLE])
  }),

  scenario("RUL-GATE-1", "P0", "the first resolution wins; only its byte-equal repeat is accepted", function* (w) {
    const runId = yield* w.run("a")
    yield* await_(w, runId, "cfo")
    yield* send(w, runId, "cfo", '{"ok":true}')
    const repeat = yield* w.journaledBy(runId, send(w, runId, "cfo", '{"ok":true}'))
    assert.equal(repeat.answer.accepted, true)
    assert.deepEqual(repeat.entries, [])
    for (const other of ['{"ok":false}', '{"ok": true}', ""]) {
      const late = yield* w.journaledBy(runId, send(w, runId, "cfo", other))
      assert.deepEqual(
        [late.answer.accepted, late.answer.runId, late.answer.runStatus],
        [false, runId, RunStatus.RUNNABLE]
      )
      assert.deepEqual(late.entries, [])
    }
    assert.equal((yield* await_(w, runId, "cfo")).resolutionJson, '{"ok":true}')
    yield* w.beginRun("a")
    assert.equal((yield* send(w, runId, "cfo", '{"ok":false}')).runStatus, RunStatus.RUNNING)
  }),

  scenario("RUL-GATE-2", "P0", "an unknown run, an ended run, an unknown session", function* (w) {
    yield* refused(send(w, `no-such-run-${w.id}`, "g"), "NotFound")
    yield* refused(await_(w, `no-such-run-${w.id}`, "g"), "NotFound")
    yield* refused(route(w, "nobody", "g"), "NotFound")
    for (const status of [RunStatus.TERMINAL, RunStatus.STUCK, RunStatus.CANCELLED]) {
      const runId = yield* w.run(`ended-${status}`)
      yield* await_(w, runId, "open")
      yield* w.beginRun(`ended-${status}`)
      yield* w.endRun(runId, status)
      for (const gate of ["open", "fresh"]) {
        const sent = yield* send(w, runId, gate)
        assert.deepEqual([sent.accepted, sent.runId, sent.runStatus], [false, runId, status])
      }
      yield* refused(await_(w, runId, "fresh"), "PreconditionFailed")
      assert.equal((yield* w.getRun(runId)).status, status)
    }
  }),

  scenario("RUL-GATE-3", "P0", "a delivered gate stays readable on an ended run", function* (w) {
    const runId = yield* w.run("a")
    yield* send(w, runId, "cfo", '{"ok":1}')
    yield* w.endRun(runId, RunStatus.CANCELLED)
    const awaited = yield* await_(w, runId, "cfo")
    assert.deepEqual([awaited.delivered, awaited.resolutionJson], [true, '{"ok":1}'])
    assert.equal((yield* w.getRun(runId)).status, RunStatus.CANCELLED)
  }),

  scenario("RUL-GATE-4", "P0", "another gate's signal releases nobody", function* (w) {
    const runId = yield* w.run("a")
    yield* await_(w, runId, "A")
    const { answer, entries } = yield* w.journaledBy(runId, send(w, runId, "B"))
    assert.equal(answer.accepted, true)
    assert.deepEqual(entries, [])
    const run = yield* w.getRun(runId)
    assert.deepEqual([run.status, run.waitingOnGate], [RunStatus.WAITING, "A"])
  }),

  scenario("RUL-GATE-5", "P0", "await and send at the same time never lose the wake-up", function* (w) {
    for (let round = 0; round < 50; round++) {
      const runId = yield* w.run(`r${round}`)
      const [awaited, sent] = yield* Effect.all([await_(w, runId, "g"), send(w, runId, "g")], {
        concurrency: "unbounded"
      })
      assert.equal(sent.accepted, true)
      const { status } = yield* w.getRun(runId)
      assert.equal(status, awaited.delivered ? RunStatus.RUNNING : RunStatus.RUNNABLE)
    }
  }),

  scenario(
    "RUL-GATE-6",
    "P0",
    "of 16 racing signals one resolution stands, and exactly its sender is accepted",
    function* (w) {
      const runId = yield* w.run("a")
      yield* await_(w, runId, "g")
      const outcomes = yield* w.race(16, (n) => send(w, runId, "g", `{"by":${n}}`))
      const accepted = outcomes.flatMap((outcome, n) => (outcome._tag === "Right" && outcome.right.accepted ? [n] : []))
      assert.equal(accepted.length, 1)
      assert.equal((yield* await_(w, runId, "g")).resolutionJson, `{"by":${accepted[0]}}`)
    }
  ),

  scenario(
    "RUL-GATE-7",
    "P1",
    "routing: the newest waiting on the gate, else the newest unfinished, else the newest",
    function* (w) {
      const begin = (n: number) => Effect.map(w.beginRun("s", { invocationId: `i${n}` }), (begun) => begun.runId)
      const startedAfter = function* (runId: string) {
        const { startedAtMs } = yield* w.getRun(runId)
        while ((yield* w.now) <= startedAtMs) yield* Effect.sleep("1 millis")
      }
      const older = yield* begin(1)
      yield* await_(w, older, "g")
      yield* startedAfter(older)
      const waiting = yield* begin(2)
      yield* await_(w, waiting, "g")
      yield* startedAfter(waiting)
      const newest = yield* begin(3)
      yield* startedAfter(newest)
      const ended = yield* begin(4)
      yield* w.endRun(ended, RunStatus.TERMINAL)
      assert.equal((yield* route(w, "s", "g")).runId, waiting)
      assert.equal((yield* route(w, "s", "g")).runId, older)
      assert.equal((yield* route(w, "s", "h")).runId, newest)
      for (const runId of [older, waiting, newest]) yield* w.endRun(runId, RunStatus.CANCELLED)
      const last = yield* route(w, "s", "h")
      assert.deepEqual([last.runId, last.accepted, last.runStatus], [ended, false, RunStatus.TERMINAL])
    }
  ),

  scenario("RUL-GATE-8", "P0", "entries of a gate: keys and subjects", function* (w) {
    const runId = yield* w.run("a")
    const parked = yield* w.journaledBy(runId, await_(w, runId, "the cfo", '{"ask":1}'))
    const released = yield* w.journaledBy(runId, send(w, runId, "the cfo", '{"ok":1}'))
    assert.deepEqual(
      [...parked.entries, ...released.entries].map(({ kind, payload, subject }) => ({ kind, payload, subject })),
      ["waiting", "released"].map((status) => ({
        kind: "gate",
        payload: { gate: "the cfo", status },
        subject: `/tape/gate/${status}/the%20cfo/${runId}`
      }))
    )
  }),

  scenario(
    "RUL-GATE-10",
    "P1",
    "a parked run that awaits again stays parked, on the last gate it asked for",
    function* (w) {
      const runId = yield* w.run("a")
      yield* await_(w, runId, "A")
      assert.equal((yield* await_(w, runId, "A")).delivered, false)
      assert.equal((yield* await_(w, runId, "B")).delivered, false)
      const run = yield* w.getRun(runId)
      assert.deepEqual([run.status, run.waitingOnGate], [RunStatus.WAITING, "B"])
      yield* send(w, runId, "A")
      assert.equal((yield* w.getRun(runId)).status, RunStatus.WAITING)
      assert.equal((yield* send(w, runId, "B")).runStatus, RunStatus.RUNNABLE)
    }
  ),

  scenario("RUL-GATE-11", "P1", "a run that ended while parked is not released", function* (w) {
    const runId = yield* w.run("a")
    yield* await_(w, runId, "g")
    yield* w.endRun(runId, RunStatus.CANCELLED)
    const { answer, entries } = yield* w.journaledBy(runId, send(w, runId, "g"))
    assert.deepEqual([answer.accepted, answer.runStatus], [false, RunStatus.CANCELLED])
    assert.deepEqual(entries, [])
    assert.deepEqual(yield* w.recoverableIds((yield* w.now) + 3_600_000n), [])
  }),

  scenario("RUL-GATE-9", "P1", "gates of one run are independent", function* (w) {
    const runId = yield* w.run("a")
    yield* send(w, runId, "A", '{"is":"A"}')
    yield* send(w, runId, "B", '{"is":"B"}')
    assert.equal((yield* await_(w, runId, "B")).resolutionJson, '{"is":"B"}')
    assert.equal((yield* await_(w, runId, "A")).resolutionJson, '{"is":"A"}')
    assert.equal((yield* await_(w, runId, "C")).delivered, false)
  })
]
