import * as Fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { TapeClient } from "../src/Client.js"
import { Unavailable } from "../src/Errors.js"
import * as Sinks from "../src/Sinks.js"
import { begin, entry, folder, publish, tape, tapeWith } from "./Sinks.fixtures.js"

const none = Sinks.fromFunction(() => Effect.void)

describe("Sinks.cursorFile", () => {
  it.scoped("refuses a damaged one, and leaves it as it is", () =>
    Effect.gen(function* () {
      const path = `${yield* folder}/audit.cursor`
      for (const text of ["", "{", "12", '{"last_global_seq":-1}', '{"last_global_seq":1.5}', '{"last_ts":5}']) {
        Fs.writeFileSync(path, text)
        const error = yield* Effect.flip(Sinks.cursorFile({ path }).open("audit"))
        assert.deepInclude(error, { _tag: "CursorError", reason: "Damaged", place: path })
        const layer = Sinks.layerRelay({ name: "audit", cursor: Sinks.cursorFile({ path }) }, none)
        assert.deepInclude(yield* Effect.flip(Layer.build(layer)), { reason: "Damaged" })
        assert.strictEqual(Fs.readFileSync(path, "utf8"), text)
      }
    }).pipe(Effect.provide(tape))
  )

  it.scoped("tells one that cannot be read from one that is not there", () =>
    Effect.gen(function* () {
      const path = yield* folder
      assert.deepInclude(yield* Effect.flip(Sinks.cursorFile({ path }).open("audit")), { reason: "NotReadable" })
      const { position, save } = yield* Sinks.cursorFile({ path: `${path}/new` }).open("audit")
      assert.isTrue(Option.isNone(position))
      Fs.mkdirSync(`${path}/new`)
      assert.deepInclude(yield* Effect.flip(save(1n)), { reason: "NotWritable" })
    })
  )

  it.scopedLive("refuses one of another tape instead of waiting for its journal to grow", () =>
    Effect.gen(function* () {
      const path = `${yield* folder}/audit.cursor`
      Fs.writeFileSync(path, '{"last_global_seq":999}')
      const options = { name: "audit", cursor: Sinks.cursorFile({ path }) }
      yield* begin("i1")
      assert.deepInclude(yield* Effect.flip(Sinks.relayOnce(options, none)), { reason: "Ahead" })
      assert.deepInclude(yield* Effect.flip(Layer.build(Sinks.layerRelay(options, none))), { reason: "Ahead" })
    }).pipe(Effect.provide(tape))
  )
})

describe("Sinks.cursorValue", () => {
  it.scoped("knows its own write again when the answer was lost, and another's", () =>
    Effect.gen(function* () {
      let lose = false
      const losing = tapeWith((tape) => ({
        writeValue: (request, options) =>
          Effect.flatMap(tape.writeValue(request, options), (record) => {
            if (!lose) return Effect.succeed(record)
            lose = false
            return new Unavailable({ rpc: "WriteValue", detail: "lost", ids: {}, maybeApplied: true })
          })
      }))
      const mine = yield* Effect.provide(Sinks.cursorValue.open("audit"), losing)
      yield* mine.save(1n)
      lose = true
      assert.deepInclude(yield* Effect.flip(mine.save(2n)), { reason: "NotWritable" })
      yield* mine.save(2n)
      lose = true
      yield* Effect.flip(mine.save(3n))
      yield* mine.save(4n)
      const theirs = yield* Sinks.cursorValue.open("audit")
      assert.strictEqual(Option.getOrUndefined(theirs.position), 4n)
      yield* theirs.save(5n)
      assert.deepInclude(yield* Effect.flip(mine.save(6n)), { reason: "Taken" })
      assert.deepInclude(yield* Effect.flip(mine.save(6n)), { reason: "Taken" })
      yield* theirs.save(7n)
    }).pipe(Effect.provide(tape))
  )

  it.scoped("refuses a damaged one", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* tape.writeValue({ namespace: "tape:relay", key: "audit", valueJson: '"x"', ifVersion: -1n })
      assert.deepInclude(yield* Effect.flip(Sinks.cursorValue.open("audit")), { reason: "Damaged" })
    }).pipe(Effect.provide(tape))
  )
})

describe("Sinks.log", () => {
  it.scoped("appends whole lines, also behind one that was torn, and fails where it cannot", () =>
    Effect.gen(function* () {
      const path = yield* folder
      Fs.writeFileSync(`${path}/audit.jsonl`, '{"run_id":"tor')
      yield* publish(Sinks.log({ path: `${path}/audit.jsonl` }), entry, { ...entry, seq: 8n })
      const [torn, ...lines] = Fs.readFileSync(`${path}/audit.jsonl`, "utf8").trimEnd().split("\n")
      assert.strictEqual(torn, '{"run_id":"tor')
      assert.deepStrictEqual(
        lines.map((line) => JSON.parse(line).seq),
        [7, 8]
      )
      assert.deepInclude(yield* Effect.flip(Sinks.log({ path }).make), { _tag: "Undelivered", sink: "log" })
    })
  )
})
