/** How runs end, and what a changed program makes of old records. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Schema } from "effect"
import { TapeClient } from "effect-tape"
import { EffectStatus, RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { Echo, firstRun, ids, killedAt, leaseRunsOut, Tape } from "./Durable.fixtures.js"

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
