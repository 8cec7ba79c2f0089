/** The testing helpers, as a user writes tests with them. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Fiber, Layer, Logger, Schema, TestClock } from "effect"
import { Connectors, Durable, Outbox, Reactors, TapeClient } from "effect-tape"
import { RunStatus } from "effect-tape/proto"
import { TestConnector, TestTape } from "effect-tape/testing"
import { bank, ids, Wire, wiring } from "./testing.fixtures.js"

const WireMoney = Outbox.tool("wire_money", { ...wiring, semantics: "non_idempotent" })

const Settle = Durable.app("treasury", {
  input: Schema.Struct({ invoice: Schema.String }),
  output: Wire,
  tools: [WireMoney],
  *run({ invoice }) {
    const cfo = Durable.gate("cfo", {
      resolution: Schema.Struct({ approved: Schema.Boolean }),
      context: { invoice },
      timeout: "2 days"
    })
    // Silence is consent.
    const { approved } = yield* Effect.catchTag(cfo, "GateTimedOut", () => Effect.succeed({ approved: true }))
    return yield* WireMoney({ account: "ACME", amount: approved ? 100 : 1 })
  }
})

/** Pays at once. */
const Pay = Durable.app("pay", {
  input: Schema.String,
  output: Wire,
  tools: [WireMoney],
  run: (account) => WireMoney({ account, amount: 100 })
})

const bankThat = (fault: TestConnector.TestConnector) => bank.pipe(TestConnector.and(fault))
const tapeWith = (fault: TestConnector.TestConnector) =>
  TestTape.layer({ connectors: { "bank.wire": bankThat(fault) } })
const bookings = Effect.map(TestConnector.ledger("bank.wire"), (rows) => rows.map(({ id }) => id))

/** What a good test of wires asserts at its end. */
const allIsWell = Effect.all([
  TestTape.exactlyOnce("bank.wire"),
  TestTape.noStuck,
  TestTape.noUnknown,
  TestTape.contiguous
])

describe("TestTape", () => {
  it.scoped("waits two days for the CFO", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Settle.start(ids(), { invoice: "A-1" }))
      yield* TestTape.awaitGate("cfo")
      yield* TestClock.adjust("2 days")
      // The bank's answer was lost; the reconciler asks after 2 seconds.
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* fiber, { wireId: "bank.wire-1" })
      const { entries, steps } = yield* TestTape.journal
      assert.deepStrictEqual(steps, [
        "run/running/treasury/u/s",
        "effect/pending/run.input",
        "effect/confirmed/run.input",
        "effect/pending/run.timer",
        "effect/confirmed/run.timer",
        "gate/waiting/cfo",
        "gate/released/cfo",
        "effect/pending/wire_money",
        "effect/unknown/wire_money",
        "effect/confirmed/wire_money",
        "effect/pending/run.outcome",
        "effect/confirmed/run.outcome",
        "run/terminal/treasury/u/s"
      ])
      assert.strictEqual(entries[6]?.atMs, Duration.toMillis("2 days"))
      assert.strictEqual(entries[9]?.atMs, Duration.toMillis("2 days") + 2000)
      yield* allIsWell
    }).pipe(Effect.provide(tapeWith(TestConnector.losesAck("once"))))
  )

  it.scoped("waits as well for programs of one's own: the same layers as in production, over the test's tape", () => {
    const Main = Layer.mergeAll(Outbox.layer({ tools: [WireMoney] }), Reactors.layer({ apps: [Settle] }))
    const tape = TestTape.layer({ connectors: { "bank.wire": bank }, dispatcher: false, reactors: false })
    return Effect.gen(function* () {
      const process = yield* TestTape.life(Settle.start(ids(), { invoice: "A-1" }))
      yield* TestTape.awaitGate("cfo")
      // Nobody is left to ring but the reactor of timers, and to go on but recovery.
      yield* process.kill
      yield* TestClock.adjust("2 days")
      yield* TestClock.adjust("5 seconds")
      yield* TestTape.awaitRun("treasury", { status: "TERMINAL" })
      yield* allIsWell
      assert.deepStrictEqual(yield* bookings, ["bank.wire-1"])
    }).pipe(Effect.provide(Layer.provideMerge(Main, tape)))
  })

  it.scoped("in two days at a gate nobody looks at the tape", () => {
    const calls: Array<string> = []
    const counting = Layer.effect(
      TapeClient,
      Effect.map(
        TapeClient,
        (tape) =>
          new Proxy(tape, {
            get: (target, name) => {
              calls.push(String(name))
              return Reflect.get(target, name)
            }
          })
      )
    )
    const Main = Layer.mergeAll(Outbox.layer({ tools: [WireMoney] }), Reactors.layer({ apps: [Settle] }))
    const tape = TestTape.layer({ connectors: { "bank.wire": bank }, dispatcher: false, reactors: false })
    const wakes = Effect.map(TestClock.sleeps(), (sleeps) => Array.from(sleeps, (at) => at / 60_000))
    return Effect.gen(function* () {
      const fiber = yield* Effect.fork(Settle.start(ids(), { invoice: "A-1" }))
      yield* TestTape.awaitGate("cfo")
      yield* TestClock.adjust(0)
      // The lease is looked after once more; the run, its safety net and the reactor of timers wait for the gate's time.
      const gate = Array(3).fill(2 * 24 * 60)
      assert.deepStrictEqual(yield* wakes, [2 / 3, ...gate])
      calls.length = 0
      yield* TestClock.adjust("47 hours")
      assert.deepStrictEqual(yield* wakes, gate)
      assert.deepStrictEqual(calls, [])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(yield* fiber, { wireId: "bank.wire-1" })
      assert.include(calls, "sendSignal")
      yield* allIsWell
    }).pipe(Effect.provide(Layer.provideMerge(Main, Layer.provideMerge(counting, tape))))
  })

  it.scoped("leaves out of a year what would find nothing", () =>
    Effect.gen(function* () {
      const app = Durable.app("yearly", { input: Schema.Void, run: () => Durable.sleep("365 days") })
      const fiber = yield* Effect.fork(app.start(ids(), undefined))
      yield* TestTape.awaitGate("sleep/0")
      yield* TestClock.adjust("365 days")
      yield* fiber
      assert.strictEqual((yield* TestTape.journal).entries.at(-1)?.atMs, Duration.toMillis("365 days"))
    }).pipe(Effect.provide(TestTape.layer({ connectors: { "bank.wire": bank } })))
  )

  it.effect("lets time pass for everything, also beside the tape, and in order", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const sleeps = (name: string, duration: Duration.DurationInput) =>
        Effect.zipRight(
          Effect.sleep(duration),
          Effect.map(Clock.currentTimeMillis, (now) => void seen.push(`${name} ${now}`))
        )
      const beside = Layer.scopedDiscard(Effect.forkScoped(sleeps("beside", "1 hour")))
      yield* Effect.gen(function* () {
        yield* Effect.fork(sleeps("later", "3 minutes"))
        yield* Effect.fork(sleeps("sooner", "2 minutes"))
        yield* Effect.fork(Effect.timeoutOption(sleeps("never", "2 minutes"), "1 minute"))
        assert.strictEqual(yield* Clock.currentTimeMillis, 0)
        yield* TestClock.adjust("1 minute")
        // What was interrupted is not slept for any more.
        const wakes = Array.from(yield* TestClock.sleeps())
        assert.strictEqual(wakes.filter((at) => at === 120_000).length, 1)
        yield* TestClock.adjust("90 seconds")
        assert.deepStrictEqual(seen, ["sooner 120000"])
        yield* TestClock.setTime(3_600_000)
        assert.deepStrictEqual(seen, ["sooner 120000", "later 180000", "beside 3600000"])
      }).pipe(Effect.provide(Layer.merge(beside, TestTape.layer())))
    })
  )

  it.live("needs no test clock around it", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Settle.start(ids(), { invoice: "A-1" }))
      const { runId } = yield* TestTape.openGate("cfo", { approved: false })
      assert.deepStrictEqual(yield* fiber, { wireId: "bank.wire-1" })
      assert.deepInclude(yield* TestTape.awaitEffect("wire_money", { runId }), { businessKey: "ACME:1", attempts: 0 })
      yield* allIsWell
    }).pipe(
      Effect.provide(
        Layer.provide(TestTape.layer({ connectors: { "bank.wire": bank } }), Logger.remove(Logger.defaultLogger))
      )
    )
  )

  it.live("writes the same journal for the same script, byte for byte", () => {
    const flaky = TestConnector.fails("busy", 0.5, { seed: 2 })
    const script = Effect.gen(function* () {
      const paid = yield* Effect.forEach(["a", "b", "c"], (account) =>
        Effect.fork(Effect.exit(Pay.start(ids(account), account)))
      )
      yield* TestClock.adjust("10 minutes")
      yield* Effect.forEach(paid, (fiber) => fiber)
      return (yield* TestTape.journal).text
    }).pipe(Effect.provide(tapeWith(TestConnector.losesAck(0.5, { seed: 1 }).pipe(TestConnector.and(flaky)))))
    return Effect.gen(function* () {
      const first = yield* script
      assert.include(first, "dispatch-unknown")
      assert.include(first, "busy")
      assert.strictEqual(yield* script, first)
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
  })

  it.scoped("assertions say which rows are wrong", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "a", userId: "u", sessionId: "s", invocationId: "i" })
      yield* Effect.all([TestTape.noStuck, TestTape.contiguous])
      yield* tape.endRun({ runId, status: RunStatus.STUCK })
      assert.strictEqual((yield* Effect.flip(TestTape.noStuck)).message, `STUCK:\n  run ${runId} of a`)
      const test = yield* TestTape.TestTape
      const state = yield* test.state
      const { entries } = state.journal
      const without = (index: number) =>
        Effect.provideService(TestTape.contiguous, TestTape.TestTape, {
          ...test,
          state: Effect.succeed({
            ...state,
            journal: Object.create(state.journal, { entries: { value: entries.toSpliced(index, 1) } })
          })
        })
      assert.deepInclude(yield* Effect.flip(without(0)), { runId: "", expected: 1, found: 2 })
      yield* without(1)
    }).pipe(Effect.provide(TestTape.layer()))
  )

  it.scoped("says what was not reached, and what is slept for", () =>
    Effect.gen(function* () {
      yield* Effect.fork(Settle.start(ids(), { invoice: "A-1" }))
      yield* TestTape.awaitGate("cfo")
      const error = yield* Effect.flip(TestTape.awaitEffect("wire_money", { timeout: "20 millis" }))
      assert.include(error.message, "wire_money CONFIRMED was not reached")
      assert.include(error.message, "is a TestClock.adjust missing?")
      assert.include(error.message, "  gate/waiting/cfo")
      const { journal, runs } = yield* TestTape.state
      assert.deepStrictEqual(journal.of(journal.runIds[0] ?? "").subjects, journal.subjects)
      assert.deepInclude(runs[0], { app: "treasury", invocation: "A-1", status: "WAITING", gate: "cfo" })
      yield* TestTape.contiguous
    }).pipe(Effect.provide(TestTape.layer()))
  )

  for (const at of ["before", "after"] as const) {
    it.scoped(`a life that dies ${at} a call keeps what it holds, until that runs out`, () =>
      Effect.gen(function* () {
        const pay = Pay.start(ids(), "ACME")
        const life = yield* TestTape.life(pay, { at, call: "completeEffect", where: isOutcome })
        yield* life.died
        const second = yield* Effect.fork(pay)
        yield* TestClock.adjust("1 minute")
        assert.deepInclude(yield* TestTape.awaitRun("pay", { status: "RUNNING" }), { invocation: "A-1" })
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* second, { wireId: "bank.wire-1" })
        const { steps } = yield* TestTape.journal
        assert.strictEqual(steps.filter((step) => step === "effect/confirmed/run.outcome").length, 1)
        yield* allIsWell
        const another = yield* TestTape.life(pay, { at, call: "completeEffect" })
        assert.strictEqual(
          (yield* Effect.flip(another.died)).message,
          `it ended by itself, and was to die ${at} completeEffect`
        )
        assert.deepStrictEqual(yield* Fiber.join(another.fiber), { wireId: "bank.wire-1" })
      }).pipe(Effect.provide(TestTape.layer({ connectors: { "bank.wire": bank }, apps: [] })))
    )
  }
})

const isOutcome = (request: object) => String(Reflect.get(request, "idempotencyKey")).endsWith("/outcome")

/** The connector itself, and an effect to try it with. */
const tried = Effect.gen(function* () {
  const { dispatch, observe } = yield* Connectors.Tag("bank.wire")
  const sent: Array<Connectors.Request> = []
  const send = (tool = "wire_money") => {
    const request = new Connectors.Request({
      runId: "r",
      idempotencyKey: `k${sent.length + 1}`,
      tool,
      connector: "bank.wire",
      businessKey: "",
      semantics: "non_idempotent",
      attempt: 1,
      payload: {}
    })
    sent.push(request)
    return Effect.map(dispatch(request), ({ _tag }) => _tag)
  }
  const asked = Effect.suspend(() =>
    Effect.forEach(sent, (request) => Effect.map(observe?.(request) ?? Effect.die("none"), ({ _tag }) => _tag))
  )
  return { asked, send }
})

/** Over the connector alone: without a dispatcher. */
const alone = (connector: TestConnector.TestConnector) =>
  Layer.provideMerge(TestConnector.layer({ "bank.wire": connector }), TestTape.layer())

describe("TestConnector", () => {
  it.scoped("a lost answer is UNKNOWN, asked about, and CONFIRMED: the bank has one wire (CHA-04)", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(Pay.start(ids(), "ACME"))
      yield* TestTape.awaitEffect("wire_money", { status: "UNKNOWN" })
      const unknown = yield* Effect.flip(TestTape.noUnknown)
      assert.deepInclude(unknown.effects[0], { tool: "wire_money", attempts: 1 })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* fiber, { wireId: "bank.wire-1" })
      assert.deepStrictEqual(yield* bookings, ["bank.wire-1"])
      yield* allIsWell
    }).pipe(Effect.provide(tapeWith(TestConnector.losesAck("always"))))
  )

  it.scoped("a blind retry is seen at the counterparty (CHA-04)", () => {
    // The bug: a bank that does not deduplicate, declared as one that does, and asked again at once.
    const Blind = Outbox.tool("wire_money", { ...wiring, semantics: "idempotent" })
    const PayBlindly = Durable.app("pay", {
      input: Schema.String,
      output: Wire,
      tools: [Blind],
      run: (account) => Blind({ account, amount: 100 })
    })
    return Effect.gen(function* () {
      const fiber = yield* Effect.fork(PayBlindly.start(ids(), "ACME"))
      yield* TestClock.adjust("1 minute")
      yield* fiber
      yield* Effect.all([TestTape.noStuck, TestTape.noUnknown, TestTape.contiguous])
      const error = yield* Effect.flip(TestTape.exactlyOnce("bank.wire"))
      assert.instanceOf(error, TestTape.NotExactlyOnce)
      assert.deepInclude(error.suspects[0], {
        reason: "repeated",
        businessKey: "ACME:100",
        status: "CONFIRMED",
        bookings: ["bank.wire-1", "bank.wire-2"]
      })
      assert.include(error.message, "CONFIRMED, booked bank.wire-1, bank.wire-2")
    }).pipe(
      Effect.provide(
        TestTape.layer({
          connectors: { "bank.wire": bankThat(TestConnector.losesAck("once")) },
          dispatcher: { retryUnknown: true }
        })
      )
    )
  })

  it.scoped("what is booked and not on the tape, and the other way round, is seen", () =>
    Effect.gen(function* () {
      const { send } = yield* tried
      yield* send()
      const unwanted = yield* Effect.flip(TestTape.exactlyOnce("bank.wire"))
      assert.strictEqual(
        unwanted.message,
        "bank.wire: 1 effects did not happen exactly once\n  unwanted: k1 not on the tape, booked bank.wire-1"
      )
      const unheardOf = yield* Effect.flip(TestTape.exactlyOnce("bank"))
      assert.strictEqual(unheardOf.message, 'no test connector is called "bank"; there are: bank.wire')
    }).pipe(Effect.provide(alone(bank)))
  )

  it.scoped("a duplicate is undone, and is then in the books once", () => {
    const Undoable = Outbox.tool("wire_money", {
      ...wiring,
      semantics: "non_idempotent",
      compensate: () => Effect.void
    })
    const app = Durable.app("pay", {
      input: Schema.String,
      output: Wire,
      tools: [Undoable],
      run: (account) => Undoable({ account, amount: 100 })
    })
    const twice = TestConnector.duplicates("once").pipe(TestConnector.and(TestConnector.losesAck("once")))
    return Effect.gen(function* () {
      const fiber = yield* Effect.fork(app.start(ids(), "ACME"))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* fiber, { wireId: "bank.wire-1" })
      assert.deepInclude((yield* TestTape.state).obligations[0], { status: "COMPENSATED" })
      yield* TestTape.noStuck
    }).pipe(Effect.provide(TestTape.layer({ connectors: { "bank.wire": bankThat(twice) }, apps: [app] })))
  })

  it.scoped("faults strike as often as they say, and only the tool they say (CHA-02)", () =>
    Effect.gen(function* () {
      const seen = (fault: TestConnector.TestConnector, tools: ReadonlyArray<string> = ["a", "b", "a"]) =>
        Effect.gen(function* () {
          const { asked, send } = yield* tried
          const started = yield* Clock.currentTimeMillis
          const sends = yield* Effect.fork(Effect.forEach(tools, send))
          yield* TestClock.adjust("1 hour")
          const answers = sends.unsafePoll()?._tag === "Success" ? yield* sends : ["nothing"]
          const rows = yield* TestConnector.ledger("bank.wire")
          return { answers, asked: yield* asked, delays: rows.map(({ atMs }) => atMs - started) }
        }).pipe(Effect.provide(alone(bankThat(fault))))
      const all = ["confirmed", "confirmed", "confirmed"]
      assert.deepStrictEqual(yield* seen(TestConnector.losesAck(1)), {
        answers: ["unknown", "unknown", "unknown"],
        asked: all,
        delays: [0, 0, 0]
      })
      assert.deepStrictEqual((yield* seen(TestConnector.losesAck(0))).answers, all)
      const lost = yield* seen(TestConnector.losesAck("once", { tool: "b" }))
      assert.deepStrictEqual(lost.answers, ["confirmed", "unknown", "confirmed"])
      const never = yield* seen(TestConnector.losesRequest("always", { tool: "a" }))
      assert.deepStrictEqual(never.asked, ["absent", "confirmed", "absent"])
      const doubled = yield* seen(TestConnector.duplicates("once"))
      assert.deepStrictEqual(doubled.asked, ["duplicate", "confirmed", "confirmed"])
      assert.strictEqual(doubled.delays.length, 4)
      assert.deepStrictEqual((yield* seen(TestConnector.delays("1 minute", "once"))).delays, [60_000, 60_000, 60_000])
      assert.deepStrictEqual((yield* seen(TestConnector.hangs("always", { tool: "b" }))).answers, ["nothing"])
      const scripted = TestConnector.script([TestConnector.fails("busy"), TestConnector.confirms()])
      assert.deepStrictEqual((yield* seen(scripted)).answers, ["failed", "confirmed", "confirmed"])
      const tools = Array.from({ length: 40 }, () => "a")
      const half = (yield* seen(TestConnector.losesAck(0.5, { seed: 4 }), tools)).answers
      assert.includeMembers([...half], ["unknown", "confirmed"])
      assert.deepStrictEqual((yield* seen(TestConnector.losesAck(0.5, { seed: 4 }), tools)).answers, half)
    })
  )

  it.scoped("a final refusal ends the effect; a request that was lost is not sent again blindly", () =>
    Effect.gen(function* () {
      const refused = yield* Effect.flip(Pay.start(ids("refused"), "ACME"))
      assert.strictEqual(refused._tag, "EffectFailed")
      const lost = yield* Effect.fork(Effect.flip(Pay.start(ids("lost"), "OTHER")))
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual((yield* lost)._tag, "EffectFailed")
      assert.deepStrictEqual(yield* bookings, [])
      yield* allIsWell
    }).pipe(
      Effect.provide(
        TestTape.layer({
          connectors: {
            "bank.wire": TestConnector.script([
              TestConnector.fails("no such account", "always", { final: true }),
              TestConnector.losesRequest()
            ])
          }
        })
      )
    )
  )

  it.scoped("faults on connectors of one's own last as long as they are asked for (CHA-02)", () =>
    Effect.gen(function* () {
      const send = Effect.flatMap(tried, ({ send }) => send())
      const shaken = TestConnector.withFaults({ "bank.wire": TestConnector.losesAck() })(send)
      assert.deepStrictEqual(yield* Effect.all([send, shaken, send]), ["confirmed", "unknown", "confirmed"])
      assert.strictEqual((yield* TestConnector.ledger("bank.wire")).length, 3)
    }).pipe(Effect.provide(alone(bank)))
  )

  it.scoped("faults on a connector that is not there fail, or are only noted (CHA-03)", () =>
    Effect.gen(function* () {
      const send = Effect.flatMap(tried, ({ send }) => send())
      const faults = { "bank.wires": TestConnector.losesAck() }
      const missing = yield* Effect.flip(TestConnector.withFaults(faults)(send))
      assert.strictEqual(
        String(missing),
        'TargetMissing: faults are given for the connector "bank.wires", which is not provided here'
      )
      assert.strictEqual(yield* TestConnector.withFaults(faults, { strict: false })(send), "confirmed")
    }).pipe(Effect.provide(alone(bank)))
  )

  it("faults have words (CHA-01)", () => {
    const { and, confirms, delays, describe, duplicates, fails, hangs, losesAck, losesRequest, script } = TestConnector
    assert.strictEqual(describe(confirms()), "off")
    assert.strictEqual(describe(losesAck()), "lose_ack")
    assert.strictEqual(describe(losesAck(0.125, { tool: "wire_money" })), "wire_money: 12.5%lose_ack")
    assert.strictEqual(describe(duplicates("once").pipe(and(delays("2 seconds")))), "1*duplicate; sleep(2000)")
    assert.strictEqual(describe(fails("no such account")), "fail(no such account)")
    const steps = [confirms(), confirms(), delays("1 second").pipe(and(losesAck("once"))), hangs(), losesRequest()]
    assert.strictEqual(describe(script(steps)), "1*off->1*off->1*sleep(1000)+lose_ack->1*hang->1*lose_request->off")
  })
})
