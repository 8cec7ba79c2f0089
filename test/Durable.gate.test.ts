/** Gates and sleeps: a run waits without a lease, and goes on wherever somebody takes it up. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import {
  Echo,
  ended,
  endedInTime,
  firstRun,
  ids,
  journalOf,
  killedAt,
  leaseRunsOut,
  signal,
  Tape,
  waitingAt
} from "./Durable.fixtures.js"

const Approval = Schema.Struct({ approved: Schema.Boolean })

const asking = () => {
  const seen: Array<string> = []
  const app = Durable.app("asking", {
    input: Schema.Void,
    output: Schema.Boolean,
    tools: [Echo],
    *run() {
      yield* Echo("before")
      seen.push("asked")
      const { approved } = yield* Durable.gate("cfo", { resolution: Approval, context: { amount: 100 } })
      seen.push("answered")
      yield* Echo("after")
      return approved
    }
  })
  return { app, seen }
}

describe("a gate", () => {
  it.effect("parks the run without a lease, and the process that waits goes on when it opens", () =>
    Effect.gen(function* () {
      const { app, seen } = asking()
      const fiber = yield* Effect.fork(app.start(ids("i"), undefined))
      const run = yield* waitingAt("cfo")
      assert.strictEqual(run.leaseOwner, "")
      // Longer than a lease.
      yield* TestClock.adjust("5 minutes")
      assert.isTrue((yield* signal(run.runId, "cfo", { approved: true })).accepted)
      assert.isTrue(yield* ended(fiber))
      assert.deepStrictEqual(seen, ["asked", "answered"])
      const after = yield* firstRun
      assert.strictEqual(after.status, RunStatus.TERMINAL)
      const subjects = yield* journalOf(after)
      assert.deepStrictEqual(
        subjects.filter((subject) => subject.startsWith("gate")),
        ["gate/waiting/cfo", "gate/released/cfo"]
      )
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that was opened before it is asked does not park the run", () =>
    Effect.gen(function* () {
      const app = Durable.app("early", {
        input: Schema.Void,
        output: Schema.Boolean,
        *run() {
          const { runId } = yield* Durable.info
          yield* Effect.orDie(signal(runId, "cfo", { approved: false }))
          return (yield* Durable.gate("cfo", { resolution: Approval })).approved
        }
      })
      assert.isFalse(yield* app.start(ids("i"), undefined))
    }).pipe(Effect.provide(Tape))
  )

  it.effect("outlives the process that waits: another takes the run up when it opens", () =>
    Effect.gen(function* () {
      const { app, seen } = asking()
      const fiber = yield* Effect.fork(app.start(ids("i"), undefined))
      const { runId } = yield* waitingAt("cfo")
      yield* Fiber.interrupt(fiber)
      yield* signal(runId, "cfo", { approved: true })
      const tape = yield* TapeClient
      assert.deepStrictEqual(
        (yield* tape.listRunsToRecover({})).runs.map((run) => run.runId),
        [runId]
      )
      assert.isTrue(yield* app.redrive(runId, { whenHeld: "fail" }))
      assert.deepStrictEqual(seen, ["asked", "asked", "answered"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("is followed by a second process, and one of the two goes on", () =>
    Effect.gen(function* () {
      const { app, seen } = asking()
      const first = yield* Effect.fork(app.start(ids("i"), undefined))
      const { runId } = yield* waitingAt("cfo")
      const second = yield* Effect.fork(app.start(ids("i"), undefined))
      const third = yield* Effect.fork(app.redrive(runId))
      yield* TestClock.adjust("5 minutes")
      yield* waitingAt("cfo")
      yield* signal(runId, "cfo", { approved: true })
      assert.deepStrictEqual(
        [yield* endedInTime(first), yield* endedInTime(second), yield* endedInTime(third)],
        [true, true, true]
      )
      assert.strictEqual(seen.filter((word) => word === "answered").length, 1)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("does not keep recovery waiting", () =>
    Effect.gen(function* () {
      const { app } = asking()
      yield* killedAt({ rpc: "awaitSignal", at: "before" }, app.start(ids("i"), undefined))
      yield* leaseRunsOut
      const { runId } = yield* firstRun
      const parked = yield* Effect.flip(app.redrive(runId, { whenHeld: "fail" }))
      assert.deepStrictEqual(parked, new Durable.RunParked({ runId, gate: "cfo" }))
      assert.instanceOf(yield* Effect.flip(app.redrive(runId, { whenHeld: "fail" })), Durable.RunParked)
      assert.strictEqual((yield* firstRun).status, RunStatus.WAITING)
      yield* signal(runId, "cfo", { approved: true })
      assert.isTrue(yield* app.redrive(runId, { whenHeld: "fail" }))
    }).pipe(Effect.provide(Tape))
  )

  it.effect("is left by a cancellation", () =>
    Effect.gen(function* () {
      const { app } = asking()
      const fiber = yield* Effect.fork(Effect.flip(app.start(ids("i"), undefined)))
      const { runId } = yield* waitingAt("cfo")
      assert.isTrue(yield* app.cancel(runId, "no longer wanted"))
      assert.instanceOf(yield* ended(fiber), Durable.RunCancelled)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("may be left by the program, which then goes on with its lease", () =>
    Effect.gen(function* () {
      const app = Durable.app("leaving", {
        input: Schema.Void,
        output: Schema.String,
        tools: [Echo],
        *run() {
          yield* Effect.timeoutOption(Durable.gate("cfo", { resolution: Approval }), "5 minutes")
          const { runId } = yield* Durable.info
          const said = yield* Echo("went on")
          const { leaseOwner } = yield* Effect.flatMap(TapeClient, (tape) => Effect.orDie(tape.getRun({ runId })))
          return leaseOwner === "" ? "without a lease" : said
        }
      })
      const fiber = yield* Effect.fork(app.start(ids("i"), undefined))
      yield* waitingAt("cfo")
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* ended(fiber), "went on")
    }).pipe(Effect.provide(Tape))
  )
})

describe("a gate with a timeout", () => {
  const escalating = Durable.app("escalating", {
    input: Schema.Void,
    output: Schema.String,
    *run() {
      const cfo = yield* Effect.either(Durable.gate("cfo", { resolution: Approval, timeout: "2 minutes" }))
      if (cfo._tag === "Right") return "cfo"
      const ceo = yield* Durable.gate("ceo", { resolution: Approval, timeout: "1 minute" })
      return ceo.approved ? `${cfo.left._tag}, then ceo` : "no"
    }
  })

  it.effect("times out as a typed failure, and a second one can be opened", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(escalating.start(ids("i"), undefined))
      const { runId } = yield* waitingAt("cfo")
      const tape = yield* TapeClient
      const minute = 60_000
      assert.deepStrictEqual(
        (yield* tape.listDueTimers({ nowMs: BigInt(2 * minute) })).timers.map(({ kind, payloadJson, timerId }) => ({
          kind,
          payloadJson,
          timerId
        })),
        [{ timerId: "gate/cfo", kind: "gate_timeout", payloadJson: `{"gate":"cfo"}` }]
      )
      yield* TestClock.adjust("2 minutes")
      yield* waitingAt("ceo")
      yield* signal(runId, "ceo", { approved: true })
      assert.strictEqual(yield* ended(fiber), "GateTimedOut, then ceo")
      // Nothing is left to fire.
      assert.deepStrictEqual((yield* tape.listDueTimers({ nowMs: BigInt(9 * minute) })).timers, [])
      assert.strictEqual(yield* escalating.redrive(runId), "GateTimedOut, then ceo")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("keeps its time over a crash, and may be timed out by a reactor's signal with words of its own", () =>
    Effect.gen(function* () {
      yield* killedAt({ rpc: "awaitSignal", at: "after" }, escalating.start(ids("i"), undefined))
      yield* TestClock.adjust("1 minute")
      yield* killedAt({ rpc: "awaitSignal", at: "after" }, escalating.start(ids("i"), undefined))
      const tape = yield* TapeClient
      const [timer] = (yield* tape.listDueTimers({ nowMs: 999_999_999n })).timers
      assert.strictEqual(timer?.fireAtMs, 120_000n)
      const fiber = yield* Effect.fork(escalating.start(ids("i"), undefined))
      const { runId } = yield* waitingAt("cfo")
      yield* signal(runId, "cfo", { timed_out: true, approved: false })
      yield* waitingAt("ceo")
      yield* signal(runId, "ceo", { approved: true })
      assert.strictEqual(yield* ended(fiber), "GateTimedOut, then ceo")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that nobody handles ends the run FAILED, with the failure in its journal", () =>
    Effect.gen(function* () {
      const app = Durable.app("impatient", {
        input: Schema.Void,
        error: Schema.Never,
        *run() {
          yield* Durable.gate("cfo", { resolution: Approval, timeout: "1 minute" })
        }
      })
      const error = yield* Effect.flip(yield* Effect.fork(app.start(ids("i"), undefined)).pipe(Effect.map(endedInTime)))
      assert.instanceOf(error, Durable.GateTimedOut)
      assert.strictEqual((yield* firstRun).status, RunStatus.FAILED)
      assert.instanceOf(yield* Effect.flip(app.redrive((yield* firstRun).runId)), Durable.GateTimedOut)
    }).pipe(Effect.provide(Tape))
  )
})

describe("a sleep", () => {
  it.effect("parks the run, and is not begun anew after a crash", () =>
    Effect.gen(function* () {
      const app = Durable.app("sleepy", {
        input: Schema.Void,
        output: Schema.Number,
        *run() {
          yield* Durable.sleep("5 minutes")
          yield* Durable.sleep("5 minutes")
          return yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        }
      })
      yield* killedAt({ rpc: "awaitSignal", at: "after" }, app.start(ids("i"), undefined))
      yield* TestClock.adjust("3 minutes")
      const fiber = yield* Effect.fork(app.start(ids("i"), undefined))
      yield* waitingAt("sleep/0")
      yield* TestClock.adjust("2 minutes")
      yield* waitingAt("sleep/1")
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* ended(fiber), 600_000)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("ends beside a gate that nobody opens", () =>
    Effect.gen(function* () {
      const app = Durable.app("racing", {
        input: Schema.Void,
        output: Schema.String,
        tools: [Echo],
        *run() {
          const gate = Effect.as(Durable.gate("cfo", { resolution: Approval }), "gate")
          const first = yield* Effect.raceFirst(gate, Effect.as(Durable.sleep("5 minutes"), "sleep"))
          return yield* Echo(first)
        }
      })
      const fiber = yield* Effect.fork(app.start(ids("i"), undefined))
      yield* waitingAt("cfo")
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* ended(fiber), "sleep")
    }).pipe(Effect.provide(Tape))
  )
})
