import { assert, describe, it } from "@effect/vitest"
import {
  type Clock,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Metric,
  Option,
  Queue,
  Scope,
  TestClock
} from "effect"
import { TapeClient } from "../src/Client.js"
import * as Connectors from "../src/Connectors.js"
import { Unavailable } from "../src/Errors.js"
import { EffectStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Outbox from "../src/Outbox.js"
import { intend, options, read, statusOf, tape, withBank } from "./Outbox.dispatcher.fixtures.js"
import * as Bank from "./support/Bank.js"

const confirming: Connectors.Protocol = { dispatch: () => Effect.succeed({ _tag: "confirmed" }) }

/** Outcomes as they come. */
const outcomes = Effect.map(Queue.unbounded<Outbox.Outcome>(), (queue) => ({
  next: Queue.take(queue).pipe(Effect.timeout("5 seconds")),
  onOutcome: (outcome: Outbox.Outcome) => Queue.offer(queue, outcome)
}))

/** The tape with some of its calls replaced. */
const tapeWith = (change: (tape: TapeClient["Type"]) => Partial<TapeClient["Type"]>) =>
  Layer.effect(
    TapeClient,
    Effect.map(TapeClient, (tape) => ({ ...tape, ...change(tape) }))
  )

const lostAnswer = (rpc: string) => new Unavailable({ rpc, detail: "the answer was lost", ids: {}, maybeApplied: true })

describe("Outbox.layer", () => {
  it.live("is woken by a new effect", () =>
    Effect.scoped(
      withBank(() =>
        Effect.gen(function* () {
          const { next, onOutcome } = yield* outcomes
          yield* Layer.build(Outbox.layer({ ...options, pollInterval: "1 hour", onOutcome }))
          const first = yield* intend("k1")
          assert.deepInclude(yield* next, { _tag: "confirmed", ...first })
          const second = yield* intend("k2")
          assert.deepInclude(yield* next, { _tag: "confirmed", ...second })
        })
      )()
    )
  )

  it.live("goes on without a rest while there is a full page", () =>
    Effect.scoped(
      withBank((bank) =>
        Effect.gen(function* () {
          const { next, onOutcome } = yield* outcomes
          yield* Effect.forEach(
            Array.from({ length: 7 }, (_, n) => `k${n}`),
            (key) => intend(key),
            { discard: true }
          )
          // As of now there is no news: all there is has been recorded before.
          yield* Effect.sleep("20 millis")
          yield* Layer.build(Outbox.layer({ ...options, pollInterval: "1 hour", pageSize: 2, onOutcome }))
          for (let n = 0; n < 7; n++) assert.strictEqual((yield* next)._tag, "confirmed")
          assert.strictEqual((yield* bank.ledger).length, 7)
        })
      )()
    )
  )

  it.live("a counterparty that does not answer holds up no other", () =>
    Effect.gen(function* () {
      const { next, onOutcome } = yield* outcomes
      const started = yield* Deferred.make<void>()
      const stuck: Connectors.Protocol = {
        dispatch: () => Effect.zipRight(Deferred.succeed(started, void 0), Effect.never)
      }
      yield* intend("k1")
      const layer = Outbox.layer({ ...options, parallelism: 1, grace: 0, pollInterval: "5 millis", onOutcome })
      const connectors = Connectors.layerRecord({ "bank.wire": stuck, slack: confirming })
      yield* Layer.build(Layer.provide(layer, connectors))
      yield* Deferred.await(started)
      yield* intend("k2")
      // Nobody named "slack" to the layer: it is in the context, and a row names it.
      const other = yield* intend("k3", { connector: "slack" })
      assert.deepInclude(yield* next, { _tag: "confirmed", ...other })
    }).pipe(Effect.scoped, Effect.provide([tape, Logger.remove(Logger.defaultLogger)]))
  )

  it.live("says once that a connector is missing, and counts", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => lines.push(String(message)))
      const { next, onOutcome } = yield* outcomes
      yield* intend("k1", { connector: "bank.none" })
      yield* Layer.build(Outbox.layer({ claimer: "test", pollInterval: "5 millis", onOutcome })).pipe(
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      yield* Effect.repeatN(next, 2)
      assert.deepStrictEqual(lines, ['wire_money: skipped: no connector "bank.none" is provided'])
      const counted = (yield* Metric.snapshot).find(
        ({ metricKey }) =>
          metricKey.name === "tape.outbox.dispatched" && metricKey.tags.some(({ value }) => value === "bank.none")
      )
      assert.isAtLeast(Number(Reflect.get(counted?.metricState ?? {}, "count")), 3)
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.live("effects of connectors that are missing hide no other behind them", () =>
    Effect.gen(function* () {
      const { next, onOutcome } = yield* outcomes
      yield* Effect.forEach(["k1", "k2", "k3"], (key) => intend(key, { connector: "bank.none" }))
      const intent = yield* intend("k4")
      const told = Effect.repeat(next, { until: ({ idempotencyKey }) => idempotencyKey === intent.idempotencyKey })
      // Not named in the options, only there: the loop has to come across it.
      yield* Layer.build(Outbox.layer({ claimer: "test", pollInterval: "5 millis", pageSize: 1, onOutcome })).pipe(
        Effect.provide(Connectors.make("bank.wire", confirming))
      )
      assert.strictEqual((yield* Effect.timeout(told, "2 seconds"))._tag, "confirmed")
    }).pipe(Effect.scoped, Effect.provide([tape, Logger.remove(Logger.defaultLogger)]))
  )

  it.live("goes on when the tape is back, having said so", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => lines.push(String(message)))
      const { next, onOutcome } = yield* outcomes
      let refusals = 3
      const flaky = tapeWith((tape) => ({
        listEffectsToDispatch: (request, options) =>
          Effect.suspend(() => {
            refusals -= 1
            return refusals >= 0 && request.connector !== ""
              ? Effect.fail(lostAnswer("ListEffectsToDispatch"))
              : tape.listEffectsToDispatch(request, options)
          })
      }))
      yield* intend("k1")
      const layer = Outbox.layer({ ...options, pollInterval: "1 hour", onOutcome })
      yield* Layer.build(Layer.provide(layer, [flaky, Connectors.make("bank.wire", confirming)])).pipe(
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      assert.strictEqual((yield* next)._tag, "confirmed")
      assert.strictEqual(lines.filter((line) => line.includes("cannot be listed")).length >= 1, true)
    }).pipe(Effect.scoped, Effect.provide(tape))
  )
})

describe("an effect in flight when the dispatcher is interrupted", () => {
  const running = <R>(dispatcher: Layer.Layer<never, never, R>) =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(dispatcher, scope)
      return { stop: Scope.close(scope, Exit.void) }
    })

  it.scoped(
    "is recorded before the interruption is over, and nothing new is taken",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* intend("k1")
        yield* bank.wires(Bank.hold)
        const { stop } = yield* running(Outbox.layer(options))
        yield* bank.booked
        const stopping = yield* Effect.fork(stop)
        const late = yield* intend("k2")
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(Option.isNone(yield* Fiber.poll(stopping)))
        yield* bank.release
        yield* Fiber.join(stopping)
        assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
        assert.strictEqual(yield* statusOf(late), "PENDING")
        assert.strictEqual((yield* read(late)).dispatchClaimedBy, "")
      })
    )
  )

  it.scoped(
    "is left to its claim when the grace is over, and then observed",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* intend("k1")
        yield* bank.wires(Bank.hold)
        const { stop } = yield* running(Outbox.layer({ ...options, grace: "3 seconds" }))
        yield* bank.booked
        const stopping = yield* Effect.fork(stop)
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(stopping)
        assert.strictEqual(yield* statusOf(intent), "PENDING")
        assert.strictEqual((yield* read(intent)).dispatchClaimedBy, "test")
        yield* TestClock.adjust("1 minute")
        const [outcome] = yield* Outbox.dispatchOnce({ ...options, claimer: "next" })
        assert.deepInclude(outcome, { _tag: "confirmed", observed: true, externalRef: "W-1" })
        assert.strictEqual((yield* bank.ledger).length, 1)
      }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
    )
  )
})

describe("a dispatch under its claim", () => {
  it.live("has claims of 5 seconds at least, unless a test asks for shorter ones", () =>
    Effect.gen(function* () {
      const claimed: Array<bigint> = []
      const watched = tapeWith(({ claimEffectDispatch }) => ({
        claimEffectDispatch: (request) =>
          Effect.zipRight(
            Effect.sync(() => claimed.push(request.leaseTtlMs ?? 0n)),
            claimEffectDispatch(request)
          )
      }))
      const pass = (allowShortClaims: boolean) =>
        Effect.provide(
          Effect.zipRight(
            intend(`short-${allowShortClaims}`),
            Outbox.dispatchOnce({ ...options, claimTtl: "1 second", allowShortClaims })
          ),
          Layer.merge(watched, Connectors.make("bank.wire", confirming))
        )
      yield* pass(false)
      yield* pass(true)
      assert.deepStrictEqual(claimed, [5000n, 1000n])
    }).pipe(Effect.provide([tape, Logger.remove(Logger.defaultLogger)]))
  )

  it.scoped(
    "has at most half the claim's time to be answered",
    withBank(
      (bank) =>
        Effect.gen(function* () {
          const intent = yield* intend("k1")
          yield* bank.wires(Bank.hold)
          const pass = yield* Effect.fork(Outbox.dispatchOnce({ ...options, claimTtl: "10 seconds" }))
          yield* bank.booked
          yield* TestClock.adjust("5 seconds")
          assert.deepInclude((yield* Fiber.join(pass))[0], { _tag: "unknown", error: "no answer in time" })
          assert.strictEqual(yield* statusOf(intent), "UNKNOWN")
        }),
      { timeout: "1 hour" }
    )
  )

  it.live("ends within its claim although the clock is set back", () =>
    Effect.gen(function* () {
      const clock = yield* Effect.clock
      let back = 0
      const wall: Clock.Clock = {
        ...clock,
        sleep: (duration) => clock.sleep(duration),
        unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis() - back,
        unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
        currentTimeMillis: Effect.sync(() => clock.unsafeCurrentTimeMillis() - back),
        currentTimeNanos: clock.currentTimeNanos
      }
      const setBack = tapeWith(({ claimEffectDispatch }) => ({
        claimEffectDispatch: (request) =>
          Effect.tap(claimEffectDispatch(request), () => Effect.sync(() => (back = 60_000)))
      }))
      yield* intend("k1")
      const outcome = yield* Outbox.dispatchOnce({ ...options, claimTtl: "400 millis", allowShortClaims: true }).pipe(
        Effect.provide(Layer.merge(setBack, Connectors.make("bank.wire", { dispatch: () => Effect.never }))),
        Effect.withClock(wall),
        Effect.timeout("2 seconds")
      )
      assert.deepInclude(outcome[0], { _tag: "unknown", error: "no answer in time" })
    }).pipe(Effect.provide([tape, Logger.remove(Logger.defaultLogger)]))
  )

  it.scoped("is not kept by a connector that cannot be interrupted", () =>
    Effect.gen(function* () {
      yield* intend("k1")
      const started = yield* Deferred.make<void>()
      const end = yield* Deferred.make<Connectors.Dispatched>()
      const deaf: Connectors.Protocol = {
        dispatch: () => Effect.uninterruptible(Effect.zipRight(Deferred.succeed(started, void 0), Deferred.await(end)))
      }
      const pass = yield* Effect.fork(Effect.provide(Outbox.dispatchOnce(options), Connectors.make("bank.wire", deaf)))
      yield* Deferred.await(started)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* Fiber.join(pass))[0]?._tag, "unknown")
      yield* Deferred.succeed(end, { _tag: "confirmed" })
    }).pipe(Effect.provide(tape))
  )

  it.live("is confirmed although the answer of the record is lost at first", () =>
    Effect.gen(function* () {
      let lost = 0
      const flaky = tapeWith((tape) => ({
        completeEffect: (request, options) =>
          Effect.flatMap(tape.completeEffect(request, options), (row) => {
            lost += 1
            return lost < 3 ? Effect.fail(lostAnswer("CompleteEffect")) : Effect.succeed(row)
          })
      }))
      const intent = yield* intend("k1")
      const [outcome] = yield* Effect.provide(Outbox.dispatchOnce(options), flaky)
      assert.strictEqual(outcome?._tag, "confirmed")
      assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
    }).pipe(Effect.provide([tape, Connectors.make("bank.wire", confirming)]))
  )

  it.live("counts an attempt once although the answer of its record is lost", () =>
    Effect.gen(function* () {
      let calls = 0
      const flaky = tapeWith((tape) => ({
        recordDispatchAttempt: (request, options) => {
          calls += 1
          const answer = tape.recordDispatchAttempt(request, options)
          return calls === 1 ? Effect.zipRight(answer, Effect.fail(lostAnswer("RecordDispatchAttempt"))) : answer
        }
      }))
      const intent = yield* intend("k1")
      const [outcome] = yield* Effect.provide(Outbox.dispatchOnce(options), flaky)
      assert.strictEqual(outcome?._tag, "unknown")
      assert.strictEqual(calls, 1)
      assert.strictEqual((yield* read(intent)).dispatchAttempts, 1)
    }).pipe(
      Effect.provide([
        tape,
        Connectors.make("bank.wire", { dispatch: () => Effect.succeed({ _tag: "unknown", error: "lost" }) })
      ])
    )
  )

  it.live("writes an attempt again that never arrived", () =>
    Effect.gen(function* () {
      let calls = 0
      const flaky = tapeWith((tape) => ({
        recordDispatchAttempt: (request, options) => {
          calls += 1
          return calls === 1
            ? Effect.fail(lostAnswer("RecordDispatchAttempt"))
            : tape.recordDispatchAttempt(request, options)
        }
      }))
      const intent = yield* intend("k1")
      const [outcome] = yield* Effect.provide(Outbox.dispatchOnce(options), flaky)
      assert.strictEqual(outcome?._tag, "unknown")
      assert.strictEqual((yield* read(intent)).dispatchAttempts, 1)
    }).pipe(
      Effect.provide([
        tape,
        Connectors.make("bank.wire", { dispatch: () => Effect.succeed({ _tag: "unknown", error: "lost" }) })
      ])
    )
  )

  it.scoped("does not take the claim of another when its own has run out", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const reached = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const slow = tapeWith(() => ({
        recordDispatchAttempt: () =>
          Deferred.succeed(reached, void 0).pipe(
            Effect.zipRight(Deferred.await(go)),
            Effect.zipRight(Effect.fail(lostAnswer("RecordDispatchAttempt")))
          )
      }))
      const intent = yield* intend("k1")
      const pass = yield* Effect.fork(Effect.provide(Outbox.dispatchOnce(options), slow))
      yield* Deferred.await(reached)
      yield* TestClock.adjust("61 seconds")
      assert.isTrue((yield* tape.claimEffectDispatch({ ...intent, claimer: "other", leaseTtlMs: 60_000n })).acquired)
      yield* Deferred.succeed(go, void 0)
      yield* TestClock.adjust("1 second")
      const [outcome] = yield* Fiber.join(pass)
      assert.include(outcome?._tag === "error" ? outcome.error : "", "the claim ran out and is other's now")
      assert.strictEqual((yield* read(intent)).dispatchClaimedBy, "other")
    }).pipe(
      Effect.provide([
        tape,
        Logger.remove(Logger.defaultLogger),
        Connectors.make("bank.wire", { dispatch: () => Effect.succeed({ _tag: "unknown", error: "lost" }) })
      ])
    )
  )

  it.live("is not FAILED by a process that stood still until another had the claim", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const intent = yield* intend("k1")
      let looks = 0
      const overtaken = tapeWith(({ claimEffectDispatch, getEffect }) => ({
        getEffect: (request) =>
          Effect.zipRight(
            Effect.suspend(() =>
              looks++ === 0 ? Effect.void : claimEffectDispatch({ ...intent, claimer: "other", leaseTtlMs: 60_000n })
            ),
            getEffect(request)
          )
      }))
      const standing = Effect.sync((): Connectors.Dispatched => {
        const until = Date.now() + 500
        while (Date.now() < until);
        return { _tag: "failed", error: "no such account", final: true }
      })
      const pass = Outbox.dispatchOnce({ ...options, claimTtl: "400 millis", allowShortClaims: true })
      const [outcome] = yield* Effect.provide(
        pass,
        Layer.merge(overtaken, Connectors.make("bank.wire", { dispatch: () => standing }))
      )
      assert.include(outcome?._tag === "error" ? outcome.error : "", "the claim ran out and is other's now")
      const row = (yield* tape.getEffect(intent)).effect
      assert.deepInclude(row, { status: EffectStatus.PENDING, dispatchClaimedBy: "other" })
    }).pipe(Effect.provide([tape, Logger.remove(Logger.defaultLogger)]))
  )

  it.scoped("is not reported as confirmed when the row says otherwise", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const intent = yield* intend("k1")
      const settled: Connectors.Protocol = {
        dispatch: () =>
          tape
            .reconcileEffect({ ...intent, resolvedStatus: EffectStatus.FAILED, errorJson: '"by hand"' })
            .pipe(Effect.as({ _tag: "confirmed" }))
      }
      const [outcome] = yield* Effect.provide(Outbox.dispatchOnce(options), Connectors.make("bank.wire", settled))
      assert.deepInclude(outcome, { _tag: "error", error: "confirmed could not be recorded: the row says FAILED" })
    }).pipe(Effect.provide([tape, Logger.remove(Logger.defaultLogger)]))
  )

  it.live("is confirmed although the tape will not hold the answer", () =>
    Effect.gen(function* () {
      const intent = yield* intend("k1")
      const [outcome] = yield* Outbox.dispatchOnce(options)
      assert.strictEqual(outcome?._tag, "confirmed")
      assert.deepStrictEqual(JSON.parse((yield* read(intent)).responseJson), { external_ref: "W-1" })
      const tape = yield* TapeClient
      const { obligations } = yield* tape.listObligations({ runId: intent.runId })
      assert.deepStrictEqual(
        obligations.map(({ payloadJson }) => payloadJson),
        ['{"external_ref":"W-1"}']
      )
    }).pipe(
      Effect.provide([
        tape,
        Connectors.make("bank.wire", {
          dispatch: () =>
            Effect.succeed({ _tag: "confirmed", externalRef: "W-1", response: { text: "x".repeat(5 * 1024 * 1024) } })
        })
      ])
    )
  )
})
