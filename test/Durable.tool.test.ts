/** A run is killed and taken up again: what its tools did is read, what they did not do is done, once. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option, Schedule, Schema, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { EffectStatus, RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { dedupingBank, firstRun, ids, journalOf, keyed, killedAt, leaseRunsOut, Tape } from "./Durable.fixtures.js"

class NoTruck extends Schema.TaggedError<NoTruck>()("NoTruck", { day: Schema.String }) {}

const settle = (bank: ReturnType<typeof dedupingBank>, check?: (key: string) => Option.Option<{ ref: string }>) => {
  const make = <const Name extends string>(name: Name) =>
    Durable.tool(name, {
      input: Schema.Struct({ what: Schema.String }),
      output: Schema.Struct({ ref: Schema.String }),
      run: ({ what }, call) => Effect.map(bank.book(call.idempotencyKey, what), (ref) => ({ ref })),
      statusCheck: check === undefined ? undefined : (call) => Effect.sync(() => check(call.idempotencyKey))
    })
  const First = make("first")
  const Second = make("second")
  return Durable.app("settle", {
    input: Schema.Struct({ what: Schema.String }),
    output: Schema.Array(Schema.String),
    tools: [First, Second],
    *run({ what }) {
      const plan = yield* Durable.decide({ model: "m", request: what, response: Schema.String }, Effect.succeed(what))
      const first = yield* First({ what: plan })
      const second = yield* Second({ what: first.ref })
      return [first.ref, second.ref]
    }
  })
}

describe("inline tools", () => {
  for (const [tool, end] of [
    ["first", "/decision-0/first/0"],
    ["second", "/decision-0/second/0"]
  ] as const) {
    it.effect(`act once when the process dies between ${tool}'s write and its record`, () =>
      Effect.gen(function* () {
        const bank = dedupingBank()
        const app = settle(bank)
        const tape = yield* TapeClient
        yield* killedAt(
          { rpc: "completeEffect", at: "before", matching: keyed(end) },
          app.start(ids("i"), { what: "truck" })
        )
        const { runId } = yield* firstRun
        const open = yield* tape.listPendingEffects({ includePending: true })
        assert.deepStrictEqual(
          open.effects.map((row) => [row.idempotencyKey, row.status]),
          [[`${runId}${end}`, EffectStatus.PENDING]]
        )
        yield* leaseRunsOut
        const done = yield* app.redrive(runId)
        assert.deepStrictEqual(done, ["truck#1", "truck#1#2"])
        assert.strictEqual(bank.rows.size, 2)
        assert.strictEqual((yield* tape.getRun({ runId })).status, RunStatus.TERMINAL)
      }).pipe(Effect.provide(Tape))
    )
  }

  it.effect("are not run again when they are confirmed, and a finished run gives its outcome", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const app = settle(bank)
      yield* killedAt({ rpc: "endRun", at: "before" }, app.start(ids("i"), { what: "truck" }))
      assert.strictEqual(bank.sent.length, 2)
      yield* leaseRunsOut
      assert.deepStrictEqual(yield* app.start(ids("i"), { what: "truck" }), ["truck#1", "truck#1#2"])
      assert.deepStrictEqual(yield* app.start(ids("i"), { what: "truck" }), ["truck#1", "truck#1#2"])
      assert.strictEqual(bank.sent.length, 2)
      assert.deepStrictEqual(yield* Effect.flatMap(firstRun, journalOf), [
        "run/running/settle/u/s",
        "effect/pending/run.input",
        "effect/confirmed/run.input",
        "decision/recorded/0",
        "effect/pending/first",
        "effect/confirmed/first",
        "effect/pending/second",
        "effect/confirmed/second",
        "effect/pending/run.outcome",
        "effect/confirmed/run.outcome",
        "run/terminal/settle/u/s"
      ])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that were cut off are checked before they are repeated", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const app = settle(bank, (key) => Option.map(Option.fromNullable(bank.rows.get(key)), (ref) => ({ ref })))
      yield* killedAt(
        { rpc: "completeEffect", at: "before", matching: keyed("first/0") },
        app.start(ids("found"), { what: "a" })
      )
      yield* leaseRunsOut
      assert.deepStrictEqual(yield* app.start(ids("found"), { what: "a" }), ["a#1", "a#1#2"])
      assert.strictEqual(bank.sent.length, 2)

      // The intent is there, the counterparty knows nothing of it.
      yield* killedAt(
        { rpc: "beginEffect", at: "after", matching: (request) => Reflect.get(request, "toolName") === "first" },
        app.start(ids("absent"), { what: "b" })
      )
      assert.strictEqual(bank.sent.length, 2)
      yield* leaseRunsOut
      assert.deepStrictEqual(yield* app.start(ids("absent"), { what: "b" }), ["b#3", "b#3#4"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("keep one key through all attempts, and stop retrying when told", () =>
    Effect.gen(function* () {
      const keys = new Set<string>()
      const attempts: Array<number> = []
      const busyTwice = Durable.tool("busy", {
        input: Schema.Struct({ failures: Schema.Number }),
        output: Schema.Number,
        error: Schema.Literal("busy", "never"),
        run: ({ failures }, call) => {
          keys.add(call.idempotencyKey)
          attempts.push(call.attempt)
          if (failures < 0) return Effect.fail("never" as const)
          return call.attempt <= failures ? Effect.fail("busy" as const) : Effect.succeed(call.attempt)
        },
        retry: Schedule.recurs(2).pipe(Schedule.whileInput((error: "busy" | "never") => error === "busy"))
      })
      const app = Durable.app("retrying", {
        input: Schema.Number,
        error: Schema.Literal("busy", "never"),
        tools: [busyTwice],
        *run(failures) {
          return yield* busyTwice({ failures })
        }
      })
      assert.strictEqual(yield* app.start(ids("twice"), 2), 3)
      assert.deepStrictEqual(attempts.splice(0), [1, 2, 3])
      assert.strictEqual(keys.size, 1)
      assert.strictEqual(yield* Effect.flip(app.start(ids("never"), -1)), "never")
      assert.deepStrictEqual(attempts.splice(0), [1])
      assert.strictEqual(yield* Effect.flip(app.start(ids("always"), 9)), "busy")
      assert.deepStrictEqual(attempts.splice(0), [1, 2, 3])
      // The failure is the recorded outcome.
      assert.strictEqual(yield* Effect.flip(app.start(ids("always"), 9)), "busy")
      assert.deepStrictEqual(attempts, [])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("raise a recorded failure as the same typed error", () =>
    Effect.gen(function* () {
      let booked = 0
      const BookTruck = Durable.tool("book_truck", {
        input: Schema.Struct({ day: Schema.String }),
        output: Schema.String,
        error: NoTruck,
        run: ({ day }) => {
          booked++
          return new NoTruck({ day })
        }
      })
      const caught: Array<unknown> = []
      const app = Durable.app("trucks", {
        input: Schema.Struct({ day: Schema.String }),
        output: Schema.String,
        tools: [BookTruck],
        *run({ day }) {
          const truck = yield* BookTruck({ day }).pipe(
            Effect.catchTag("NoTruck", (error) => {
              caught.push(error)
              return Effect.succeed(`none on ${error.day}`)
            })
          )
          yield* Durable.decide({ model: "m", request: truck, response: Schema.String }, Effect.succeed("ok"))
          return truck
        }
      })
      yield* killedAt({ rpc: "recordDecision", at: "before" }, app.start(ids("i"), { day: "monday" }))
      yield* leaseRunsOut
      assert.strictEqual(yield* app.start(ids("i"), { day: "monday" }), "none on monday")
      assert.strictEqual(booked, 1)
      assert.strictEqual(caught.length, 2)
      assert.isTrue(caught.every((error) => error instanceof NoTruck && error.day === "monday"))
    }).pipe(Effect.provide(Tape))
  )

  const wiring = (options: { readonly found: boolean | "never" }) => {
    const sent: Array<number> = []
    const Wire = Durable.tool("wire", {
      input: Schema.Struct({}),
      output: Schema.String,
      run: (_, call) => {
        sent.push(call.attempt)
        return sent.length === 1 ? new Durable.AckLost({ reason: "connection reset" }) : Effect.succeed("W-2")
      },
      statusCheck:
        options.found === "never"
          ? undefined
          : () => Effect.succeed(options.found === true ? Option.some("W-1") : Option.none())
    })
    const app = Durable.app("wiring", {
      input: Schema.Struct({}),
      error: Schema.Never,
      tools: [Wire],
      *run() {
        return yield* Wire({})
      }
    })
    return { app, sent }
  }

  it.effect("whose answer was lost are UNKNOWN, then checked", () =>
    Effect.gen(function* () {
      const { app, sent } = wiring({ found: true })
      assert.strictEqual(yield* app.start(ids("i"), {}), "W-1")
      assert.deepStrictEqual(sent, [1])
      const journal = yield* Effect.flatMap(firstRun, journalOf)
      assert.deepStrictEqual(
        journal.filter((subject) => subject.includes("wire")),
        ["effect/pending/wire", "effect/unknown/wire", "effect/reconciled/wire", "effect/confirmed/wire"]
      )
    }).pipe(Effect.provide(Tape))
  )

  it.effect("whose answer was lost and that never arrived are sent again", () =>
    Effect.gen(function* () {
      const { app, sent } = wiring({ found: false })
      assert.strictEqual(yield* app.start(ids("i"), {}), "W-2")
      assert.deepStrictEqual(sent.length, 2)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("of which nobody knows the outcome fail with EffectUnknown, in every life", () =>
    Effect.gen(function* () {
      const { app, sent } = wiring({ found: "never" })
      const first = yield* Effect.flip(app.start(ids("i"), {}))
      assert.instanceOf(first, Durable.EffectUnknown)
      assert.include(first.message, "connection reset")
      assert.deepStrictEqual(yield* Effect.flip(app.start(ids("i"), {})), first)
      assert.strictEqual(sent.length, 1)
      const { status } = yield* firstRun
      assert.strictEqual(status, RunStatus.FAILED)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that somebody else declares UNKNOWN meanwhile are settled by who knows", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const Doubted = Durable.tool("doubted", {
        input: Schema.Void,
        output: Schema.String,
        run: (_, { idempotencyKey, runId }) =>
          Effect.as(Effect.orDie(tape.completeEffect({ runId, idempotencyKey, status: EffectStatus.UNKNOWN })), "done")
      })
      const app = Durable.app("doubting", { input: Schema.Void, tools: [Doubted], run: () => Doubted() })
      assert.strictEqual(yield* app.start(ids("i"), undefined), "done")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("that take too long count as lost answers", () =>
    Effect.gen(function* () {
      const Slow = Durable.tool("slow", {
        input: Schema.Struct({}),
        output: Schema.String,
        run: () => Effect.never,
        timeout: "3 seconds"
      })
      const app = Durable.app("slow_app", { input: Schema.Struct({}), tools: [Slow], run: () => Slow({}) })
      const fiber = yield* Effect.fork(Effect.flip(app.start(ids("i"), {})))
      yield* TestClock.adjust("1 second")
      while ((yield* Fiber.poll(fiber))._tag === "None") {
        yield* TestClock.adjust("1 second")
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      const error = yield* Fiber.join(fiber)
      assert.instanceOf(error, Durable.EffectUnknown)
      assert.include(error.message, "no answer within 3s")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("run concurrently under keys of their own", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const Book = Durable.tool("book", {
        input: Schema.String,
        output: Schema.String,
        run: (what, call) => bank.book(call.idempotencyKey, what)
      })
      const app = Durable.app("many", {
        input: Schema.Array(Schema.String),
        output: Schema.Array(Schema.String),
        tools: [Book],
        run: (all) => Effect.forEach(all, (what) => Book(what, { key: what }), { concurrency: "unbounded" })
      })
      yield* killedAt({ rpc: "completeEffect", at: "before", nth: 3 }, app.start(ids("i"), ["a", "b", "c"]))
      yield* leaseRunsOut
      const booked = yield* app.start(ids("i"), ["a", "b", "c"])
      assert.deepStrictEqual(
        booked.map((ref) => ref.split("#")[0]),
        ["a", "b", "c"]
      )
      assert.strictEqual(bank.rows.size, 3)
      const { runId } = yield* firstRun
      assert.isTrue(bank.rows.has(`${runId}/key/book/b`))
    }).pipe(Effect.provide(Tape))
  )

  it.effect("act once for one key, however often it is used in a life", () =>
    Effect.gen(function* () {
      const bank = dedupingBank()
      const Book = Durable.tool("book", {
        input: Schema.String,
        output: Schema.String,
        run: (what, call) => Effect.zipRight(Effect.yieldNow(), bank.book(call.idempotencyKey, what))
      })
      const app = Durable.app("same", {
        input: Schema.Void,
        tools: [Book],
        run: () => Effect.all([Book("x", { key: "k" }), Book("x", { key: "k" })], { concurrency: 2 })
      })
      assert.deepStrictEqual(yield* app.start(ids("i"), undefined), ["x#1", "x#1"])
      assert.deepStrictEqual(bank.sent.length, 1)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("are not called from a body that replay would skip", () =>
    Effect.gen(function* () {
      const Inner = Durable.tool("inner", { input: Schema.Void, output: Schema.Void, run: () => Effect.void })
      // Without the cast the app's start asks for a CurrentRun that nobody can provide.
      const inner = Inner() as Effect.Effect<void>
      const Outer = Durable.tool("outer", { input: Schema.Void, output: Schema.Void, run: () => inner })
      const app = Durable.app("nested", { input: Schema.Void, tools: [Inner, Outer], run: () => Outer() })
      const exit = yield* Effect.exit(app.start(ids("i"), undefined))
      assert.isTrue(Exit.isFailure(exit) && Cause.pretty(exit.cause).includes("inside the body of outer"))
    }).pipe(Effect.provide(Tape))
  )
})
