/** What ends a run from outside: leases, cancellation, a tape that is away, a program that has changed. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, ConfigProvider, Deferred, Effect, Exit, Fiber, Option, Schema, TestClock } from "effect"
import { Errors, TapeClient } from "effect-tape"
import { EffectStatus, RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { firstRun, ids, keyed, killedAt, leaseRunsOut, Tape, wrapped } from "./Durable.fixtures.js"

const Echo = Durable.tool("echo", {
  input: Schema.String,
  output: Schema.String,
  run: (what) => Effect.succeed(what)
})

/** A program that waits in its middle until it is let on. */
const gated = () =>
  Effect.gen(function* () {
    const reached = yield* Deferred.make<void>()
    const go = yield* Deferred.make<void>()
    let lives = 0
    let interrupted = 0
    const app = Durable.app("gated", {
      input: Schema.String,
      output: Schema.String,
      tools: [Echo],
      *run(what) {
        lives++
        yield* Deferred.succeed(reached, undefined)
        yield* Effect.onInterrupt(Deferred.await(go), () => Effect.sync(() => interrupted++))
        return yield* Echo(what)
      }
    })
    return { app, go, reached, counts: () => ({ lives, interrupted }) }
  })

/** Lets fibers and the in-process tape go on until `done`; the clock stands still. */
const until = <A>(look: Effect.Effect<Option.Option<A>>) =>
  Effect.gen(function* () {
    for (let turn = 0; turn < 2000; turn++) {
      const found = yield* look
      if (Option.isSome(found)) return found.value
      yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
    }
    return yield* Effect.dieMessage("it did not happen")
  })

const ended = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) => Effect.flatten(until(Fiber.poll(fiber)))

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

  it.effect("survive the first: the second takes over when the lease runs out", () =>
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
      assert.deepStrictEqual(yield* Fiber.poll(fiber), Option.none())
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

describe("a program that has changed", () => {
  it.effect("is told which calls drifted and how; the records win", () =>
    Effect.gen(function* () {
      const program = (amount: number, model: string, drifts: Array<Durable.Drift>) =>
        Durable.app("drifting", {
          input: Schema.Void,
          tools: [Echo],
          *run() {
            const plan = yield* Durable.decide(
              { model, request: { amount, to: "ACME" }, response: Schema.Number },
              Effect.succeed(amount)
            )
            const echoed = yield* Echo(`wire ${amount}`)
            drifts.push(...(yield* Durable.drifts))
            yield* Durable.decide({ model, request: 2, response: Schema.Void }, Effect.void)
            return [plan, echoed]
          }
        })
      yield* killedAt(
        { rpc: "recordDecision", at: "before", nth: 2 },
        program(100, "m-1", []).start(ids("i"), undefined)
      )
      yield* leaseRunsOut
      const drifts: Array<Durable.Drift> = []
      const result = yield* program(120, "m-2", drifts).start(ids("i"), undefined)
      assert.deepStrictEqual(result, [100, "wire 100"])
      const { runId } = yield* firstRun
      assert.deepStrictEqual(
        drifts.map(({ differences, record }) => [record, ...differences]),
        [
          ["decision 0 (model)", `it: "m-1" is recorded, "m-2" is asked`],
          ["decision 0", "amount: 100 is recorded, 120 is asked"],
          [`${runId}/decision-0/echo/0`, `it: "wire 100" is recorded, "wire 120" is asked`]
        ]
      )
    }).pipe(Effect.provide(Tape))
  )

  it.effect("and cannot read its records any more is stopped, and can be repaired", () =>
    Effect.gen(function* () {
      const reading = <A, I>(response: Schema.Schema<A, I>, answer: A) =>
        Durable.app("reading", {
          input: Schema.Void,
          *run() {
            const plan = yield* Durable.decide({ model: "m", request: 1, response }, Effect.succeed(answer))
            yield* Durable.decide({ model: "m", request: 2, response: Schema.Void }, Effect.void)
            return plan
          }
        })
      const good = reading(Schema.String, "a")
      yield* killedAt({ rpc: "recordDecision", at: "before", nth: 2 }, good.start(ids("i"), undefined))
      yield* leaseRunsOut
      const error = yield* Effect.flip(reading(Schema.Number, 1).start(ids("i"), undefined))
      assert.instanceOf(error, Durable.RecordUnreadable)
      assert.include(error.message, "decision 0")
      yield* leaseRunsOut
      assert.strictEqual(yield* good.start(ids("i"), undefined), "a")
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

describe("the end of a run", () => {
  it.effect("by a defect is none: the run can be taken up again", () =>
    Effect.gen(function* () {
      let broken = true
      const app = Durable.app("broken", {
        input: Schema.Void,
        output: Schema.String,
        tools: [Echo],
        *run() {
          const said = yield* Echo("x")
          if (broken) throw new Error("a bug")
          return said
        }
      })
      const exit = yield* Effect.exit(app.start(ids("i"), undefined))
      assert.isTrue(Exit.isFailure(exit) && Cause.pretty(exit.cause).includes("a bug"))
      assert.strictEqual((yield* firstRun).status, RunStatus.RUNNING)
      broken = false
      yield* leaseRunsOut
      assert.strictEqual(yield* app.start(ids("i"), undefined), "x")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("by a typed failure without an error schema lets start take it up again", () =>
    Effect.gen(function* () {
      let upstream = false
      const app = Durable.app("retryable", {
        input: Schema.Void,
        output: Schema.String,
        tools: [Echo],
        *run() {
          const said = yield* Echo("x")
          if (!upstream) return yield* Effect.fail("upstream is down" as const)
          return said
        }
      })
      assert.strictEqual(yield* Effect.flip(app.start(ids("i"), undefined)), "upstream is down")
      const run = yield* firstRun
      assert.strictEqual(run.status, RunStatus.FAILED)
      assert.strictEqual(yield* Effect.flip(app.redrive(run.runId)), "upstream is down")
      upstream = true
      assert.strictEqual(yield* app.start(ids("i"), undefined), "x")
      assert.strictEqual((yield* firstRun).status, RunStatus.TERMINAL)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("leaves no intent open: what the program interrupted is UNKNOWN", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const Slow = Durable.tool("slow", {
        input: Schema.Void,
        output: Schema.Void,
        run: () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
      })
      const app = Durable.app("racing", {
        input: Schema.Void,
        output: Schema.String,
        tools: [Slow],
        run: () => Effect.raceFirst(Effect.as(Slow(), "slow"), Effect.as(Deferred.await(begun), "fast"))
      })
      assert.strictEqual(yield* app.start(ids("i"), undefined), "fast")
      const { runId } = yield* firstRun
      const tape = yield* TapeClient
      const { effects } = yield* tape.listPendingEffects({ includePending: true, includeUnknown: true })
      assert.deepStrictEqual(
        effects.map((row) => [row.idempotencyKey, row.status]),
        [[`${runId}/no-decision/slow/0`, EffectStatus.UNKNOWN]]
      )
    }).pipe(Effect.provide(Tape))
  )

  it.effect("is the recorded outcome when somebody else ended it first", () =>
    Effect.gen(function* () {
      const app = Durable.app("short", {
        input: Schema.String,
        output: Schema.String,
        tools: [Echo],
        run: (what) => Echo(what)
      })
      yield* killedAt({ rpc: "endRun", at: "after" }, app.start(ids("i"), "x"))
      assert.strictEqual((yield* firstRun).status, RunStatus.TERMINAL)
      assert.strictEqual(yield* app.start(ids("i"), "other"), "x")
      const { runId } = yield* firstRun
      assert.strictEqual(yield* app.redrive(runId), "x")
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

describe("definitions that cannot be kept safe", () => {
  it("throw a typed error that says what to change", () => {
    const run = () => Effect.void
    const caught = (make: () => unknown): string => {
      try {
        make()
        return "nothing"
      } catch (error) {
        assert.isTrue(error instanceof Durable.ToolMisconfigured || error instanceof Durable.RunRefused)
        return String(error instanceof Error ? error.message : error)
      }
    }
    assert.include(
      caught(() => Durable.tool("t", { input: Schema.DateFromSelf, output: Schema.Void, run })),
      "tool t: its input cannot be journaled: it is DateFromSelf"
    )
    assert.include(
      caught(() => Durable.app("a", { input: Schema.Struct({ n: Schema.BigIntFromSelf }), run })),
      "n is bigint"
    )
    assert.include(
      caught(() => Durable.app("a", { input: Schema.Void, tools: [Echo, Echo], run })),
      "is listed twice"
    )
    assert.include(
      caught(() => Durable.tool("", { input: Schema.Void, output: Schema.Void, run })),
      "needs a name"
    )
    assert.strictEqual(
      caught(() =>
        Durable.tool("ok", {
          input: Schema.Date,
          output: Schema.Option(Schema.BigInt),
          run: () => Effect.succeedNone
        })
      ),
      "nothing"
    )
  })
})
