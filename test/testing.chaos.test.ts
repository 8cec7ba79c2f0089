/** Crashes, failpoints and what they say of a program, as a user writes tests with them. */
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Context,
  Duration,
  Effect,
  Either,
  Exit,
  Layer,
  Logger,
  Ref,
  Schedule,
  Schema,
  Stream,
  TestClock
} from "effect"
import { Client, Durable, Outbox, Reactors, TapeClient } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { Crashes, Failpoint, Lineage, Reliability, TestConnector, TestTape } from "effect-tape/testing"
import { bank, ids, Wire, wiring } from "./testing.fixtures.js"

const WireMoney = Outbox.tool("wire_money", {
  ...wiring,
  semantics: "non_idempotent",
  compensate: () => Effect.void
})

const Reserve = Durable.tool("reserve", {
  input: Schema.Number,
  output: Schema.String,
  run: (amount) => Effect.succeed(`r-${amount}`),
  compensate: () => Effect.void
})

const asked = Durable.decide({ model: "m-1", request: "how much?", response: Schema.Number }, Effect.succeed(100))

/** Reserves, asks, wires: an effect before the decision, and after it one inline and one of the outbox. */
const Pay = Durable.app("pay", {
  input: Schema.String,
  output: Wire,
  tools: [WireMoney, Reserve],
  *run(account) {
    yield* Reserve(1)
    const amount = yield* asked
    yield* Reserve(amount)
    return yield* WireMoney({ account, amount })
  }
})

const quiet = Logger.remove(Logger.defaultLogger)
const oneWire = TestTape.exactlyOnce("bank.wire")
const bookings = Effect.map(TestConnector.ledger("bank.wire"), (rows) => rows.length)

const reportsOf = <A, E, R>(reports: Stream.Stream<A, E, R>) =>
  Effect.map(Stream.runCollect(reports), (chunk) => Array.from(chunk))

describe("Lineage", () => {
  it.scoped("CHA-06 · a good run's nodes, each below what it follows from; each is cut once", () =>
    Effect.gen(function* () {
      yield* Pay.start(ids(), "ACME")
      const lineage = Lineage.make(yield* TestTape.journal)
      assert.strictEqual(
        `${lineage}`,
        [
          "run pay/u/s/A-1",
          "  effect no-decision/reserve/0",
          "    obligation reserve of no-decision/reserve/0",
          "  decision 0",
          "    effect decision-0/reserve/0",
          "      obligation reserve of decision-0/reserve/0",
          "    effect decision-0/wire_money/0",
          "      obligation wire_money of decision-0/wire_money/0"
        ].join("\n")
      )
      const decision = lineage.nodes.find((node) => node.kind === "decision")
      const effects = lineage.nodes.filter((node) => node.kind === "effect")
      const ofIt = effects.filter(({ idempotencyKey }) => idempotencyKey.includes("/decision-0/"))
      assert.deepStrictEqual(
        ofIt.map(({ parent }) => parent),
        [decision?.id, decision?.id]
      )
      assert.deepInclude(effects.at(-1), { tool: "wire_money", connector: "bank.wire", businessKey: "ACME:100" })

      const scenarios = Lineage.cuts(lineage)
      assert.deepStrictEqual(
        scenarios.map(({ nodes }) => nodes),
        lineage.nodes.map((node) => [node])
      )
      assert.deepStrictEqual(
        scenarios.slice(-3).map(({ deaths: [death], label }) => [label, death?.at, String(death?.call)]),
        [
          ["dies before obligation reserve of decision-0/reserve/0 is registered", "before", owing],
          ["dies before effect decision-0/wire_money/0 is settled", "before", settling],
          ["dies before obligation wire_money of decision-0/wire_money/0 is registered", "before", owing]
        ]
      )
      assert.lengthOf(Lineage.cuts(lineage, { size: 2 }), 28)
      // An effect is begun and settled, the others are recorded by one call; each before and after.
      assert.lengthOf(Lineage.cuts(lineage, { moments: "every" }), 22)
      assert.deepStrictEqual(
        Lineage.cuts(lineage, { size: 0 }).map(({ label }) => label),
        ["lives"]
      )
      assert.lengthOf(Lineage.cuts(lineage, { size: 9 }), 0)

      const { runId } = lineage.nodes[0] ?? { runId: "" }
      assert.deepStrictEqual(yield* Lineage.ofRun(runId), lineage)
      yield* Pay.start(ids("A-2"), "ACME-2")
      const journal = yield* TestTape.journal
      assert.deepStrictEqual(Lineage.make(journal, runId), lineage)
      assert.lengthOf(Lineage.make(journal).childrenOf(), 2)
    }).pipe(Effect.provide(TestTape.layer({ connectors: { "bank.wire": bank }, apps: [Pay] })))
  )
})

const owing = "registerCompensation,recordExternalObservation"
const settling = "completeEffect,recordDispatchAttempt,recordExternalObservation,reconcileEffect"

describe("Crashes", () => {
  const Simple = Durable.app("pay", {
    input: Schema.String,
    output: Wire,
    tools: [WireMoney],
    run: (account) => WireMoney({ account, amount: 100 })
  })
  const tape = TestTape.layer({ connectors: { "bank.wire": bank }, apps: [Pay] })
  const simple = TestTape.layer({ connectors: { "bank.wire": bank }, apps: [Simple] })

  it.effect("CHA-06 · a right program survives each cut with one wire; who makes the call dies", () =>
    Effect.gen(function* () {
      const reports = yield* reportsOf(Crashes.explore(Pay.start(ids(), "ACME"), { tape, checks: [oneWire] }))
      assert.deepStrictEqual(reports.filter(({ isGood }) => !isGood).map(String), [])
      assert.deepStrictEqual(
        reports.map(({ deaths }) => deaths.join()),
        ["program", "program", "program", "program", "program", "program", "daemons", "daemons"]
      )
      assert.strictEqual(`${Reliability.surface(reports)}`, "k 8, ε 0, λ 1")
    }).pipe(Effect.provide(quiet))
  )

  it.effect("CHA-06 · twice in a row as well, and with its dispatcher in it: then it dies with it", () => {
    const options = { checks: [oneWire], size: 2 }
    const Main = Layer.mergeAll(Outbox.layer({ tools: [WireMoney], grace: 0 }), Reactors.layer({ apps: [Simple] }))
    const pay = Simple.start(ids(), "ACME")
    return Effect.gen(function* () {
      const beside = yield* reportsOf(Crashes.explore(pay, { ...options, tape: simple }))
      const within = yield* reportsOf(
        Crashes.explore(Effect.provide(pay, Main), {
          ...options,
          tape: TestTape.layer({ connectors: { "bank.wire": bank }, dispatcher: false, reactors: false })
        })
      )
      assert.deepStrictEqual([...beside, ...within].filter(({ isGood }) => !isGood).map(String), [])
      assert.deepStrictEqual(
        beside.map(({ deaths }) => deaths.join()),
        ["program,daemons", "program,daemons", "daemons,daemons"]
      )
      assert.deepStrictEqual(
        within.map(({ deaths }) => deaths.join()),
        ["program,program", "program,program", "program,program"]
      )
      assert.strictEqual(
        beside[0]?.scenario,
        "dies after run pay/u/s/A-1 is begun, then before effect no-decision/wire_money/0 is settled"
      )
    }).pipe(Effect.provide(quiet))
  })

  it.effect("CHA-06 · a program that is taken up by recovery, while people open its gate", () => {
    const Settle = Durable.app("settle", {
      input: Schema.String,
      output: Wire,
      tools: [WireMoney],
      *run(account) {
        const { approved } = yield* Durable.gate("cfo", { resolution: Schema.Struct({ approved: Schema.Boolean }) })
        return yield* WireMoney({ account, amount: approved ? 100 : 1 })
      }
    })
    return Effect.gen(function* () {
      const reports = yield* reportsOf(
        Crashes.explore(Settle.start(ids(), "ACME"), {
          tape: TestTape.layer({ connectors: { "bank.wire": bank }, apps: [Settle] }),
          checks: [oneWire],
          beside: TestTape.openGate("cfo", { approved: true }),
          again: "reactors"
        })
      )
      assert.deepStrictEqual(reports.filter(({ isGood }) => !isGood).map(String), [])
      assert.lengthOf(reports, 3)
    }).pipe(Effect.provide(quiet))
  })

  it.effect("CHA-06 · what a program takes back is taken back wherever it dies", () => {
    const Regret = Durable.app("regret", {
      input: Schema.String,
      error: Schema.String,
      onFailure: "compensate",
      tools: [WireMoney],
      *run(account) {
        yield* WireMoney({ account, amount: 100 })
        return yield* Effect.fail("on second thoughts")
      }
    })
    const isUndone = Effect.filterOrFail(
      Effect.map(TestTape.state, ({ obligations }) => obligations.map(({ status }) => status).join()),
      (found) => found === "COMPENSATED",
      (found) => `obligations: ${found}`
    )
    return Effect.gen(function* () {
      const reports = yield* reportsOf(
        Crashes.explore(Effect.flip(Regret.start(ids(), "ACME")), {
          tape: TestTape.layer({ connectors: { "bank.wire": bank }, apps: [Regret] }),
          checks: [oneWire, isUndone],
          moments: "every"
        })
      )
      assert.deepStrictEqual(reports.filter(({ isGood }) => !isGood).map(String), [])
    }).pipe(Effect.provide(quiet))
  })

  it.effect("CHA-06 · a bank that does not deduplicate, declared as one that does, is found", () => {
    const Blind = Outbox.tool("wire_money", { ...wiring, semantics: "idempotent" })
    const PayBlindly = Durable.app("pay", {
      input: Schema.String,
      output: Wire,
      tools: [Blind],
      *run(account) {
        return yield* Blind({ account, amount: yield* asked })
      }
    })
    return Effect.gen(function* () {
      const reports = yield* reportsOf(
        Crashes.explore(PayBlindly.start(ids(), "ACME"), {
          tape: TestTape.layer({ connectors: { "bank.wire": bank }, apps: [PayBlindly] }),
          checks: [oneWire]
        })
      )
      const [found, ...others] = reports.filter(({ isGood }) => !isGood)
      assert.isEmpty(others)
      if (found === undefined) return assert.fail("it was not found")
      assert.strictEqual(found.scenario, "dies before effect decision-0/wire_money/0 is settled")
      assert.deepStrictEqual(found.deaths, ["daemons"])
      assert.isTrue(found.recovered)
      assert.include(found.failures[0], "booked bank.wire-1, bank.wire-2")
      assert.match(`${found}`, /^NOT OK: dies before effect decision-0\/wire_money\/0 is settled\n {2}bank\.wire: 1 /)
      assert.strictEqual(`${Reliability.surface(reports)}`, `k 3, ε ${1 / 3}, λ 1`)
    }).pipe(Effect.provide(quiet))
  })

  /** What an inline tool has done, on a shelf of the scenario's own. */
  class Shelf extends Context.Tag("test/Shelf")<Shelf, Ref.Ref<ReadonlyArray<string>>>() {
    static readonly layer = Layer.effect(Shelf, Ref.make<ReadonlyArray<string>>([]))
  }

  it.effect("CHA-06 · an inline tool that is not idempotent is found, and a program that gives up", () => {
    const Print = Durable.tool("print", {
      input: Schema.String,
      output: Schema.Number,
      run: (text) =>
        Effect.flatMap(
          Shelf,
          Ref.updateAndGet((printed) => [...printed, text])
        ).pipe(Effect.map((printed) => printed.length))
    })
    const app = Durable.app("print", { input: Schema.String, tools: [Print], run: (text) => Print(text) })
    const once = Effect.filterOrFail(
      Effect.flatMap(Shelf, Ref.get),
      (printed) => printed.length === 1,
      (printed) => `printed ${printed.length} times`
    )
    return Effect.gen(function* () {
      let lives = 0
      const world = Layer.provideMerge(TestTape.layer({ apps: [app] }), Shelf.layer)
      const printed = Crashes.explore(app.start(ids(), "hello"), { tape: world, checks: [once] })
      const [run, effect, ...others] = yield* reportsOf(printed)
      assert.isEmpty(others)
      assert.isTrue(run?.isGood)
      assert.deepInclude(effect, { recovered: true, failures: ["printed 2 times"] })

      // It has been here before, and takes that for an error.
      const timid = Effect.suspend(
        (): Effect.Effect<number, unknown, TapeClient | Shelf> =>
          lives++ % 3 === 2 ? Effect.fail("I have been here") : app.start(ids(), "hello")
      )
      const [first] = yield* reportsOf(
        Crashes.explore(timid, { tape: Layer.provideMerge(TestTape.layer(), Shelf.layer) })
      )
      assert.deepInclude(first, { died: true, recovered: false, reason: "I have been here" })
      assert.include(`${first}`, "it did not recover: I have been here")
    }).pipe(Effect.provide(quiet))
  })

  it.effect("CHA-06 · nothing is tried where all is not well without a crash", () =>
    Effect.gen(function* () {
      const never = yield* Effect.flip(reportsOf(Crashes.explore(Effect.never, { tape })))
      assert.strictEqual(
        never.message,
        "nothing was tried, because all is not well without a crash:\n  the program does not end"
      )
      const checks = [Effect.fail("no such luck")]
      const unlucky = yield* Effect.flip(reportsOf(Crashes.explore(Effect.void, { tape, checks })))
      assert.deepStrictEqual(unlucky.reasons, ["no such luck"])
      assert.deepStrictEqual(yield* reportsOf(Crashes.explore(Effect.void, { tape })), [])
    }).pipe(Effect.provide(quiet))
  )
})

describe("Reliability", () => {
  it("CHA-06 · 4 reports, one with a failure and one not recovered: k 4, ε 0.25, λ 0.75", () => {
    const report = (failures: ReadonlyArray<string>, recovered = true) =>
      new Crashes.Report({ scenario: "", deaths: [], died: true, recovered, reason: "", failures })
    const surface = Reliability.surface([report([]), report(["two wires"]), report([], false), report([])])
    assert.deepInclude(surface, { k: 4, epsilon: 0.25, lambda: 0.75 })
    assert.strictEqual(`${surface}`, "k 4, ε 0.25, λ 0.75")
    assert.deepInclude(Reliability.surface([]), { k: 0, epsilon: 1, lambda: 0 })
  })
})

describe("Failpoint", () => {
  const { fails, orElse, panic, render, skipFirst, sleep, times, withProbability } = Failpoint

  it("CHA-01 · each has its words in FAILPOINTS; the faults of connectors are not among them", () => {
    const of = (point: Failpoint.Failpoint) => Either.getOrThrow(render({ p: point }))
    assert.strictEqual(of(panic), "p=panic")
    assert.strictEqual(of(panic.pipe(withProbability(0.25))), "p=25%panic")
    assert.strictEqual(of(withProbability(panic, 0.125)), "p=12.5%panic")
    assert.strictEqual(of(withProbability(panic, 0.000_000_1)), "p=0.00001%panic")
    assert.strictEqual(of(withProbability(panic, 0.1 + 0.2)), "p=30%panic")
    assert.strictEqual(of(panic.pipe(skipFirst(2))), "p=2*off->panic")
    assert.strictEqual(of(sleep("250 millis")), "p=sleep(250)")
    assert.strictEqual(of(fails("no space left (50%")), "p=return(no space left (50%)")
    assert.strictEqual(of(panic.pipe(times(3), withProbability(0.5), skipFirst(1))), "p=1*off->50%3*panic")
    assert.strictEqual(of(panic.pipe(skipFirst(1), withProbability(0.5), times(3))), "p=1*off->50%3*panic")
    assert.strictEqual(of(panic.pipe(times(1), orElse(sleep("1 second")))), "p=1*panic->sleep(1000)")
    assert.deepStrictEqual(
      render({ "a::b": panic, "bank.wire": TestConnector.losesAck(), c: fails("x") }),
      Either.right("a::b=panic;c=return(x)")
    )
    assert.deepStrictEqual(render({}), Either.right(""))
  })

  it("CHA-01 · what the grammar cannot carry is refused", () => {
    const refused = (name: string, point: Failpoint.Failpoint) => {
      const error = Either.getOrThrow(Either.flip(render({ fine: panic, [name]: point })))
      assert.instanceOf(error, Failpoint.InvalidFailpoint)
      assert.strictEqual(error.name, name)
      return error.message
    }
    for (const name of ["", " a", "a b", "a;b", "a=b", "a->b", "a(", "a)", "a\n"]) {
      assert.include(refused(name, panic), "its name is not one word")
    }
    for (const text of ["a;b", "a)", "a->b", "a\nb", "a\u0000b", "a\u2028b"]) {
      assert.include(refused("p", fails(text)), "control character")
    }
    for (const probability of [-0.1, 1.1, Number.NaN]) {
      assert.include(refused("p", panic.pipe(withProbability(probability))), "0 to 1 can be")
    }
    for (const count of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      assert.include(refused("p", panic.pipe(times(count))), "whole numbers can be")
      assert.include(refused("p", panic.pipe(skipFirst(count))), "whole numbers can be")
    }
    assert.include(refused("p", sleep(Duration.infinity)), "sleeps for")
  })

  const shaken = (failpoints: Failpoint.Points) =>
    TestTape.layer({ connectors: { "bank.wire": bank }, apps: [Pay], failpoints })
  const begun = Effect.flatMap(TapeClient, (tape) =>
    tape.beginRun({ appName: "a", userId: "u", sessionId: "s", invocationId: "i" })
  )
  const runs = Effect.map(TestTape.state, ({ runs }) => runs.length)

  it.scoped("CHA-01 · the embedded engine fails, dies and sleeps there: before it writes, or after", () =>
    Effect.gen(function* () {
      const first = yield* Effect.flip(begun)
      assert.deepInclude(first, { _tag: "Unavailable", rpc: "BeginRun", detail: "no space left", maybeApplied: true })
      assert.strictEqual(yield* runs, 0)
      const second = yield* Effect.flip(begun)
      assert.deepInclude(second, { detail: "the tape died at beginRun.after", maybeApplied: true })
      assert.strictEqual(yield* runs, 1)
      const slow = yield* Effect.fork(begun)
      yield* TestClock.adjust("250 millis")
      assert.isTrue((yield* slow).resumed)
      assert.strictEqual(yield* Clock.currentTimeMillis, 250)
      const fast = yield* begun
      assert.isTrue(fast.resumed)
    }).pipe(
      Effect.provide(
        shaken({
          "beginRun.before": fails("no space left").pipe(times(1)),
          "beginRun.after": panic.pipe(times(1), orElse(sleep("250 millis").pipe(times(1))))
        })
      )
    )
  )

  it.scoped("CHA-01 · an engine of one's own has them, and says what it cannot have", () =>
    Effect.gen(function* () {
      const tape = (points: Failpoint.Points) =>
        Client.layerHandlers(Engine.Engine, { retry: Schedule.stop }).pipe(
          Layer.provide(Failpoint.layer(points)),
          Layer.provide(Engine.layerUrl("memory:"))
        )
      const call = Effect.flatMap(TapeClient, (tape) => tape.getSession({ appName: "a", userId: "u", sessionId: "s" }))
      const calls = Effect.forEach([1, 2], () => Effect.either(call))
      const [first, second] = yield* Effect.provide(calls, tape({ "getSession.before": fails("busy").pipe(times(1)) }))
      assert.isTrue(first !== undefined && Either.isLeft(first))
      assert.isTrue(second !== undefined && Either.isRight(second))
      // What a program without types could write.
      for (const name of ["getSessions.before", "getSession.between", "watchValue.before", "toString.before"]) {
        const untyped: object = { [name]: panic }
        assert.strictEqual(
          (yield* Effect.flip(Effect.provide(Effect.void, tape(untyped)))).message,
          `the failpoint "${name}" is nowhere in the engine`
        )
      }
    })
  )

  it.live("CHA-01 · probabilities are seeded, and each point draws its own", () => {
    const drawn = (points: Failpoint.Points, seed: number) =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        const calls = Array.from({ length: 40 }, () => Effect.isFailure(tape.getSession({ appName: "a" })))
        return yield* Effect.all(calls)
      }).pipe(Effect.provide(TestTape.layer({ failpoints: points, seed })))
    return Effect.gen(function* () {
      const points: Failpoint.Points = { "getSession.before": panic.pipe(withProbability(0.5)) }
      const once = yield* drawn(points, 1)
      assert.includeMembers(once, [true, false])
      assert.deepStrictEqual(yield* drawn(points, 1), once)
      assert.notDeepEqual(yield* drawn(points, 2), once)
      const after: Failpoint.Points = { "getSession.after": panic.pipe(withProbability(0.5)) }
      assert.notDeepEqual(yield* drawn(after, 1), once)
      const beside = { ...points, "getSession.after": sleep(0).pipe(withProbability(0.5)) }
      assert.deepStrictEqual(yield* drawn(beside, 1), once)
      assert.notInclude(yield* drawn({ "getSession.before": panic.pipe(withProbability(0)) }, 1), true)
    })
  })

  it.effect("CHA-01 · a program waits out a tape that dies under it, and a failpoint that cannot be is a defect", () =>
    Effect.gen(function* () {
      const failpoints: Failpoint.Points = {
        "beginEffect.after": panic.pipe(skipFirst(2), times(2)),
        "completeEffect.before": fails("busy").pipe(times(2)),
        "claimEffectDispatch.after": panic.pipe(times(1))
      }
      yield* Effect.gen(function* () {
        const paid = yield* Effect.fork(Pay.start(ids(), "ACME"))
        yield* TestClock.adjust("5 minutes")
        assert.deepStrictEqual(yield* paid, { wireId: "bank.wire-1" })
        assert.strictEqual(yield* bookings, 1)
        // It has waited: the failpoints were there.
        assert.isAbove((yield* TestTape.journal).entries.at(-1)?.atMs ?? 0, 0)
        yield* Effect.all([oneWire, TestTape.noStuck, TestTape.noUnknown, TestTape.contiguous])
      }).pipe(Effect.provide(shaken(failpoints)))
      const exit = yield* Effect.exit(
        Effect.provide(begun, shaken({ "beginRun.before": panic.pipe(withProbability(2)) }))
      )
      const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(defect, Failpoint.InvalidFailpoint)
    }).pipe(Effect.provide(quiet))
  )
})
