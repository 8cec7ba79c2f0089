/** Who drives a run: leases, joining, taking over, recovery by id. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Deferred, Effect, Exit, Fiber, Option, Schema, TestClock } from "effect"
import { Errors, TapeClient } from "effect-tape"
import { RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { Echo, ended, firstRun, gated, ids, killedAt, leaseRunsOut, Tape, until, wrapped } from "./Durable.fixtures.js"

describe("two starts of one invocation", () => {
  it.effect("are one run: the second joins the first", () =>
    Effect.gen(function* () {
      const { app, counts, go, reached } = yield* gated()
      const first = yield* Effect.fork(app.start(ids("i"), "x"))
      yield* Deferred.await(reached)
      const second = yield* Effect.fork(app.start(ids("i"), "x"))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(go, undefined)
      assert.strictEqual(yield* ended(first), "x")
      assert.strictEqual(yield* ended(second), "x")
      assert.strictEqual(counts().lives, 1)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("survive the first: the second takes over", () =>
    Effect.gen(function* () {
      const { app, counts, go, reached } = yield* gated()
      const first = yield* Effect.fork(app.start(ids("i"), "x"))
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(first)
      assert.strictEqual((yield* firstRun).status, RunStatus.RUNNING)
      yield* Deferred.succeed(go, undefined)
      const second = yield* Effect.fork(app.start(ids("i"), "x"))
      let turns = 0
      const done = yield* until(
        Effect.zipRight(
          Effect.suspend(() => (turns++ % 20 === 19 ? TestClock.adjust("5 seconds") : Effect.void)),
          Fiber.poll(second)
        )
      )
      assert.deepStrictEqual(done, Exit.succeed("x"))
      assert.deepStrictEqual(counts(), { lives: 2, interrupted: 1 })
    }).pipe(Effect.provide(Tape))
  )

  it.effect("with another input: the recorded one counts, and the drift is told", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const app = Durable.app("inputs", {
        input: Schema.Struct({ amount: Schema.Number }),
        *run({ amount }) {
          const drifts = yield* Durable.drifts
          seen.push(`${amount}`, ...drifts.flatMap((drift) => [drift.record, ...drift.differences]))
          return yield* Durable.decide({ model: "m", request: 0, response: Schema.Number }, Effect.succeed(amount))
        }
      })
      yield* killedAt({ rpc: "recordDecision", at: "before" }, app.start(ids("i"), { amount: 100 }))
      yield* leaseRunsOut
      assert.strictEqual(yield* app.start(ids("i"), { amount: 120 }), 100)
      assert.deepStrictEqual(seen, ["100", "100", "input", "amount: 100 is recorded, 120 is asked"])
    }).pipe(Effect.provide(Tape))
  )
})

describe("the lease", () => {
  it.effect("is renewed while the program runs", () =>
    Effect.gen(function* () {
      const { app, go, reached } = yield* gated()
      const fiber = yield* Effect.fork(app.start(ids("i"), "x"))
      yield* Deferred.await(reached)
      for (let minute = 0; minute < 10; minute++) {
        yield* TestClock.adjust("20 seconds")
        const { leaseExpiresAtMs } = yield* firstRun
        const now = yield* TestClock.currentTimeMillis
        assert.isAbove(Number(leaseExpiresAtMs), now)
      }
      yield* Deferred.succeed(go, undefined)
      assert.strictEqual(yield* ended(fiber), "x")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that somebody else took interrupts the program", () =>
    Effect.gen(function* () {
      const { app, counts, reached } = yield* gated()
      const fiber = yield* Effect.fork(Effect.flip(app.start(ids("i"), "x")))
      yield* Deferred.await(reached)
      const tape = yield* TapeClient
      // An explicit takeover: BeginRun without "if free".
      yield* tape.beginRun({ appName: "gated", userId: "u", sessionId: "s", invocationId: "i", leaseOwner: "thief" })
      yield* TestClock.adjust("50 seconds")
      const error = yield* ended(fiber)
      assert.instanceOf(error, Durable.LeaseLost)
      assert.include(error.message, "thief holds it")
      assert.deepStrictEqual(counts(), { lives: 1, interrupted: 1 })
      assert.strictEqual((yield* firstRun).status, RunStatus.RUNNING)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that cannot be renewed for its whole length is lost", () =>
    Effect.gen(function* () {
      const { app, counts, reached } = yield* gated()
      let away = false
      const tape = wrapped(yield* TapeClient, (rpc, _, call) =>
        Effect.suspend(() =>
          away ? Effect.fail(new Errors.Unavailable({ rpc, detail: "gone", ids: {}, maybeApplied: false })) : call
        )
      )
      const fiber = yield* Effect.fork(Effect.flip(Effect.provideService(app.start(ids("i"), "x"), TapeClient, tape)))
      yield* Deferred.await(reached)
      away = true
      yield* TestClock.adjust("119 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* TestClock.adjust("2 seconds")
      assert.instanceOf(yield* ended(fiber), Durable.LeaseLost)
      assert.strictEqual(counts().interrupted, 1)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("takes its length from TAPE_LEASE_MS and refuses rubbish there", () =>
    Effect.gen(function* () {
      const { app, reached } = yield* gated()
      const withTtl = (ttl: string) =>
        Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["TAPE_LEASE_MS", ttl]])))
      const refused = yield* Effect.flip(withTtl("soon")(app.start(ids("i"), "x")))
      assert.instanceOf(refused, Durable.RunRefused)
      assert.include(refused.message, "TAPE_LEASE_MS")
      const endless = app.start(ids("i"), "x").pipe(Effect.provide(Durable.layerSettings({ leaseTtl: Infinity })))
      assert.instanceOf(yield* Effect.flip(endless), Durable.RunRefused)
      const fiber = yield* Effect.fork(withTtl("1500")(app.start(ids("i"), "x")))
      yield* Deferred.await(reached)
      assert.strictEqual((yield* firstRun).leaseExpiresAtMs, 1500n)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(Tape))
  )
})

describe("an interruption", () => {
  it.effect("gives the lease back when the program has come to rest, and nobody has to wait for it", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const reached = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const app = Durable.app("careful", {
        input: Schema.Void,
        output: Schema.String,
        *run() {
          yield* Effect.uninterruptible(Effect.zipRight(Deferred.succeed(reached, undefined), Deferred.await(go)))
          return "done"
        }
      })
      const fiber = yield* Effect.fork(app.start(ids("i"), undefined))
      yield* Deferred.await(reached)
      yield* Fiber.interruptFork(fiber)
      // Time enough for some writes, and so for that one.
      for (let n = 0; n < 5; n++) yield* tape.writeValue({ namespace: "n", key: "k", valueJson: "1", ifVersion: -1n })
      const before = yield* firstRun
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.await(fiber)
      assert.strictEqual(before.leaseExpiresAtMs, 120_000n)
      const { leaseExpiresAtMs, runId, status } = yield* firstRun
      assert.deepStrictEqual([status, leaseExpiresAtMs], [RunStatus.RUNNING, 1n])
      yield* TestClock.adjust("2 millis")
      assert.deepStrictEqual(
        (yield* tape.listRunsToRecover({})).runs.map((run) => run.runId),
        [runId]
      )
      assert.strictEqual(yield* app.redrive(runId, { whenHeld: "fail" }), "done")
    }).pipe(Effect.provide(Tape))
  )
})

describe("redrive", () => {
  it.effect("says why it cannot", () =>
    Effect.gen(function* () {
      const app = Durable.app("one", { input: Schema.Void, run: () => Effect.void })
      const other = Durable.app("other", { input: Schema.Void, run: () => Effect.void })
      const unknown = yield* Effect.flip(app.redrive("no-such-run"))
      assert.isTrue(unknown._tag === "TapeTrouble" && unknown.cause._tag === "NotFound")
      yield* app.start(ids("i"), undefined)
      const { runId } = yield* firstRun
      assert.include((yield* Effect.flip(other.redrive(runId))).message, "is one of one")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("leaves a run alone that never recorded its input; start begins it", () =>
    Effect.gen(function* () {
      const app = Durable.app("early", { input: Schema.String, tools: [Echo], run: (what) => Echo(what) })
      yield* killedAt({ rpc: "beginRun", at: "after" }, app.start(ids("i"), "x"))
      yield* leaseRunsOut
      const { runId } = yield* firstRun
      const error = yield* Effect.flip(app.redrive(runId))
      assert.include(error.message, "start it again with its ids")
      assert.strictEqual(yield* app.start(ids("i"), "x"), "x")
    }).pipe(Effect.provide(Tape))
  )
})
