/** What a timer was set for is done when it is due, and a timer is never lost. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option, Queue, Schedule, Schema, TestClock } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Durable from "../src/Durable.js"
import { EffectStatus, RunStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Reactors from "../src/Reactors.js"
import { dedupingBank, firstRun, ids, keyed, killedAt, leaseRunsOut, until, wrapped } from "./Durable.fixtures.js"
import { tags, tape } from "./Outbox.dispatcher.fixtures.js"

const run = (name = "r") =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const ids = { appName: "acc", userId: "u", sessionId: name, invocationId: name }
    return (yield* tape.beginRun({ ...ids, leaseOwner: "drv", leaseTtlMs: 60_000n })).runId
  })

const set = (runId: string, kind: string, payload: unknown, { id = `${kind}/1`, at = 0 } = {}) =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.setTimer({ runId, timerId: id, kind, fireAtMs: BigInt(at), payloadJson: JSON.stringify(payload) })
  )

const due = Effect.gen(function* () {
  const tape = yield* TapeClient
  const { timers } = yield* tape.listDueTimers({})
  return timers.map(({ timerId }) => timerId)
})

const cfo = { gate: "cfo", resolution: { approved: false } }

const resolutionOf = (runId: string) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { delivered, resolutionJson } = yield* tape.awaitSignal({ runId, gateName: "cfo" })
    return delivered ? JSON.parse(resolutionJson) : undefined
  })

describe("Reactors.timersOnce", () => {
  it.effect("GATE-09: a gate's timeout resolves it", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      yield* set(runId, "gate_timeout", cfo, { id: "gate/cfo" })
      assert.deepStrictEqual(yield* Reactors.timersOnce(), [
        { _tag: "signalled", runId, timerId: "gate/cfo", kind: "gate_timeout", gate: "cfo", accepted: true }
      ])
      assert.deepStrictEqual(yield* resolutionOf(runId), { timed_out: true, approved: false })
      assert.deepStrictEqual(yield* due, [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("comes too late for a gate that was answered, and for a run that is over", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* run()
      yield* set(runId, "gate_timeout", cfo)
      yield* tape.sendSignal({ runId, gateName: "cfo", resolutionJson: '{"approved":true}' })
      const over = yield* run("over")
      yield* set(over, "gate_timeout", cfo)
      yield* tape.endRun({ runId: over, status: RunStatus.TERMINAL })
      const reports = yield* Reactors.timersOnce()
      assert.deepStrictEqual(
        reports.map((report) => report._tag === "signalled" && report.accepted),
        [false, false]
      )
      assert.deepStrictEqual(yield* resolutionOf(runId), { approved: true })
      assert.deepStrictEqual(yield* due, [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("TMR-08: a redrive takes the run up, a reconcile settles the effect, other kinds reach the callback", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const bank = dedupingBank()
      const Book = Durable.tool("book", {
        input: Schema.String,
        output: Schema.String,
        run: (what, call) => bank.book(call.idempotencyKey, what),
        statusCheck: (call) => Effect.sync(() => Option.fromNullable(bank.rows.get(call.idempotencyKey)))
      })
      const app = Durable.app("booking", { input: Schema.String, tools: [Book], run: (what) => Book(what) })
      yield* killedAt({ rpc: "completeEffect", at: "before", matching: keyed("book/0") }, app.start(ids("i"), "truck"))
      const { runId } = yield* firstRun
      yield* set(runId, "redrive", {})
      assert.deepStrictEqual(tags(yield* Reactors.timersOnce()), ["left"])
      assert.deepStrictEqual(tags(yield* Reactors.timersOnce({ apps: [app] })), ["waiting"], "its lease is alive")
      yield* leaseRunsOut
      const [redriven] = yield* Reactors.timersOnce({ apps: [app] })
      assert.deepInclude(redriven, { _tag: "redriven", recovered: { _tag: "finished", runId, app: "booking" } })
      assert.strictEqual((yield* tape.getRun({ runId })).status, RunStatus.TERMINAL)

      const other = yield* run()
      const { idempotencyKey: key } = yield* tape.beginEffect({ runId: other, toolName: "book", requestJson: '"x"' })
      yield* tape.completeEffect({ runId: other, idempotencyKey: key, status: EffectStatus.UNKNOWN })
      yield* bank.book(key, "x")
      yield* set(other, "reconcile", { key })
      assert.deepStrictEqual(tags(yield* Reactors.timersOnce()), ["waiting"])
      const [reconciled] = yield* Reactors.timersOnce({ tools: [Book] })
      assert.deepInclude(reconciled, { _tag: "reconciled" })
      assert.strictEqual(
        (yield* tape.getEffect({ runId: other, idempotencyKey: key })).effect?.status,
        EffectStatus.CONFIRMED
      )

      yield* set(other, "remind", { who: "cfo" })
      const called: Array<Reactors.DueTimer> = []
      const onTimer = (timer: Reactors.DueTimer) => Effect.sync(() => called.push(timer))
      assert.deepStrictEqual(tags(yield* Reactors.timersOnce({ onTimer })), ["called"])
      assert.deepStrictEqual(called, [
        { runId: other, timerId: "remind/1", kind: "remind", payload: { who: "cfo" }, fireAt: 0 }
      ])
      assert.deepStrictEqual(yield* due, [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("keeps a timer whose action fails, or that is nobody's here", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      yield* set(runId, "remind", {})
      yield* set(runId, "gate_timeout", "rubbish")
      for (const exclusive of [false, true]) {
        const failing = { exclusive, onTimer: () => Effect.fail("no mail today") }
        const reports = yield* Reactors.timersOnce(failing)
        assert.sameMembers(tags(reports), ["failed", "left"])
        assert.sameMembers(yield* due, ["remind/1", "gate_timeout/1"])
      }
      assert.sameMembers(tags(yield* Reactors.timersOnce()), ["left", "left"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("a callback may set its timer anew", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* run()
      yield* set(runId, "remind", {})
      const onTimer = ({ fireAt, kind, runId, timerId }: Reactors.DueTimer) =>
        tape.setTimer({ runId, timerId, kind, fireAtMs: BigInt(fireAt + 60_000) })
      assert.deepStrictEqual(tags(yield* Reactors.timersOnce({ onTimer })), ["called"])
      assert.deepStrictEqual(yield* due, [])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* due, ["remind/1"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("killed between acting and acknowledging, the next one acts again: nothing is lost", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      yield* set(runId, "gate_timeout", cfo)
      yield* set(runId, "remind", {})
      let calls = 0
      const options = { onTimer: () => Effect.sync(() => calls++) }
      yield* killedAt({ rpc: "cancelTimer", at: "before" }, Reactors.timersOnce({ ...options, parallelism: 1 }))
      yield* killedAt({ rpc: "sendSignal", at: "after" }, Reactors.timersOnce({ ...options, parallelism: 1 }))
      assert.sameMembers(yield* due, ["gate_timeout/1", "remind/1"])
      const reports = yield* Reactors.timersOnce(options)
      assert.sameMembers(tags(reports), ["signalled", "called"])
      assert.isTrue(reports.every((report) => report._tag !== "signalled" || report.accepted))
      assert.deepStrictEqual(yield* resolutionOf(runId), { timed_out: true, approved: false })
      assert.deepStrictEqual(yield* due, [])
      assert.isAtLeast(calls, 1)
    }).pipe(Effect.provide(tape))
  )

  it.effect("interrupted after its callback, acknowledges the timer first", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      yield* set(runId, "remind", {})
      const reached = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const slow = wrapped(yield* TapeClient, (rpc, _, call) =>
        rpc === "cancelTimer"
          ? Effect.zipRight(Effect.zipRight(Deferred.succeed(reached, undefined), Deferred.await(go)), call)
          : call
      )
      const pass = Reactors.timersOnce({ onTimer: () => Effect.void })
      const fiber = yield* Effect.fork(Effect.provideService(pass, TapeClient, slow))
      yield* Deferred.await(reached)
      yield* Fiber.interruptFork(fiber)
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.await(fiber)
      assert.deepStrictEqual(yield* due, [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("exclusively: of several at once one calls, and interrupted it sets the timer again", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      yield* set(runId, "remind", {})
      const reached = yield* Deferred.make<void>()
      const hanging = {
        exclusive: true,
        onTimer: () => Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never)
      }
      const fiber = yield* Effect.fork(Reactors.timersOnce(hanging))
      yield* Deferred.await(reached)
      assert.deepStrictEqual(yield* due, [])
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* due, ["remind/1"])
      let calls = 0
      const once = Reactors.timersOnce({ exclusive: true, onTimer: () => Effect.sync(() => calls++) })
      yield* Effect.all([once, once, once], { concurrency: "unbounded" })
      assert.strictEqual(calls, 1)
    }).pipe(Effect.provide(tape))
  )
})

describe("Reactors.layerTimers", () => {
  it.effect("looks again as long as its schedule says", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      const reports = yield* Queue.unbounded<Reactors.Fired>()
      const options = { onTimer: () => Effect.void, onReport: (report: Reactors.Fired) => Queue.offer(reports, report) }
      const twice = Schedule.intersect(Schedule.spaced("1 hour"), Schedule.recurs(1))
      yield* Effect.fork(Layer.launch(Reactors.layerTimers({ ...options, schedule: twice })))
      yield* settled
      yield* set(runId, "remind", {})
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* until(Queue.poll(reports)))._tag, "called")
      yield* set(runId, "remind", {})
      yield* TestClock.adjust("1 day")
      yield* settled
      assert.deepStrictEqual(yield* due, ["remind/1"])
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.effect("rests until the next timer is due, and acts on it then", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      yield* set(runId, "gate_timeout", cfo, { at: 90_250 })
      const reports = yield* Queue.unbounded<Reactors.Fired>()
      const onReport = (report: Reactors.Fired) => Queue.offer(reports, report)
      yield* Effect.fork(Layer.launch(Reactors.layerTimers({ schedule: Schedule.spaced("1 minute"), onReport })))
      for (const step of ["60 seconds", "30249 millis"] as const) {
        yield* TestClock.adjust(step)
        yield* settled
        assert.deepStrictEqual(yield* Queue.takeAll(reports).pipe(Effect.map((all) => tags([...all]))), [])
      }
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(yield* until(Queue.poll(reports)), { _tag: "signalled", gate: "cfo" })
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.effect("with all hands full it waits for one, and does not look at the tape meanwhile", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      for (const id of ["1", "2", "3"]) yield* set(runId, "remind", {}, { id })
      const hands = yield* Queue.unbounded<void>()
      const begun: Array<string> = []
      const onTimer = ({ timerId }: Reactors.DueTimer) =>
        Effect.zipRight(
          Effect.sync(() => begun.push(timerId)),
          Queue.take(hands)
        )
      let looks = 0
      const counting = wrapped(yield* TapeClient, (rpc, _, call) => {
        if (rpc === "listDueTimers") looks += 1
        return call
      })
      const options = { schedule: Schedule.spaced("1 minute"), parallelism: 1, onTimer }
      yield* Effect.fork(Effect.provideService(Layer.launch(Reactors.layerTimers(options)), TapeClient, counting))
      yield* settled
      for (let second = 0; second < 30; second++) {
        yield* TestClock.adjust("1 second")
        yield* settled
      }
      assert.lengthOf(begun, 1)
      assert.strictEqual(looks, 1)
      for (const count of [2, 3]) {
        yield* Queue.offer(hands, undefined)
        yield* until(Effect.sync(() => (begun.length === count ? Option.some(count) : Option.none())))
      }
      assert.sameMembers(begun, ["1", "2", "3"])
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.effect("asks for a failing timer less and less often, and goes on with the others meanwhile", () =>
    Effect.gen(function* () {
      const runId = yield* run()
      yield* set(runId, "remind", {})
      const reports = yield* Queue.unbounded<Reactors.Fired>()
      const options = {
        schedule: Schedule.spaced("1 second"),
        onTimer: () => Effect.fail("not now"),
        onReport: (report: Reactors.Fired) => Queue.offer(reports, report)
      } as const
      yield* Effect.fork(Layer.launch(Reactors.layerTimers(options)))
      assert.deepInclude(yield* until(Queue.poll(reports)), { _tag: "failed" })
      yield* set(runId, "gate_timeout", cfo)
      for (let second = 0; second < 60; second++) {
        yield* TestClock.adjust("1 second")
        yield* settled
      }
      const seen = tags([...(yield* Queue.takeAll(reports))])
      assert.strictEqual(seen.filter((tag) => tag === "signalled").length, 1)
      const failures = seen.filter((tag) => tag === "failed").length
      // After 2, 6, 14 and 30 seconds, each ±20 %.
      assert.isAtLeast(failures, 3)
      assert.isAtMost(failures, 5)
      assert.deepStrictEqual(yield* due, ["remind/1"])
    }).pipe(Effect.scoped, Effect.provide(tape))
  )
})

/** Lets fibers and the in-process tape come to rest; the clock stands still. */
const settled = Effect.promise(async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => setImmediate(resolve))
})
