/** Runs whose process is gone are taken up by whoever recovers, once. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Option, Queue, Schedule, Schema, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { EffectStatus, RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { layerRecover, type Recovered, recoverOnce } from "../src/reactors/recover.js"
import { Resting } from "../src/reactors/resting.js"
import { dedupingBank, firstRun, ids, keyed, killedAt, leaseRunsOut, Tape } from "./Durable.fixtures.js"

const booking = (bank: ReturnType<typeof dedupingBank>, gate: Effect.Effect<void> = Effect.void) => {
  const Book = Durable.tool("book", {
    input: Schema.String,
    output: Schema.String,
    run: (what, call) => Effect.zipRight(gate, bank.book(call.idempotencyKey, what))
  })
  return Durable.app("booking", {
    input: Schema.String,
    output: Schema.String,
    error: Schema.Literal("no"),
    tools: [Book],
    *run(what) {
      const ref = yield* Book(what)
      if (what === "bad") return yield* Effect.fail("no" as const)
      return ref
    }
  })
}

const tags = (reports: ReadonlyArray<Recovered>) => reports.map((report) => report._tag)

describe("recoverOnce", () => {
  it.effect("drives an abandoned run to its end, with the input from its journal", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const app = booking(bank)
      yield* killedAt({ rpc: "completeEffect", at: "before", matching: keyed("book/0") }, app.start(ids("i"), "truck"))
      assert.deepStrictEqual(yield* recoverOnce({ apps: [app] }), [])
      yield* leaseRunsOut
      assert.deepStrictEqual(tags(yield* recoverOnce({ apps: [] })), [])
      const reports = yield* recoverOnce({ apps: [app] })
      const run = yield* firstRun
      assert.deepStrictEqual(reports, [{ _tag: "finished", runId: run.runId, app: "booking" }])
      assert.strictEqual(run.status, RunStatus.TERMINAL)
      assert.strictEqual(bank.rows.size, 1)
      const tape = yield* TapeClient
      const { effect } = yield* tape.getEffect({
        runId: run.runId,
        idempotencyKey: `${run.runId}/no-decision/book/0`
      })
      assert.strictEqual(effect?.status, EffectStatus.CONFIRMED)
      assert.deepStrictEqual(yield* recoverOnce({ apps: [app] }), [])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("drives a run that was killed before its first tool", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const app = booking(bank)
      yield* killedAt({ rpc: "completeEffect", at: "after", matching: keyed("/input") }, app.start(ids("i"), "truck"))
      yield* leaseRunsOut
      assert.deepStrictEqual(tags(yield* recoverOnce({ apps: [app] })), ["finished"])
      assert.deepStrictEqual(bank.sent.length, 1)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("tells failures, defects and what cannot go on apart", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const app = booking(bank)
      const Crashing = Durable.app("crashing", { input: Schema.Void, run: () => Effect.dieMessage("a bug") })
      yield* killedAt({ rpc: "completeEffect", at: "before", matching: keyed("book/0") }, app.start(ids("1"), "bad"))
      yield* Effect.exit(Crashing.start(ids("2"), undefined))
      yield* killedAt({ rpc: "beginRun", at: "after" }, app.start(ids("3"), "x"))
      yield* leaseRunsOut
      const reports = yield* recoverOnce({ apps: [app, Crashing] })
      assert.sameMembers(tags(reports), ["failed", "crashed", "stopped"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("by several at once drives a run once", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const go = yield* Deferred.make<void>()
      yield* killedAt(
        { rpc: "completeEffect", at: "before", matching: keyed("book/0") },
        booking(bank).start(ids("i"), "truck")
      )
      bank.sent.length = 0
      yield* leaseRunsOut
      const app = booking(bank, Deferred.await(go))
      const recovering = recoverOnce({ apps: [app] })
      const fiber = yield* Effect.fork(
        Effect.all([recovering, recovering, recovering, recovering], { concurrency: "unbounded" })
      )
      yield* Effect.yieldNow()
      yield* Deferred.succeed(go, undefined)
      const reports = (yield* fiber).flat()
      assert.deepStrictEqual(tags(reports).filter((tag) => tag === "finished").length, 1)
      assert.isTrue(reports.every(({ _tag }) => _tag === "finished" || _tag === "skipped"))
      assert.strictEqual(bank.sent.length, 1)
    }).pipe(Effect.provide(Tape))
  )
})

describe("layerRecover", () => {
  it.effect("forgets runs that somebody else has dealt with, and keeps those that only rest", () =>
    Effect.gen(function* () {
      const resting = new Resting()
      yield* resting.rest("theirs", "skipped")
      yield* TestClock.adjust("5 minutes")
      yield* resting.rest("ours", "stopped")
      resting.forget(300_000)
      assert.strictEqual(resting.size, 2)
      yield* TestClock.adjust("1 minute")
      resting.forget(360_000)
      assert.strictEqual(resting.size, 1)
      assert.isAbove(resting.until("ours"), 0)
    })
  )

  it.scoped("recovers what is abandoned later on, and leaves runs resumable when it closes", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const reached = yield* Deferred.make<void>()
      const stuck = booking(bank, Effect.zipRight(Deferred.succeed(reached, undefined), Effect.never))
      const app = booking(bank)
      const reports = yield* Queue.unbounded<Recovered>()
      const recovering = (apps: readonly [typeof app]) =>
        Layer.launch(
          layerRecover({
            apps,
            schedule: Schedule.spaced("2 seconds"),
            onReport: (report) => Queue.offer(reports, report)
          })
        )
      yield* killedAt({ rpc: "completeEffect", at: "before", matching: keyed("book/0") }, app.start(ids("i"), "truck"))

      const first = yield* Effect.fork(recovering([stuck]))
      yield* leaseRunsOut
      yield* Deferred.await(reached)
      yield* first.interruptAsFork(first.id())
      yield* Effect.exit(first)
      assert.strictEqual((yield* firstRun).status, RunStatus.RUNNING)
      assert.deepStrictEqual(yield* Queue.size(reports), 0)

      yield* Effect.forkScoped(recovering([app]))
      let report = Option.none<Recovered>()
      while (Option.isNone(report)) {
        yield* TestClock.adjust("2 seconds")
        yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
        report = yield* Queue.poll(reports)
      }
      assert.strictEqual(report.value._tag, "finished")
      assert.strictEqual(bank.rows.size, 1)
    }).pipe(Effect.provide(Tape))
  )
})
