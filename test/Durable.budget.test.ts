/** What decisions may cost, and under which policy they were made. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Schema } from "effect"
import { TapeClient } from "effect-tape"
import { RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { firstRun, ids, killedAt, leaseRunsOut, Tape, wrapped } from "./Durable.fixtures.js"

const spending = (costs: ReadonlyArray<number>, cap: number) => {
  const asked: Array<number> = []
  const app = Durable.app("spending", {
    input: Schema.Void,
    output: Schema.Number,
    budget: { usd: cap },
    *run() {
      for (const usd of costs) {
        const ask = Effect.sync(() => asked.push(usd))
        yield* Effect.ignore(Durable.decide({ model: "m", request: usd, response: Schema.Number, cost: { usd } }, ask))
      }
      return costs.length
    }
  })
  return { app, asked }
}

const spent = Effect.flatMap(firstRun, ({ runId }) =>
  Effect.flatMap(TapeClient, (tape) => Effect.map(tape.admitBudget({ runId }), ({ budget }) => budget?.usdSpent))
)

describe("a budget", () => {
  it.effect("BUD-08 · keeps the model from being asked when it is spent, also after a re-drive", () =>
    Effect.gen(function* () {
      const { app, asked } = spending([1, 1, 1], 2)
      const error = yield* Effect.flip(app.start(ids("i"), undefined))
      assert.instanceOf(error, Durable.BudgetExceeded)
      assert.strictEqual(error.decision, 2)
      assert.deepStrictEqual(asked, [1, 1])
      const run = yield* firstRun
      assert.strictEqual(run.status, RunStatus.FAILED)
      assert.instanceOf(yield* Effect.flip(app.redrive(run.runId)), Durable.BudgetExceeded)
      assert.instanceOf(yield* Effect.flip(app.start(ids("i"), undefined)), Durable.BudgetExceeded)
      assert.deepStrictEqual(asked, [1, 1])
      assert.strictEqual(yield* spent, 2)
      // Somebody grants more: the run goes on where it stopped.
      yield* Effect.flatMap(TapeClient, (tape) => tape.setBudget({ runId: run.runId, usdCap: 3 }))
      assert.strictEqual(yield* app.start(ids("i"), undefined), 3)
      assert.strictEqual(yield* spent, 3)
    }).pipe(Effect.provide(Tape))
  )

  for (const at of ["before", "after"] as const) {
    it.effect(`is charged once when the process dies right ${at} the charge`, () =>
      Effect.gen(function* () {
        const { app, asked } = spending([1, 0.5], 5)
        yield* killedAt({ rpc: "chargeBudget", at }, app.start(ids("i"), undefined))
        yield* leaseRunsOut
        assert.strictEqual(yield* app.start(ids("i"), undefined), 2)
        assert.strictEqual(yield* spent, 1.5)
        assert.deepStrictEqual(asked, [1, 0.5])
      }).pipe(Effect.provide(Tape))
    )
  }

  it.effect("is charged once for each of two decisions at a time, whichever comes first in the next life", () =>
    Effect.gen(function* () {
      let lives = 0
      const app = Durable.app("abreast", {
        input: Schema.Void,
        output: Schema.Void,
        *run() {
          lives += 1
          const answers = [Effect.void, lives === 1 ? Effect.never : Effect.void]
          const decide = (answer: Effect.Effect<void>, nth: number) =>
            Durable.decide({ model: "m", request: nth, response: Schema.Void, cost: { usd: nth + 1 } }, answer)
          yield* Effect.forEach(answers, decide, { concurrency: 2, discard: true })
        }
      })
      const first = (request: object) => Reflect.get(request, "usd") === 1
      yield* killedAt({ rpc: "chargeBudget", at: "before", matching: first }, app.start(ids("i"), undefined))
      yield* leaseRunsOut
      // The decision that was to be charged comes to itself after the other one has been.
      const other = yield* Deferred.make<void>()
      const tape = wrapped(yield* TapeClient, (rpc, request, call) => {
        if (rpc === "getDecision" && Reflect.get(request, "decisionIndex") === 0n) {
          return Effect.zipRight(Deferred.await(other), call)
        }
        return rpc === "chargeBudget" && !first(request)
          ? Effect.tap(call, () => Deferred.succeed(other, undefined))
          : call
      })
      yield* Effect.provideService(app.start(ids("i"), undefined), TapeClient, tape)
      assert.strictEqual(yield* spent, 3)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("a cost that is no number leaves nothing behind: with the program mended the run goes on", () =>
    Effect.gen(function* () {
      let usd = Number.NaN
      const app = Durable.app("unmeasured", {
        input: Schema.Void,
        output: Schema.Void,
        run: () =>
          Durable.decide({ model: "m", request: "?", response: Schema.Void, cost: () => ({ usd }) }, Effect.void)
      })
      assert.match((yield* Effect.flip(app.start(ids("i"), undefined))).message, /a charge .*cannot be written/s)
      usd = 1
      yield* leaseRunsOut
      yield* app.start(ids("i"), undefined)
      assert.strictEqual(yield* spent, 1)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("is charged what the answer says it cost, and estimates before", () =>
    Effect.gen(function* () {
      const app = Durable.app("metered", {
        input: Schema.Void,
        output: Schema.Number,
        budget: { tokens: 100 },
        *run() {
          const options = { model: "m", request: "?", response: Schema.Number, cost: (tokens: number) => ({ tokens }) }
          yield* Durable.decide({ ...options, estimate: { tokens: 50 } }, Effect.succeed(60))
          return yield* Durable.decide({ ...options, estimate: { tokens: 50 } }, Effect.succeed(1))
        }
      })
      const error = yield* Effect.flip(app.start(ids("i"), undefined))
      assert.instanceOf(error, Durable.BudgetExceeded)
      assert.include(error.message, "spent 60, estimate 50")
    }).pipe(Effect.provide(Tape))
  )
})

describe("the policy version", () => {
  it.effect("DEC-07 · is that of the latest decision, as recorded", () =>
    Effect.gen(function* () {
      let current = "v2"
      const seen: Array<ReadonlyArray<boolean>> = []
      const app = Durable.app("governed", {
        input: Schema.Void,
        *run() {
          const look = Effect.all([Durable.policyVersion("v2"), Durable.policyVersion("v1")])
          seen.push(yield* look)
          yield* Durable.decide(
            { model: "m", request: "?", response: Schema.Void, policyVersion: current },
            Effect.void
          )
          seen.push(yield* look)
        }
      })
      yield* app.start(ids("i"), undefined)
      current = "v3"
      yield* app.start(ids("i"), undefined)
      assert.deepStrictEqual(seen, [
        [false, false],
        [true, false],
        [false, false],
        [true, false]
      ])
    }).pipe(Effect.provide(Tape))
  )
})
