/** What stops a run from outside: a cancellation, a tape that is away, trouble that the program hides. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Schema, TestClock } from "effect"
import { Errors, TapeClient } from "effect-tape"
import { RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { Echo, ended, firstRun, gated, ids, keyed, leaseRunsOut, Tape, until, wrapped } from "./Durable.fixtures.js"

describe("a cancellation", () => {
  it.effect("is noticed at the next call, and nothing in the program can swallow it", () =>
    Effect.gen(function* () {
      const swallowed: Array<string> = []
      const app = Durable.app("cancelled", {
        input: Schema.Void,
        output: Schema.String,
        tools: [Echo],
        *run() {
          const { runId } = yield* Durable.info
          const tape = yield* TapeClient
          yield* Effect.orDie(tape.endRun({ runId, status: RunStatus.CANCELLED }))
          const call = Effect.tap(Echo("x"), () => Effect.sync(() => swallowed.push("went on")))
          yield* Effect.either(call)
          yield* Effect.catchAllCause(call, () => Effect.succeed("hidden"))
          yield* Effect.option(call)
          return "done"
        }
      })
      const error = yield* Effect.flip(app.start(ids("i"), undefined))
      assert.instanceOf(error, Durable.RunCancelled)
      assert.deepStrictEqual(swallowed, [])
      assert.strictEqual((yield* firstRun).status, RunStatus.CANCELLED)
      // It stays cancelled, for everybody.
      assert.instanceOf(yield* Effect.flip(app.start(ids("i"), undefined)), Durable.RunCancelled)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("cannot be hidden even as a defect: the run remembers it", () =>
    Effect.gen(function* () {
      const app = Durable.app("hidden", {
        input: Schema.Void,
        tools: [Echo],
        *run() {
          const { runId } = yield* Durable.info
          yield* Effect.flatMap(TapeClient, (tape) => Effect.orDie(tape.endRun({ runId, status: RunStatus.CANCELLED })))
          yield* Effect.catchAllCause(Echo("x"), () => Effect.void)
          return "a success, it seems"
        }
      })
      assert.instanceOf(yield* Effect.flip(app.start(ids("i"), undefined)), Durable.RunCancelled)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("is noticed by the heartbeat when the program makes no calls", () =>
    Effect.gen(function* () {
      const { app, reached } = yield* gated()
      const fiber = yield* Effect.fork(Effect.flip(app.start(ids("i"), "x")))
      yield* Deferred.await(reached)
      const { runId } = yield* firstRun
      yield* Effect.flatMap(TapeClient, (tape) => tape.endRun({ runId, status: RunStatus.CANCELLED }))
      yield* TestClock.adjust("1 minute")
      assert.instanceOf(yield* ended(fiber), Durable.RunCancelled)
      assert.strictEqual((yield* firstRun).status, RunStatus.CANCELLED)
    }).pipe(Effect.provide(Tape))
  )
})

describe("a cancellation by its program", () => {
  it.effect("ends the run, and cannot be swallowed", () =>
    Effect.gen(function* () {
      const app = Durable.app("quitting", {
        input: Schema.Void,
        output: Schema.String,
        tools: [Echo],
        *run() {
          yield* Echo("x")
          yield* Effect.catchAllCause(Durable.cancel("not worth it"), () => Effect.void)
          return "a success, it seems"
        }
      })
      assert.instanceOf(yield* Effect.flip(app.start(ids("i"), undefined)), Durable.RunCancelled)
      const { runId, status } = yield* firstRun
      assert.strictEqual(status, RunStatus.CANCELLED)
      assert.isTrue(yield* app.cancel(runId))
    }).pipe(Effect.provide(Tape))
  )

  it.effect("does nothing to a run that has ended, or to one of another app", () =>
    Effect.gen(function* () {
      const app = Durable.app("done", { input: Schema.Void, run: () => Effect.void })
      yield* app.start(ids("i"), undefined)
      const { runId } = yield* firstRun
      assert.isFalse(yield* app.cancel(runId, "too late"))
      const other = Durable.app("other", { input: Schema.Void, run: () => Effect.void })
      assert.instanceOf(yield* Effect.flip(other.cancel(runId)), Durable.RunRefused)
    }).pipe(Effect.provide(Tape))
  )
})

describe("a tape that is away", () => {
  const flaky = (failures: number) =>
    Effect.map(TapeClient, (tape) => {
      let left = failures
      return wrapped(tape, (rpc, _, call) =>
        Effect.suspend(() => {
          if (rpc !== "completeEffect" || left-- <= 0) return call
          return Effect.fail(new Errors.Unavailable({ rpc, detail: "gone", ids: {}, maybeApplied: true }))
        })
      )
    })

  const passing = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) =>
    Effect.flatten(until(Effect.zipRight(TestClock.adjust("1 second"), Fiber.poll(fiber))))

  it.effect("is waited for", () =>
    Effect.gen(function* () {
      const app = Durable.app("waiting", { input: Schema.String, tools: [Echo], run: (what) => Echo(what) })
      const tape = yield* flaky(5)
      const fiber = yield* Effect.fork(Effect.provideService(app.start(ids("i"), "x"), TapeClient, tape))
      assert.strictEqual(yield* passing(fiber), "x")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("for too long stops the run, which can be taken up again", () =>
    Effect.gen(function* () {
      const app = Durable.app("waiting", { input: Schema.String, tools: [Echo], run: (what) => Echo(what) })
      const tape = yield* flaky(1_000_000)
      const fiber = yield* Effect.fork(
        app
          .start(ids("i"), "x")
          .pipe(
            Effect.flip,
            Effect.provideService(TapeClient, tape),
            Effect.provide(Durable.layerSettings({ patience: "20 seconds" }))
          )
      )
      const error = yield* passing(fiber)
      assert.instanceOf(error, Durable.TapeTrouble)
      assert.strictEqual(error.cause._tag, "Unavailable")
      assert.strictEqual((yield* firstRun).status, RunStatus.RUNNING)
      yield* leaseRunsOut
      assert.strictEqual(yield* app.start(ids("i"), "x"), "x")
    }).pipe(Effect.provide(Tape))
  )
})

describe("trouble that the program hides", () => {
  it.effect("is remembered: the run does not end as a success", () =>
    Effect.gen(function* () {
      const app = Durable.app("hiding", {
        input: Schema.Void,
        tools: [Echo],
        *run() {
          yield* Effect.catchAllCause(Echo("x"), () => Effect.void)
          return "a success, it seems"
        }
      })
      let failures = 1
      const tape = wrapped(yield* TapeClient, (rpc, request, call) =>
        rpc === "completeEffect" && keyed("echo/0")(request) && failures-- > 0
          ? Effect.fail(new Errors.Internal({ rpc, detail: "a bug", ids: {} }))
          : call
      )
      const error = yield* Effect.flip(Effect.provideService(app.start(ids("i"), undefined), TapeClient, tape))
      assert.instanceOf(error, Durable.TapeTrouble)
      assert.strictEqual((yield* firstRun).status, RunStatus.RUNNING)
    }).pipe(Effect.provide(Tape))
  )
})
