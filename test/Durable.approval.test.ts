/** Calls that a person has to approve, and what outbox effects leave to undo. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { TapeClient } from "effect-tape"
import { EffectStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { tool } from "../src/outbox/tool.js"
import { ended, ids, killedAt, signal, Tape, waitingAt } from "./Durable.fixtures.js"

const gate = "approve/no-decision/wire_money/0"

const wiring = () => {
  const undone: Array<string> = []
  const Wire = tool("wire_money", {
    connector: "bank.wire",
    semantics: "non_idempotent",
    input: Schema.Struct({ amount: Schema.Number }),
    output: Schema.Struct({ wireId: Schema.String }),
    humanGate: true,
    compensate: ({ amount }, { wireId }) => Effect.sync(() => undone.push(`${wireId} ${amount}`))
  })
  const app = Durable.app("wiring", {
    input: Schema.Void,
    output: Schema.String,
    tools: [Wire],
    run: () => Effect.map(Wire({ amount: 100 }), (pending) => pending.idempotencyKey)
  })
  return { app, Wire, undone }
}

const intents = Effect.flatMap(TapeClient, (tape) =>
  Effect.map(tape.listEffectsToDispatch({}), ({ effects }) => effects.map(({ requestJson }) => requestJson))
)

describe("a call with a human gate", () => {
  it.effect("is recorded when a person has approved it, and asked once over all lives", () =>
    Effect.gen(function* () {
      const { app } = wiring()
      const first = yield* Effect.fork(app.start(ids("i"), undefined))
      const { runId } = yield* waitingAt(gate)
      assert.deepStrictEqual(yield* intents, [])
      yield* Fiber.interrupt(first)
      yield* signal(runId, gate, { approved: true })
      assert.strictEqual(yield* app.start(ids("i"), undefined), `${runId}/no-decision/wire_money/0`)
      assert.deepStrictEqual(yield* intents, [`{"amount":100}`])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("fails typed when the person refuses it, and nothing is sent", () =>
    Effect.gen(function* () {
      const { app } = wiring()
      const fiber = yield* Effect.fork(Effect.flip(app.start(ids("i"), undefined)))
      const { runId } = yield* waitingAt(gate)
      yield* signal(runId, gate, { approved: false, reason: "too much" })
      const error = yield* ended(fiber)
      assert.instanceOf(error, Durable.EffectFailed)
      assert.strictEqual(error.message, "wire_money failed: a person refused it: too much")
      assert.deepStrictEqual(yield* intents, [])
    }).pipe(Effect.provide(Tape))
  )
})

describe("compensators", () => {
  it.effect("read from the effect's record what a dispatcher's obligation lacks", () =>
    Effect.gen(function* () {
      const { app, undone, Wire } = wiring()
      yield* killedAt(
        { rpc: "endRun", at: "before" },
        Effect.zipRight(Effect.fork(approval), app.start(ids("i"), undefined))
      )
      const tape = yield* TapeClient
      const [effect] = (yield* tape.listEffectsToDispatch({})).effects
      const { idempotencyKey = "", runId = "" } = effect ?? {}
      yield* tape.claimEffectDispatch({ runId, idempotencyKey, claimer: "d" })
      const status = EffectStatus.CONFIRMED
      yield* tape.completeEffect({ runId, idempotencyKey, status, responseJson: `{"wireId":"W-1"}` })
      const obligation = yield* tape.registerCompensation({
        runId,
        effectKey: idempotencyKey,
        kind: "wire_money",
        payloadJson: `{"wireId":"W-1"}`
      })
      const known = Durable.compensatorsOf([app, Wire])
      const undo = known("wire_money") ?? (() => Effect.dieMessage("no compensator"))
      yield* undo(JSON.parse(obligation.payloadJson), obligation)
      assert.deepStrictEqual(undone, ["W-1 100"])
      assert.isUndefined(known("another"))
    }).pipe(Effect.provide(Tape))
  )

  const approval = Effect.flatMap(waitingAt(gate), ({ runId }) => signal(runId, gate, { approved: true }))
})
