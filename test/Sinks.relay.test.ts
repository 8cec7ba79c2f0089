import * as Fs from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, Schedule, Scope, Stream } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Sinks from "../src/Sinks.js"
import { begin, beginMany, folder, receiver, tape, tapeWith, until, write } from "./Sinks.fixtures.js"

const quiet = Logger.remove(Logger.defaultLogger)
const silent = Layer.merge(tape, quiet)

/** A sink that keeps what it is given. */
const keeping = () => {
  const kept: Array<Sinks.Entry> = []
  return { kept, sink: Sinks.fromFunction((entry) => Effect.sync(() => kept.push(entry))) }
}

const ids = (entries: ReadonlyArray<Sinks.Entry>) => entries.map(Sinks.eventIdOf)

const fast = { saveInterval: "10 millis", backOff: "10 millis", standBy: "20 millis" } as const

/** A relay that can be stopped by itself. */
const started = <E>(relay: Layer.Layer<never, E, TapeClient>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(relay, scope)
    return Scope.close(scope, Exit.void)
  })

/** The lines logged, with their level. */
const logged = () => {
  const lines: Array<string> = []
  const layer = Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ logLevel, message }) => {
      lines.push(`${logLevel.label} ${[message].flat()[0]}`)
    })
  )
  return { lines, layer }
}

describe("Sinks.relayOnce", () => {
  it.scopedLive("EVT-10: publishes what is there, then nothing, then what is new; the file holds only the cursor", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const cursor = Sinks.cursorFile({ path: `${path}/made/audit.cursor` })
      const tick = Sinks.relayOnce({ name: "audit", cursor }, Sinks.log({ path: `${path}/audit.jsonl` }))
      const stored = () => JSON.parse(Fs.readFileSync(`${path}/made/audit.cursor`, "utf8"))
      const lines = () =>
        Fs.readFileSync(`${path}/audit.jsonl`, "utf8")
          .split("\n")
          .filter((line) => line !== "")
          .map((line) => JSON.parse(line))

      yield* begin("i1")
      yield* begin("i2")
      yield* write("fx", "1")
      assert.deepInclude(yield* tick, { published: 3, skipped: 0 })
      assert.deepStrictEqual(Object.keys(stored()), ["last_global_seq"])
      assert.isAbove(stored().last_global_seq, 0)
      assert.deepInclude(yield* tick, { published: 0 })
      yield* begin("i3")
      assert.deepInclude(yield* tick, { published: 1 })
      assert.strictEqual(lines().length, 4)
      assert.strictEqual(new Set(lines().map(({ run_id, seq }) => `${run_id}/${seq}`)).size, 4)
      assert.deepStrictEqual(Fs.readdirSync(`${path}/made`), ["audit.cursor"])
    }).pipe(Effect.provide(tape))
  )

  it.scopedLive("takes what a pattern and a predicate select, and ends when nothing of it is there", () =>
    Effect.gen(function* () {
      yield* begin("i1")
      yield* write("fx", "1")
      yield* write("fx", "2")
      yield* write("other", "3")
      for (const [pattern, where, expected] of [
        ["/tape/value/changed/treasury/fx", undefined, 2],
        ["/tape/value/*/treasury/**", undefined, 3],
        ["/tape/value/*/treasury", undefined, 0],
        ["/tape/run/**", undefined, 1],
        ["/tape/**", "kind == 'value' // all of them", 3],
        ["/tape/value/changed/**", "payload.value.value_json == '2'", 1],
        ["/tape/session/**", undefined, 0],
        ["**", undefined, 4]
      ] as const) {
        const { kept, sink } = keeping()
        const name = `${pattern} ${where}`
        const { published } = yield* Sinks.relayOnce({ name, pattern, where }, sink)
        assert.strictEqual(published, expected, name)
        assert.strictEqual(kept.length, expected, name)
      }
      const error = yield* Effect.flip(Sinks.relayOnce({ name: "x", pattern: "/tape/**/x" }, keeping().sink))
      assert.strictEqual(error._tag, "InvalidRequest")
    }).pipe(Effect.provide(tape))
  )

  it.scopedLive("from the head, the first tick publishes nothing, and the next one what came since", () =>
    Effect.gen(function* () {
      yield* begin("i1")
      const { kept, sink } = keeping()
      const tick = Sinks.relayOnce({ name: "audit", pattern: "/tape/run/**", from: "head" }, sink)
      assert.deepInclude(yield* tick, { published: 0 })
      const run = yield* begin("i2")
      assert.deepInclude(yield* tick, { published: 1 })
      assert.deepStrictEqual(ids(kept), [`${run}/1`])
    }).pipe(Effect.provide(tape))
  )

  it.scopedLive("stores what was accepted before a failure, and goes on there", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      yield* beginMany(5)
      const sink = Sinks.webhook({ url: audit.url, maxAttempts: 1 })
      audit.answer({ status: 204 }, { status: 204 }, { status: 503 })
      const error = yield* Effect.flip(Sinks.relayOnce({ name: "audit" }, sink))
      assert.strictEqual(error._tag, "Undelivered")
      assert.deepInclude(yield* Sinks.relayOnce({ name: "audit" }, sink), { published: 3 })
      assert.strictEqual(new Set(audit.accepted).size, 5)
      assert.strictEqual(audit.accepted.length, 5)
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("a refused entry stops it, or is put aside when that is asked for", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      const [, poisoned] = yield* beginMany(3)
      audit.always(({ headers }) => ({ status: headers["x-tape-event-id"] === `${poisoned}/1` ? 422 : 204 }))
      const sink = Sinks.webhook({ url: audit.url })
      const stopped = yield* Effect.flip(Sinks.relayOnce({ name: "stop" }, sink))
      assert.deepInclude(stopped, { _tag: "Rejected", status: 422, eventId: `${poisoned}/1` })
      assert.strictEqual((yield* Effect.flip(Sinks.relayOnce({ name: "stop" }, sink)))._tag, "Rejected")

      const aside: Array<string> = []
      const onSkipped = (entry: Sinks.Entry) => Effect.sync(() => aside.push(entry.runId))
      const skipping = { name: "skip", onPoison: "skip", onSkipped } as const
      assert.deepInclude(yield* Sinks.relayOnce(skipping, sink), { published: 2, skipped: 1 })
      assert.deepStrictEqual(aside, [poisoned])
      assert.deepInclude(yield* Sinks.relayOnce(skipping, sink), { published: 0, skipped: 0 })

      // Nothing is lost where there is no place for it, nor to a receiver that refuses everything.
      const full = Sinks.relayOnce({ ...skipping, name: "full", onSkipped: () => Effect.fail("disk full") }, sink)
      assert.include((yield* Effect.flip(full)).message, "disk full")
      audit.always(() => ({ status: 404 }))
      assert.strictEqual((yield* Effect.flip(Sinks.relayOnce({ ...skipping, name: "gone" }, sink)))._tag, "Rejected")
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("finds the refused entry in a batch", () =>
    Effect.gen(function* () {
      const [, poisoned] = yield* beginMany(4)
      const kept: Array<Sinks.Entry> = []
      const sink = Sinks.make(
        Effect.succeed((entries: ReadonlyArray<Sinks.Entry>) =>
          Effect.suspend(() => {
            const bad = entries.find(({ runId }) => runId === poisoned)
            if (bad === undefined) return Effect.sync(() => kept.push(...entries))
            return new Sinks.Rejected({ sink: "s", eventId: Sinks.eventIdOf(bad), detail: "no", fault: "entry" })
          })
        ),
        { batchSize: 10 }
      )
      assert.deepInclude(yield* Sinks.relayOnce({ name: "a", onPoison: "skip" }, sink), { published: 3, skipped: 1 })
      assert.strictEqual(kept.length, 3)
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("of two at once with one cursor, the second to store fails and the cursor stays right", () =>
    Effect.gen(function* () {
      yield* beginMany(3)
      const inside = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const slow = Sinks.fromFunction(() => Effect.zipRight(Deferred.succeed(inside, void 0), Deferred.await(go)))
      const first = yield* Effect.fork(Effect.flip(Sinks.relayOnce({ name: "audit" }, slow)))
      yield* Deferred.await(inside)
      assert.deepInclude(yield* Sinks.relayOnce({ name: "audit" }, keeping().sink), { published: 3 })
      yield* Deferred.succeed(go, void 0)
      assert.deepInclude(yield* Fiber.join(first), { _tag: "CursorError", reason: "Taken" })
      assert.deepInclude(yield* Sinks.relayOnce({ name: "audit" }, keeping().sink), { published: 0 })
    }).pipe(Effect.provide(silent))
  )
})

describe("Sinks.layerRelay", () => {
  it.scopedLive("EVT-11: killed between publish and save, nothing is missing and ids tell repeats apart", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      const runs = yield* beginMany(20)
      const sink = Sinks.webhook({ url: audit.url })
      // This cursor never stores: what a process that dies has stored.
      const dead: Sinks.CursorStore<never, TapeClient> = {
        open: (name) => Effect.map(Sinks.cursorValue.open(name), (cursor) => ({ ...cursor, save: () => Effect.never }))
      }
      const stop = yield* started(
        Sinks.layerRelay({ ...fast, name: "audit", cursor: dead, grace: 0, saveEvery: 7 }, sink)
      )
      yield* until("seven are there", () => audit.accepted.length === 7)
      yield* stop
      const [again] = yield* Effect.all([started(Sinks.layerRelay({ ...fast, name: "audit" }, sink))])
      yield* until("all are there", () => new Set(audit.accepted).size === 20)
      yield* again
      assert.strictEqual(audit.accepted.length, 27)
      assert.sameMembers(
        [...new Set(audit.accepted)],
        runs.map((run) => `${run}/1`)
      )
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("an orderly stop lets the entry in flight finish and repeats nothing", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      yield* beginMany(3)
      const sink = Sinks.webhook({ url: audit.url })
      audit.answer("hold")
      const stop = yield* started(Sinks.layerRelay({ ...fast, name: "audit", saveInterval: "1 hour" }, sink))
      yield* audit.next
      const stopping = yield* Effect.fork(stop)
      yield* Effect.yieldNow()
      audit.release()
      yield* Fiber.join(stopping)
      assert.strictEqual(audit.accepted.length, 1)
      assert.deepInclude(yield* Sinks.relayOnce({ name: "audit" }, sink), { published: 2 })
      assert.strictEqual(new Set(audit.accepted).size, 3)
      assert.strictEqual(audit.posts.length, 3)
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("from the head, follows what comes, in order, and never tells of its own cursor", () =>
    Effect.gen(function* () {
      yield* beginMany(3)
      const { kept, sink } = keeping()
      yield* Layer.build(Sinks.layerRelay({ ...fast, name: "audit", from: "head" }, sink))
      const runs = yield* Effect.forEach(["a", "b", "c"], begin)
      yield* until("three are there", () => kept.length >= 3)
      const tape = yield* TapeClient
      const saved = Effect.map(tape.getValue({ namespace: "tape:relay", key: "audit" }), ({ value }) => ({
        version: value?.version,
        position: BigInt(JSON.parse(value?.valueJson ?? "{}").last_global_seq ?? 0)
      }))
      yield* saved.pipe(
        Effect.repeat({
          until: ({ position }) => position >= (kept[2]?.globalSeq ?? 0n),
          schedule: Schedule.spaced("5 millis")
        }),
        Effect.timeout("5 seconds")
      )
      const { version } = yield* saved
      yield* Effect.sleep("100 millis")
      assert.deepStrictEqual(
        ids(kept),
        runs.map((run) => `${run}/1`)
      )
      // A cursor that was told of itself would never come to rest.
      assert.strictEqual((yield* saved).version, version)
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("is not built with a pattern or a predicate that the tape refuses", () =>
    Effect.gen(function* () {
      yield* begin("i1")
      for (const selection of [{ pattern: "/tape/**/x" }, { where: "kind ==" }, { where: "nonsense == 1" }]) {
        const relay = Sinks.layerRelay({ ...fast, ...selection, name: "audit" }, keeping().sink)
        assert.strictEqual((yield* Effect.flip(Layer.build(relay)))._tag, "InvalidRequest")
      }
      const { kept, sink } = keeping()
      yield* Layer.build(Sinks.layerRelay({ ...fast, name: "audit", where: "kind == 'run'" }, sink))
      yield* until("it is there", () => kept.length === 1)
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("a sink that fails is asked again until it accepts, and said once", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      let calls = 0
      const kept: Array<bigint> = []
      const sink = Sinks.fromFunction((entry) =>
        Effect.suspend(() => {
          calls += 1
          if (calls % 2 === 1 && calls < 6) return Effect.fail("down")
          if (calls < 6) return Effect.die(new Error("a bug"))
          return Effect.sync(() => kept.push(entry.globalSeq))
        })
      )
      yield* Layer.build(Sinks.layerRelay({ ...fast, name: "audit" }, sink))
      yield* beginMany(3)
      yield* until("all are there", () => kept.length === 3)
      assert.deepStrictEqual(
        kept,
        kept.toSorted((a, b) => Number(a - b))
      )
      assert.strictEqual(new Set(kept).size, 3)
      yield* until("it was said", () => lines.length >= 2)
      assert.deepStrictEqual(lines, ["ERROR entries cannot be delivered", "INFO entries are delivered again"])
    }).pipe(Effect.provide(Layer.merge(tape, layer)))
  })

  it.scopedLive("a slow receiver holds back the reading of the journal", () =>
    Effect.gen(function* () {
      yield* beginMany(250)
      const audit = yield* receiver
      audit.answer("hold")
      let read = 0
      const counting = tapeWith((tape) => ({
        subscribeBySubject: (request, options) =>
          Stream.tap(tape.subscribeBySubject(request, options), () => Effect.sync(() => (read += 1)))
      }))
      const relay = Sinks.layerRelay({ ...fast, name: "audit" }, Sinks.webhook({ url: audit.url }))
      yield* Layer.build(Layer.provide(relay, counting))
      yield* audit.next
      yield* Effect.sleep("50 millis")
      assert.isBelow(read, 100)
      assert.strictEqual(audit.posts.length, 1)
      audit.release()
      yield* until("all are there", () => audit.accepted.length === 250)
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("of two with one cursor one works and the other stands by", () =>
    Effect.gen(function* () {
      const { kept, sink } = keeping()
      const first = yield* started(Sinks.layerRelay({ ...fast, name: "audit" }, sink))
      const second = yield* started(Sinks.layerRelay({ ...fast, name: "audit" }, sink))
      const runs = yield* Effect.forEach(
        Array.from({ length: 30 }, (_, index) => `i-${index}`),
        begin
      )
      yield* until("all are there", () => new Set(ids(kept)).size === 30)
      yield* first
      const last = yield* begin("last")
      yield* until("the one left goes on", () => ids(kept).includes(`${last}/1`))
      yield* second
      assert.sameMembers(
        [...new Set(ids(kept))],
        [...runs, last].map((run) => `${run}/1`)
      )
      assert.deepInclude(yield* Sinks.relayOnce({ name: "audit" }, sink), { published: 0 })
    }).pipe(Effect.provide(silent))
  )

  it.scopedLive("each sink of a fan-out has its own cursor, and one that is down holds up no other", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const { kept, sink } = keeping()
      const down = Sinks.fromFunction(() => Effect.fail("down"))
      const cursor = (relay: string) => Sinks.cursorFile({ path: `${path}/${relay}.json` })
      const stop = yield* started(Sinks.layerFanOut({ ...fast, name: "audit", cursor }, { down, sink }))
      yield* beginMany(3)
      yield* until("all are there", () => kept.length === 3)
      yield* stop
      assert.deepStrictEqual(Fs.readdirSync(`${path}/audit`), ["sink.json"])
    }).pipe(Effect.provide(silent))
  )
})
