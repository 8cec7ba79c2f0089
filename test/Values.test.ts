import { assert, describe, it, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger, Option, Queue, Schedule, Schema, Stream } from "effect"
import { Client, Errors, TapeClient, Values } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { expectTypeOf } from "vitest"
import { startable } from "./client/servers.js"
import { tapeWith } from "./Sinks.fixtures.js"
import { transports } from "./support/Harness.js"

const memory = Engine.layerUrl("memory:")
const quiet = Logger.remove(Logger.defaultLogger)

/** A change in a line: its version, what it says, and what was before. */
const said = <A>({ previous, value, version }: Values.WatchedChange<A>) =>
  [version, Option.getOrNull(value), Option.getOrNull(previous)] as const

const raw = (namespace: string, key: string, valueJson: string) =>
  Effect.flatMap(TapeClient, (tape) => tape.writeValue({ namespace, key, valueJson, ifVersion: -1n }))

const increment = Option.match({ onNone: () => 1, onSome: (count: number) => count + 1 })

/** A stream that is open for the rest of the test; `next` is its next element. */
const opened = <A, E, R>(stream: Stream.Stream<A, E, R>) =>
  Effect.gen(function* () {
    const queue = yield* Queue.unbounded<A>()
    yield* Effect.forkScoped(Stream.runForEach(stream, (element) => Queue.offer(queue, element)))
    return Effect.timeout(Queue.take(queue), "5 seconds")
  })

for (const [name, transport] of Object.entries(transports)) {
  layer(Layer.provide(transport, memory), { excludeTestServices: true })(`Values, ${name}`, (it) => {
    it.effect("VAL-03: a write without a version is for any version: two of them give versions 1 and 2", () =>
      Effect.gen(function* () {
        const Rates = Values.make("VAL-03", { value: Schema.Number })
        assert.deepStrictEqual(yield* Rates.get("fx"), Option.none())
        const first = yield* Rates.set("fx", 1.08)
        const second = yield* Rates.set("fx", 1.09, { writer: "alice" })
        assert.deepInclude(first, { value: 1.08, version: 1, writer: "" })
        assert.deepInclude(second, { value: 1.09, version: 2, writer: "alice" })
        assert.deepStrictEqual(yield* Rates.get("fx"), Option.some(second))
      })
    )

    it.effect("a write replaces the version it names, or fails with Conflict", () =>
      Effect.gen(function* () {
        const Rates = Values.make("cas", { value: Schema.Number })
        const first = yield* Rates.set("fx", 1, { ifVersion: "absent" })
        for (const ifVersion of ["absent", 0, 2, 7n] as const) {
          const error = yield* Effect.flip(Rates.set("fx", 9, { ifVersion }))
          assert.deepInclude(error, { _tag: "Conflict", ids: { namespace: "cas", key: "fx" } })
        }
        yield* Rates.set("fx", 2, { ifVersion: first.version })
        assert.strictEqual((yield* Rates.set("fx", 3, { ifVersion: 2n })).version, 3)
        for (const ifVersion of [-1, 1.5, Number.NaN, 2 ** 53, -1n, 2n ** 63n]) {
          assert.strictEqual((yield* Effect.flip(Rates.set("fx", 9, { ifVersion })))._tag, "InvalidRequest")
        }
        assert.deepInclude(Option.getOrThrow(yield* Rates.get("fx")), { value: 3, version: 3 })
      })
    )

    it.effect("what is deleted is absent, and its versions go on", () =>
      Effect.gen(function* () {
        const Rates = Values.make("tombstone", { value: Schema.Number })
        assert.deepStrictEqual(yield* Rates.remove("fx"), Option.none())
        yield* Rates.set("fx", 1)
        assert.deepStrictEqual(yield* Rates.remove("fx"), Option.some(2))
        assert.deepStrictEqual(yield* Rates.get("fx"), Option.none())
        assert.strictEqual((yield* Effect.flip(Rates.set("fx", 9, { ifVersion: 0 })))._tag, "Conflict")
        assert.deepInclude(yield* Rates.set("fx", 3, { ifVersion: "absent" }), { value: 3, version: 3 })
        assert.strictEqual((yield* Effect.flip(Rates.set("fx", 9, { ifVersion: "absent" })))._tag, "Conflict")
        yield* Rates.remove("fx")
        assert.deepInclude(yield* Rates.update("fx", increment), { value: 1, version: 5 })
      })
    )

    it.effect("20 updates at once add 20, and a watcher sees each of them", () =>
      Effect.gen(function* () {
        const Counts = Values.make("race", { value: Schema.Number })
        yield* Counts.set("n", 0)
        const watching = yield* Effect.fork(Stream.runCollect(Stream.take(Counts.watch("n", { after: 1 }), 20)))
        yield* Effect.all(
          Array.from({ length: 20 }, () => Counts.update("n", increment)),
          { concurrency: "unbounded" }
        )
        assert.deepInclude(Option.getOrThrow(yield* Counts.get("n")), { value: 20, version: 21 })
        const seen = yield* Effect.timeout(Fiber.join(watching), "5 seconds")
        assert.deepStrictEqual(
          Array.from(seen, said),
          Array.from({ length: 20 }, (_, n) => [n + 2, n + 1, n] as const)
        )
      })
    )

    it.scoped("a watcher sees the current value, then each change with what was before, deletions too", () =>
      Effect.gen(function* () {
        const Rates = Values.make("watch/ä %", { value: Schema.NumberFromString })
        yield* Rates.set("f/x", 1)
        yield* Rates.set("f/x", 2, { writer: "alice" })
        const next = yield* opened(Rates.watch("f/x"))
        const later = yield* opened(Rates.watch("later"))
        const first = yield* next
        assert.deepStrictEqual(said(first), [2, 2, 1])
        assert.deepInclude(first, { key: "f/x", writer: "alice" })
        yield* Rates.remove("f/x")
        const deletion = yield* next
        assert.deepStrictEqual(said(deletion), [3, null, 2])
        assert.strictEqual(deletion.writer, "")
        yield* Rates.set("f/x", 4)
        assert.deepStrictEqual(said(yield* next), [4, 4, null])
        yield* Rates.set("later", 1)
        assert.deepStrictEqual(said(yield* later), [1, 1, null])
        assert.strictEqual(
          (yield* Effect.flip(Stream.runDrain(Rates.watch("f/x", { after: -1 }))))._tag,
          "InvalidRequest"
        )
      })
    )

    it.scoped("the changes of a namespace come in the order of the journal, those of no other", () =>
      Effect.gen(function* () {
        // both namespaces are written the same in a subject
        const [Nameless, Underscored] = [Values.make("", { value: Schema.String }), Values.make("_")]
        const next = yield* opened(Nameless.changes())
        yield* Nameless.set("a", "1", { writer: "alice" })
        yield* Underscored.set("a", "not this")
        yield* Nameless.set("b/c", "2")
        yield* Nameless.remove("a")
        const seen = [yield* next, yield* next, yield* next]
        assert.deepStrictEqual(
          seen.map(({ key, value, version, writer }) => [key, Option.getOrNull(value), version, writer]),
          [
            ["a", "1", 1, "alice"],
            ["b/c", "2", 1, ""],
            ["a", null, 2, ""]
          ]
        )
        const [first, second] = seen
        const rest = yield* opened(Nameless.changes({ after: first?.globalSeq }))
        assert.deepStrictEqual(yield* rest, second)
      })
    )

    it.scoped("a value that does not fit the schema is an error with its name; a stream goes on after it", () =>
      Effect.gen(function* () {
        const Rates = Values.make("misfit", { value: Schema.Struct({ rate: Schema.Number }) })
        const text = JSON.stringify({ rate: "x".repeat(200) })
        yield* Rates.set("fx", { rate: 1 })
        yield* raw("misfit", "fx", text)
        const error = yield* Effect.flip(Rates.get("fx"))
        assert.deepInclude(error, { _tag: "ValueMismatch", namespace: "misfit", key: "fx", version: 2 })
        assert.match(error.message, /^value "misfit"\/"fx", version 2, is not what its schema says: [^]*\["rate"\]/)
        assert.include(error.message, text.slice(0, 70))
        assert.notInclude(error.message, text.slice(0, 90))
        const none = Effect.die("called although nothing can be read")
        assert.strictEqual((yield* Effect.flip(Rates.updateEffect("fx", () => none)))._tag, "ValueMismatch")
        yield* raw("misfit", "fx", "{")
        assert.include((yield* Effect.flip(Rates.get("fx"))).message, "not JSON")
        yield* Rates.set("fx", { rate: 4 })

        const failing = Stream.catchTag(Rates.watch("fx", { after: 1 }), "ValueMismatch", ({ version }) =>
          Stream.catchTag(Rates.watch("fx", { after: version }), "ValueMismatch", ({ version }) =>
            Rates.watch("fx", { after: version })
          )
        )
        const next = yield* opened(failing)
        assert.deepStrictEqual(said(yield* next), [4, { rate: 4 }, null])

        const versions: Array<number> = []
        const follow = (after?: bigint): Stream.Stream<number, Values.ValueError, TapeClient> =>
          Stream.catchTag(
            Stream.map(Rates.changes({ after }), ({ version }) => version),
            "ValueMismatch",
            (error) => {
              versions.push(error.version ?? 0)
              return follow(error.globalSeq)
            }
          )
        assert.deepStrictEqual(Array.from(yield* Stream.runCollect(Stream.take(follow(), 2))), [1, 4])
        assert.deepStrictEqual(versions, [2, 3])
      })
    )

    it.effect("what could not be read again is not written", () =>
      Effect.gen(function* () {
        const Positive = Values.make("unwritable", { value: Schema.Positive })
        const Anything = Values.make("unwritable")
        const Dates = Values.make("unwritable", { value: Schema.DateFromSelf })
        for (const write of [
          Positive.set("x", -1),
          Positive.set("x", Number.POSITIVE_INFINITY),
          Anything.set("x", undefined),
          Anything.set("x", 1n),
          Dates.set("x", new Date(0))
        ]) {
          const error = yield* Effect.flip(write)
          assert.deepInclude(error, { _tag: "ValueMismatch", key: "x", excerpt: "" })
          assert.match(error.message, /^value "unwritable"\/"x" was not written: /)
        }
        assert.deepStrictEqual(yield* Anything.get("x"), Option.none())
        yield* Anything.set("x", { a: [1, null, "ü"] })
        assert.deepInclude(Option.getOrThrow(yield* Anything.get("x")), { value: { a: [1, null, "ü"] }, version: 1 })
      })
    )
  })
}

const local = Layer.provide(Client.layerHandlers(Engine.Engine), memory)

describe("Values", () => {
  it("are typed by their schema, and need what it needs", () => {
    class Key extends Context.Tag("Key")<Key, string>() {}
    const Sealed = Schema.transformOrFail(Schema.String, Schema.Number, {
      decode: (text) => Effect.as(Key, text.length),
      encode: (length) => Effect.map(Key, (key) => key.repeat(length))
    })
    const [Rates, Secrets, Anything] = [
      Values.make("types", { value: Schema.NumberFromString }),
      Values.make("types", { value: Sealed }),
      Values.make("types")
    ]
    // @ts-expect-error: it is a number here, whatever it is in the tape
    void Rates.set("fx", "1")
    // @ts-expect-error: the contract has no such deletion
    void Rates.remove("fx", { ifVersion: 1 })
    expectTypeOf(Rates.get("fx")).toEqualTypeOf<
      Effect.Effect<Option.Option<Values.Versioned<number>>, Values.ValueError, TapeClient>
    >()
    expectTypeOf(Secrets.watch("x")).toEqualTypeOf<
      Stream.Stream<Values.WatchedChange<number>, Values.ValueError, TapeClient | Key>
    >()
    expectTypeOf(Anything.updateEffect("x", () => Effect.fail("why" as const))).toEqualTypeOf<
      Effect.Effect<Values.Versioned<unknown>, Values.ValueError | "why", TapeClient>
    >()
  })

  it.live("an update gives up when its schedule does, and does not try again what its own effect failed with", () =>
    Effect.gen(function* () {
      const Rates = Values.make("update", { value: Schema.Number })
      let tries = 0
      // somebody else is always a little faster
      const overtaken = Rates.updateEffect("fx", (current) => Effect.as(Rates.set("fx", ++tries), increment(current)), {
        retry: Schedule.recurs(3)
      })
      assert.strictEqual((yield* Effect.flip(overtaken))._tag, "Conflict")
      assert.strictEqual(tries, 4)
      assert.deepInclude(Option.getOrThrow(yield* Rates.get("fx")), { value: 4, version: 4 })

      const other = new Errors.Conflict({ rpc: "WriteValue", detail: "of another value", ids: {} })
      let calls = 0
      const refused = Effect.suspend(() => {
        calls++
        return Effect.fail(other)
      })
      const failing = Rates.updateEffect("fx", () => refused)
      assert.strictEqual(yield* Effect.flip(failing), other)
      assert.strictEqual(calls, 1)
      assert.strictEqual(Option.getOrThrow(yield* Rates.get("fx")).version, 4)
    }).pipe(Effect.provide(local))
  )

  it.live("a write where nothing is comes after a deletion that was repeated meanwhile", () =>
    Effect.gen(function* () {
      const Rates = Values.make("absent", { value: Schema.Number })
      yield* Rates.set("fx", 1)
      yield* Rates.remove("fx")
      let again = 2
      const busy = tapeWith((tape) => ({
        getValue: (request, options) =>
          Effect.tap(tape.getValue(request, options), () =>
            again-- > 0 ? tape.deleteValue({ namespace: "absent", key: "fx" }) : Effect.void
          )
      }))
      const written = yield* Effect.provide(Rates.set("fx", 5, { ifVersion: "absent" }), busy)
      assert.deepInclude(written, { value: 5, version: 5 })
    }).pipe(Effect.provide(local))
  )

  it.scopedLive("streams go on when the server was killed: nothing lost, nothing twice", () =>
    Effect.gen(function* () {
      const server = yield* startable(yield* Engine.Engine)
      yield* server.start
      const Counts = Values.make("lost", { value: Schema.Number })
      const Remote = Client.layerGrpc({ url: server.url })
      const Local = Client.layerHandlers(Engine.Engine)
      const add = Effect.provide(Counts.update("n", increment), Local)
      yield* add
      const seen = { watched: 0, followed: 0 }
      const resume = Schedule.spaced("5 millis")
      const reading = yield* Effect.all(
        [
          Counts.watch("n", { resume }).pipe(
            Stream.tap(() => Effect.sync(() => seen.watched++)),
            Stream.take(31),
            Stream.runCollect
          ),
          Counts.changes({ resume }).pipe(
            Stream.tap(() => Effect.sync(() => seen.followed++)),
            Stream.take(31),
            Stream.runCollect
          )
        ],
        { concurrency: "unbounded" }
      ).pipe(Effect.provide(Remote), Effect.fork)
      for (const round of [0, 1, 2]) {
        const open = Effect.sync(() => Math.min(seen.watched, seen.followed) > round * 10)
        yield* Effect.repeat(open, { until: (open) => open, schedule: Schedule.spaced("2 millis") })
        yield* Effect.repeatN(add, 4)
        yield* server.kill
        yield* Effect.repeatN(add, 4)
        yield* server.start
      }
      const [watched, followed] = yield* Effect.timeout(Fiber.join(reading), "10 seconds")
      assert.deepStrictEqual(
        Array.from(watched, said),
        Array.from({ length: 31 }, (_, n) => [n + 1, n + 1, n === 0 ? null : n] as const)
      )
      assert.deepStrictEqual(
        Array.from(followed, ({ version }) => version),
        Array.from({ length: 31 }, (_, n) => n + 1)
      )
    }).pipe(Effect.provide(Layer.merge(memory, quiet)))
  )
})
