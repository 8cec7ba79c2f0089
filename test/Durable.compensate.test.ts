/** What a run did is undone, the newest first; whatever dies in between. */
import { assert, describe, it } from "@effect/vitest"
import { Array, Clock, Effect, Fiber, Layer, Option, Schema, Stream, TestContext } from "effect"
import { TapeClient } from "effect-tape"
import { ObligationStatus, RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { Echo, endedInTime, firstRun, ids, killedAt, signal, Tape, until } from "./Durable.fixtures.js"

/** A tool that books, and remembers what it was told to undo. */
const booking = (fails: (what: string) => boolean = () => false) => {
  const undone: Array<string> = []
  const tool = Durable.tool("book", {
    input: Schema.Struct({ what: Schema.String }),
    output: Schema.Struct({ ref: Schema.String }),
    run: ({ what }) => Effect.succeed({ ref: `R-${what}` }),
    compensate: ({ what }, { ref }, call) =>
      fails(what) ? Effect.fail(`${what} is gone`) : Effect.sync(() => undone.push(`${ref} ${call.tool}`))
  })
  return { tool, undone }
}

const trip = (book: ReturnType<typeof booking>["tool"]) =>
  Durable.app("trip", {
    input: Schema.Void,
    output: Schema.String,
    tools: [book],
    *run() {
      for (const what of ["truck", "ferry", "hotel"]) yield* book({ what })
      return yield* Durable.compensate
    }
  })

const obligations = Effect.flatMap(firstRun, ({ runId }) =>
  Effect.flatMap(TapeClient, (tape) =>
    Effect.map(tape.listObligations({ runId }), (found) =>
      found.obligations.map(({ attempts, effectKey, lastError, status }) => ({
        effect: effectKey.split("/").at(-1),
        status: ObligationStatus[status],
        attempts,
        lastError
      }))
    )
  )
)

describe("compensation", () => {
  it.effect("undoes the newest first, and ends the run FAILED", () =>
    Effect.gen(function* () {
      const { tool, undone } = booking()
      const app = trip(tool)
      const error = yield* Effect.flip(app.start(ids("i"), undefined))
      assert.instanceOf(error, Durable.RunCompensated)
      assert.deepStrictEqual(undone, ["R-hotel book", "R-ferry book", "R-truck book"])
      const run = yield* firstRun
      assert.strictEqual(run.status, RunStatus.FAILED)
      assert.isTrue((yield* obligations).every(({ status }) => status === "COMPENSATED"))
      // It stays so, and nothing is undone twice.
      assert.instanceOf(yield* Effect.flip(app.start(ids("i"), undefined)), Durable.RunCompensated)
      assert.instanceOf(yield* Effect.flip(app.redrive(run.runId)), Durable.RunCompensated)
      assert.strictEqual(undone.length, 3)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("leaves stuck what cannot be undone after so many attempts, undoes the rest, and says so", () =>
    Effect.gen(function* () {
      const { tool, undone } = booking((what) => what === "ferry")
      const fiber = yield* Effect.fork(Effect.flip(trip(tool).start(ids("i"), undefined)))
      assert.instanceOf(yield* endedInTime(fiber), Durable.RunStuck)
      assert.deepStrictEqual(undone, ["R-hotel book", "R-truck book"])
      assert.strictEqual((yield* firstRun).status, RunStatus.STUCK)
      assert.deepStrictEqual(yield* obligations, [
        { effect: "2", status: "COMPENSATED", attempts: 0, lastError: "" },
        { effect: "1", status: "STUCK", attempts: 5, lastError: "ferry is gone" },
        { effect: "0", status: "COMPENSATED", attempts: 0, lastError: "" }
      ])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("repeats what fails at first before it goes on to older ones", () =>
    Effect.gen(function* () {
      let failures = 2
      const { tool, undone } = booking((what) => what === "ferry" && failures-- > 0)
      const fiber = yield* Effect.fork(Effect.flip(trip(tool).start(ids("i"), undefined)))
      assert.instanceOf(yield* endedInTime(fiber), Durable.RunCompensated)
      assert.deepStrictEqual(undone, ["R-hotel book", "R-ferry book", "R-truck book"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("is left at once by who is interrupted at it", () =>
    Effect.gen(function* () {
      const { tool, undone } = booking((what) => what === "ferry")
      const app = trip(tool)
      const fiber = yield* Effect.fork(app.start(ids("i"), undefined))
      yield* until(
        Effect.map(Effect.orDie(obligations), (all) => Option.liftPredicate(all, () => all[1]?.attempts === 1))
      )
      yield* Fiber.interrupt(fiber)
      const { leaseExpiresAtMs, status } = yield* firstRun
      assert.strictEqual(status, RunStatus.COMPENSATING)
      assert.isAtMost(Number(leaseExpiresAtMs), (yield* Clock.currentTimeMillis) + 1)
      assert.deepStrictEqual(undone, ["R-hotel book"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("cannot be swallowed by the program", () =>
    Effect.gen(function* () {
      const { tool, undone } = booking()
      const app = Durable.app("swallowing", {
        input: Schema.Void,
        output: Schema.String,
        tools: [tool],
        *run() {
          yield* tool({ what: "truck" })
          yield* Effect.catchAllCause(Durable.compensate, () => Effect.void)
          return "a success, it seems"
        }
      })
      assert.instanceOf(yield* Effect.flip(app.start(ids("i"), undefined)), Durable.RunCompensated)
      assert.deepStrictEqual(undone, ["R-truck book"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("reaches tools without an input", () =>
    Effect.gen(function* () {
      const undone: Array<string> = []
      const tool = Durable.tool("open", {
        input: Schema.Void,
        output: Schema.Void,
        run: () => Effect.void,
        compensate: (_, __, call) => Effect.sync(() => undone.push(call.idempotencyKey))
      })
      const app = Durable.app("inputless", {
        input: Schema.Void,
        tools: [tool],
        run: () => Effect.zipRight(tool(), Durable.compensate)
      })
      assert.instanceOf(yield* Effect.flip(app.start(ids("i"), undefined)), Durable.RunCompensated)
      assert.strictEqual(undone.length, 1)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("marks an obligation stuck when no tool of the app undoes its kind", () =>
    Effect.gen(function* () {
      const app = Durable.app("foreign", {
        input: Schema.Void,
        tools: [Echo],
        *run() {
          const { runId } = yield* Durable.info
          yield* Echo("x")
          const effectKey = `${runId}/no-decision/echo/0`
          yield* Effect.flatMap(TapeClient, (tape) =>
            Effect.orDie(tape.registerCompensation({ runId, effectKey, kind: "unheard-of" }))
          )
          yield* Durable.compensate
        }
      })
      assert.instanceOf(yield* Effect.flip(app.start(ids("i"), undefined)), Durable.RunStuck)
      assert.match((yield* obligations)[0]?.lastError ?? "", /^no-compensator/)
    }).pipe(Effect.provide(Tape))
  )

  const failing = (tool: ReturnType<typeof booking>["tool"], onFailure: "compensate" | undefined) =>
    Durable.app("failing", {
      input: Schema.Void,
      error: Schema.Literal("no driver"),
      tools: [tool],
      onFailure,
      *run() {
        yield* tool({ what: "truck" })
        return yield* Effect.fail("no driver" as const)
      }
    })

  it.effect("follows a typed failure when the app asks for it, and the failure is what is told", () =>
    Effect.gen(function* () {
      const { tool, undone } = booking()
      const app = failing(tool, "compensate")
      assert.strictEqual(yield* Effect.flip(app.start(ids("i"), undefined)), "no driver")
      assert.deepStrictEqual(undone, ["R-truck book"])
      assert.strictEqual((yield* firstRun).status, RunStatus.FAILED)
      assert.strictEqual(yield* Effect.flip(app.start(ids("i"), undefined)), "no driver")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("does not follow it otherwise", () =>
    Effect.gen(function* () {
      const { tool, undone } = booking()
      assert.strictEqual(yield* Effect.flip(failing(tool, undefined).start(ids("i"), undefined)), "no driver")
      assert.deepStrictEqual(undone, [])
      assert.deepStrictEqual(
        (yield* obligations).map(({ status }) => status),
        ["PENDING"]
      )
    }).pipe(Effect.provide(Tape))
  )
})

describe("a program with all of it, killed at any one of its calls", () => {
  const everything = () => {
    const { tool, undone } = booking()
    const asked: Array<string> = []
    const app = Durable.app("everything", {
      input: Schema.Void,
      output: Schema.String,
      tools: [tool, Echo],
      budget: { usd: 5 },
      *run() {
        yield* Durable.decide(
          { model: "m", request: "where to?", response: Schema.String, cost: { usd: 0.5, tokens: 7 } },
          Effect.sync(() => {
            asked.push("where to?")
            return "north"
          })
        )
        yield* tool({ what: "truck" })
        const { approved } = yield* Durable.gate("cfo", {
          resolution: Schema.Struct({ approved: Schema.Boolean }),
          timeout: "1 hour"
        })
        yield* tool({ what: "ferry" })
        yield* Durable.sleep("5 seconds")
        return approved ? "done" : yield* Durable.compensate
      }
    })
    return { app, undone, asked }
  }

  const shortLease = Durable.layerSettings({ leaseTtl: "10 seconds" })

  /** Says no as soon as it is asked, for as long as the test lasts. */
  const person = Effect.flatMap(TapeClient, (tape) =>
    tape
      .subscribeBySubject({ subjectPattern: "/tape/gate/waiting/cfo/**" })
      .pipe(Stream.runForEach(({ runId }) => signal(runId, "cfo", { approved: false })))
  )

  const calls = Effect.gen(function* () {
    const { app } = everything()
    let count = 0
    const counting = killedAt(
      { at: "before", matching: () => ++count < 0 },
      Effect.ignore(Effect.provide(app.start(ids("i"), undefined), shortLease))
    )
    yield* Effect.fork(person)
    const fiber = yield* Effect.fork(Effect.exit(counting))
    yield* endedInTime(fiber)
    return count
  }).pipe(Effect.provide(Tape))

  it.effect(
    "comes to the same end",
    () =>
      Effect.gen(function* () {
        const count = yield* calls
        assert.isAbove(count, 30)
        const killed = (nth: number) =>
          Effect.gen(function* () {
            const { app, asked, undone } = everything()
            const people = yield* Effect.fork(person)
            const start = Effect.provide(app.start(ids("i"), undefined), shortLease)
            // Heartbeats come and go, so the last calls are not in every life.
            const life = yield* Effect.fork(Effect.exit(killedAt({ at: "after", nth }, start)))
            yield* endedInTime(life)
            const next = yield* Effect.fork(Effect.flip(start))
            const error = yield* endedInTime(next)
            yield* Fiber.interrupt(people)
            assert.instanceOf(error, Durable.RunCompensated, `killed after call ${nth}`)
            assert.deepStrictEqual([...new Set(undone)], ["R-ferry book", "R-truck book"], `killed after call ${nth}`)
            assert.isAtMost(asked.length, 2)
            const run = yield* firstRun
            assert.strictEqual(run.status, RunStatus.FAILED)
            assert.isTrue((yield* obligations).every(({ status }) => status === "COMPENSATED"))
            const tape = yield* TapeClient
            const { budget } = yield* tape.admitBudget({ runId: run.runId })
            assert.deepInclude(budget, { usdSpent: 0.5, tokensSpent: 7n, usdCap: 5 }, `killed after call ${nth}`)
          }).pipe(Effect.provide(Layer.provideMerge(Tape, TestContext.TestContext)))
        // Moving a clock is mostly waiting for the event loop: side by side, each with a clock of its own.
        yield* Effect.forEach(
          Array.makeBy(count, (index) => index + 1),
          killed,
          { concurrency: "unbounded", discard: true }
        )
      }),
    180_000
  )
})
