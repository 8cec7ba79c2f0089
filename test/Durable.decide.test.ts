/** Decisions and samples are made once, over all lives of a run. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schedule, Schema } from "effect"
import { TapeClient } from "effect-tape"
import * as Durable from "../src/Durable.js"
import { firstRun, ids, journalOf, killedAt, leaseRunsOut, scriptedModel, Tape } from "./Durable.fixtures.js"

const chat = (model: ReturnType<typeof scriptedModel>) =>
  Durable.app("chat", {
    input: Schema.Struct({ turns: Schema.Number }),
    output: Schema.Array(Schema.String),
    *run({ turns }) {
      const said: Array<string> = []
      for (let turn = 0; turn < turns; turn++) {
        const request = `q${turn}`
        said.push(yield* Durable.decide({ model: "m-1", request, response: Schema.String }, model.ask(request)))
      }
      return said
    }
  })

/** Everything that was decided and done in the run, without what names the run and its moments. */
const trajectory = Effect.gen(function* () {
  const tape = yield* TapeClient
  const run = yield* firstRun
  const decisions = yield* Effect.forEach([0n, 1n, 2n, 3n], (decisionIndex) =>
    Effect.map(tape.getDecision({ runId: run.runId, decisionIndex }), ({ decision }) => [
      decision?.decisionIndex,
      decision?.seq,
      decision?.model,
      decision?.requestJson,
      decision?.responseJson
    ])
  )
  return { decisions, journal: yield* journalOf(run), status: run.status }
})

describe("decisions", () => {
  it.effect("DEC-05 · are asked for once, over all lives of the run", () =>
    Effect.gen(function* () {
      const script = ["a", "b", "c", "d"]
      const model = scriptedModel(...script)
      const app = chat(model)
      yield* killedAt({ rpc: "recordDecision", at: "after", nth: 2 }, app.start(ids("i"), { turns: 4 }))
      assert.deepStrictEqual(model.asked, ["q0", "q1"])
      yield* leaseRunsOut
      const said = yield* app.start(ids("i"), { turns: 4 })
      assert.deepStrictEqual(said, ["a", "b", "c", "d"])
      assert.deepStrictEqual(model.asked, ["q0", "q1", "q2", "q3"])
      const uninterrupted = Effect.zipRight(chat(scriptedModel(...script)).start(ids("i"), { turns: 4 }), trajectory)
      assert.deepStrictEqual(yield* trajectory, yield* Effect.provide(uninterrupted, Layer.fresh(Tape)))
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that were not recorded are asked for again", () =>
    Effect.gen(function* () {
      const model = scriptedModel("a", "b")
      const app = chat(model)
      yield* killedAt({ rpc: "recordDecision", at: "before", nth: 2 }, app.start(ids("i"), { turns: 2 }))
      yield* leaseRunsOut
      assert.deepStrictEqual(yield* app.start(ids("i"), { turns: 2 }), ["a", "b"])
      assert.deepStrictEqual(model.asked, ["q0", "q1", "q1"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that failed leave their place to the retry", () =>
    Effect.gen(function* () {
      let calls = 0
      const flaky = Effect.suspend(() => (++calls < 3 ? Effect.fail("busy" as const) : Effect.succeed("yes")))
      const app = Durable.app("flaky", {
        input: Schema.Struct({}),
        *run() {
          const first = yield* Durable.decide({ model: "m", request: 1, response: Schema.String }, flaky).pipe(
            Effect.retry(Schedule.recurs(5))
          )
          const second = yield* Durable.decide({ model: "m", request: 2, response: Schema.String }, Effect.succeed("2"))
          return [first, second]
        }
      })
      assert.deepStrictEqual(yield* app.start(ids("i"), {}), ["yes", "2"])
      const run = yield* firstRun
      const tape = yield* TapeClient
      const { decision } = yield* tape.getDecision({ runId: run.runId, decisionIndex: 1n })
      assert.strictEqual(decision?.requestJson, "2")
      // Without an output schema a finished run is replayed from its records.
      assert.deepStrictEqual(yield* app.start(ids("i"), {}), ["yes", "2"])
      assert.strictEqual(calls, 3)
    }).pipe(Effect.provide(Tape))
  )
})

describe("samples", () => {
  it.effect("see the same world in every life", () =>
    Effect.gen(function* () {
      const app = Durable.app("sampling", {
        input: Schema.Void,
        *run() {
          const seen = [
            (yield* Durable.now).epochMillis,
            yield* Durable.random,
            yield* Durable.random,
            yield* Durable.uuid
          ]
          yield* Durable.decide({ model: "m", request: 0, response: Schema.Void }, Effect.void)
          return seen
        }
      })
      yield* killedAt({ rpc: "recordDecision", at: "before" }, app.start(ids("i"), undefined))
      yield* leaseRunsOut
      const second = yield* app.start(ids("i"), undefined)
      assert.deepStrictEqual(second[0], 0)
      assert.notStrictEqual(second[1], second[2])
      assert.deepStrictEqual(yield* app.start(ids("i"), undefined), second)
    }).pipe(Effect.provide(Tape))
  )
})
