/** Random writes, deletions and reads of two keys against a model, and what a watcher of each saw. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { refused } from "./Expect.js"
import { collect, record } from "./Fixtures.js"
import { check, type Model } from "./Model.js"
import { type Scenario, scenario } from "./Scenario.js"
import { valueOf } from "./values.js"

type Command =
  | { readonly call: "write"; readonly key: string; readonly text: string; readonly expects: "any" | "none" | number }
  | { readonly call: "remove"; readonly key: string }

/** Every version that a key had: its text, none for a tombstone. */
type History = ReadonlyArray<string | undefined>

const key = FastCheck.constantFrom("a", "b")

const command: FastCheck.Arbitrary<Command> = FastCheck.oneof(
  {
    weight: 5,
    arbitrary: FastCheck.record({
      call: FastCheck.constant("write" as const),
      key,
      text: FastCheck.constantFrom("1", '"é"', '{ "a":1.0 }', ""),
      // the version that is there, or one beside it
      expects: FastCheck.oneof(
        FastCheck.constantFrom("any" as const, "none" as const),
        FastCheck.integer({ min: -1, max: 1 })
      )
    })
  },
  { weight: 2, arbitrary: FastCheck.record({ call: FastCheck.constant("remove" as const), key }) }
)

export const valueModel: Model<Command> = {
  command,
  run: (w, name, commands) =>
    Effect.gen(function* () {
      const model = new Map<string, History>()
      const at = (key: string) => valueOf(w, key, `${w.id}-${name}`)
      for (const command of commands) {
        const history = model.get(command.key) ?? []
        const value = at(command.key)
        const held = BigInt(history.length)
        if (command.call === "remove") {
          const removed = yield* value.remove
          const isThere = held > 0n
          assert.deepEqual([removed.deleted, removed.version], [isThere, isThere ? held + 1n : 0n])
          if (isThere) model.set(command.key, [...history, undefined])
        } else {
          const ifVersion =
            command.expects === "any" ? -1n : command.expects === "none" ? 0n : held + BigInt(command.expects)
          if (ifVersion >= 0n && ifVersion !== held) {
            yield* refused(value.write(command.text, ifVersion), "Conflict", "version conflict")
          } else {
            assert.equal((yield* value.write(command.text, ifVersion)).version, held + 1n)
            model.set(command.key, [...history, command.text])
          }
        }
        yield* agrees(at(command.key), model.get(command.key) ?? [])
      }
      for (const [key, history] of model) yield* wasSeen(at(key), history)
    })
}

const agrees = (value: ReturnType<typeof valueOf>, history: History) =>
  Effect.map(value.get, ({ found, value }) => {
    const last = history.at(-1)
    assert.equal(found, last !== undefined)
    assert.deepEqual(
      [value?.version, value?.valueJson, value?.deleted],
      history.length === 0
        ? [undefined, undefined, undefined]
        : [BigInt(history.length), last ?? "", last === undefined]
    )
  })

const wasSeen = (value: ReturnType<typeof valueOf>, history: History) =>
  Effect.gen(function* () {
    if (history.length < 2) return
    const events = yield* collect(value.watch(1n), (event) => event.value?.version === BigInt(history.length))
    assert.deepEqual(
      events.map(({ prevValueJson, prevVersion, value }) => [
        record(value).version,
        record(value).valueJson,
        record(value).deleted,
        prevVersion,
        prevValueJson
      ]),
      history
        .slice(1)
        .map((text, n) => [BigInt(n + 2), text ?? "", text === undefined, BigInt(n + 1), history[n] ?? ""])
    )
  })

export const valueModelScenarios: ReadonlyArray<Scenario> = [
  scenario("MODEL-VALUE", "P1", "random writes and deletions agree with a model", function* (w) {
    yield* check(w, valueModel, 40)
  })
]
