/** Random timer calls of one run against a model. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { check, type Model } from "./Model.js"
import { type Scenario, scenario } from "./Scenario.js"

type Command =
  | { readonly call: "set"; readonly id: string; readonly at: bigint; readonly payload: string }
  | { readonly call: "cancel"; readonly id: string }
  | { readonly call: "fire"; readonly at: bigint; readonly claim: boolean }

interface Timer {
  readonly at: bigint
  readonly payload: string
  readonly fired: boolean
}

const id = FastCheck.constantFrom("x", "y", "z")
/** Times long past, so that no scenario's own timers are taken. */
const at = FastCheck.bigInt({ min: 10n, max: 15n })

const command: FastCheck.Arbitrary<Command> = FastCheck.oneof(
  {
    weight: 4,
    arbitrary: FastCheck.record({
      call: FastCheck.constant("set" as const),
      id,
      at,
      payload: FastCheck.constantFrom("", "1", '{ "a":1.0 }')
    })
  },
  { weight: 2, arbitrary: FastCheck.record({ call: FastCheck.constant("cancel" as const), id }) },
  {
    weight: 4,
    arbitrary: FastCheck.record({ call: FastCheck.constant("fire" as const), at, claim: FastCheck.boolean() })
  }
)

export const timerModel: Model<Command> = {
  command,
  run: (w, name, commands) =>
    Effect.gen(function* () {
      const runId = yield* w.run(name)
      const model = new Map<string, Timer>()
      const created = new Map<string, bigint>()
      const due = (nowMs: bigint) =>
        [...model]
          .filter(([, timer]) => !timer.fired && timer.at <= nowMs)
          .map(([timerId, { at, payload }]) => [timerId, at, payload] as const)
          .toSorted(([a], [b]) => a.localeCompare(b))
      for (const command of commands) {
        if (command.call === "set") {
          const { at: fireAtMs, id: timerId, payload: payloadJson } = command
          const set = yield* w.tape.setTimer({ runId, timerId, fireAtMs, kind: "k", payloadJson })
          assert.deepEqual(
            [set.timerId, set.fireAtMs, set.payloadJson, set.fired],
            [timerId, fireAtMs, payloadJson, false]
          )
          assert.equal(set.createdAtMs, created.get(timerId) ?? set.createdAtMs, "it was created once")
          created.set(timerId, set.createdAtMs)
          model.set(timerId, { at: fireAtMs, payload: payloadJson, fired: false })
        } else if (command.call === "cancel") {
          const { cancelled } = yield* w.tape.cancelTimer({ runId, timerId: command.id })
          assert.equal(cancelled, model.get(command.id)?.fired === false)
          if (cancelled) {
            model.delete(command.id)
            created.delete(command.id)
          }
        } else {
          const { timers } = yield* w.tape.listDueTimers({ nowMs: command.at, claim: command.claim, limit: 10_000n })
          const mine = timers.filter((timer) => timer.runId === runId)
          assert.deepEqual(
            mine
              .map((timer) => [timer.timerId, timer.fireAtMs, timer.payloadJson] as const)
              .toSorted(([a], [b]) => a.localeCompare(b)),
            due(command.at)
          )
          if (command.claim) {
            for (const { timerId } of mine) {
              const timer = model.get(timerId) ?? assert.fail(timerId)
              model.set(timerId, { ...timer, fired: true })
            }
          }
        }
      }
      yield* w.endRun(runId, 4)
      for (const timerId of model.keys()) yield* w.tape.cancelTimer({ runId, timerId })
    })
}

export const timerModelScenarios: ReadonlyArray<Scenario> = [
  scenario("MODEL-TIMER", "P1", "random timer calls agree with a model", function* (w) {
    yield* check(w, timerModel, 40)
  })
]
