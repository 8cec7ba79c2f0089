import { assert, describe, it } from "@effect/vitest"
import { DateTime, Deferred, Duration, Effect, Fiber, Schema, TestClock } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Connectors from "../src/Connectors.js"
import * as Outbox from "../src/Outbox.js"
import * as Reactors from "../src/Reactors.js"
import {
  connector,
  idempotent,
  intend,
  options,
  read,
  statusOf,
  tags,
  tape,
  WireMoney,
  withBank
} from "./Outbox.dispatcher.fixtures.js"
import * as Bank from "./support/Bank.js"

describe("Outbox.dispatchOnce", () => {
  it.scoped(
    "OUT-10: sends a due effect, once, and records the answer",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* intend("k1")
        const outcomes = yield* Outbox.dispatchOnce(options)
        assert.deepStrictEqual(outcomes, [
          {
            _tag: "confirmed",
            ...intent,
            connector: "bank.wire",
            tool: "wire_money",
            externalRef: "W-1",
            observed: false
          }
        ])
        const row = yield* read(intent)
        assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
        assert.deepStrictEqual(JSON.parse(row.responseJson), { external_ref: "W-1", wireId: "W-1" })
        assert.deepStrictEqual(yield* Outbox.dispatchOnce(options), [])
        assert.strictEqual((yield* bank.ledger).length, 1)
      })
    )
  )

  it.scoped("OUT-11: leaves an effect alone whose connector nobody provides, and names it", () =>
    Effect.gen(function* () {
      const intent = yield* intend("k1", { connector: "bank.none" })
      const [outcome] = yield* Outbox.dispatchOnce({ claimer: "test" })
      assert.deepInclude(outcome, { _tag: "skipped", reason: "no-connector" })
      assert.include(outcome && Outbox.describe(outcome), "bank.none")
      const row = yield* read(intent)
      assert.strictEqual(yield* statusOf(intent), "PENDING")
      assert.strictEqual(row.dispatchClaimedBy, "")
    }).pipe(Effect.provide(tape))
  )

  it.scoped(
    "OUT-12: a lost acknowledgement is UNKNOWN, is not sent again, and is found by asking",
    withBank((bank) =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        const intent = yield* intend("k1")
        yield* bank.wires(Bank.loseAck)
        assert.deepStrictEqual(tags(yield* Outbox.dispatchOnce(options)), ["unknown"])
        assert.strictEqual((yield* bank.ledger).length, 1)
        assert.deepStrictEqual(yield* Outbox.dispatchOnce(options), [])
        assert.deepStrictEqual(tags(yield* Reactors.reconcileOnce(options)), ["confirmed"])
        assert.strictEqual((yield* read(intent)).externalRef, "W-1")
        assert.strictEqual((yield* bank.ledger).length, 1)
        assert.deepStrictEqual((yield* tape.listPendingEffects({ includeUnknown: true })).effects, [])
      })
    )
  )

  it.scoped(
    "OUT-13: two dispatchers send three effects three times",
    withBank((bank) =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        yield* Effect.forEach(["k1", "k2", "k3"], (key) => intend(key))
        const outcomes = yield* Effect.all(
          [Outbox.dispatchOnce({ ...options, claimer: "A" }), Outbox.dispatchOnce({ ...options, claimer: "B" })],
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          tags(outcomes.flat()).filter((tag) => tag !== "skipped"),
          ["confirmed", "confirmed", "confirmed"]
        )
        assert.deepStrictEqual((yield* bank.ledger).map(({ businessKey }) => businessKey).toSorted(), [
          "k1",
          "k2",
          "k3"
        ])
        assert.deepStrictEqual((yield* tape.listPendingEffects({})).effects, [])
      })
    )
  )

  it.scoped(
    "OUT-14: tries again with doubling waits, then records FAILED",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* intend("k1")
        yield* bank.wires(...Array.from({ length: 9 }, () => Bank.answer(429, "slow down")))
        const pass = Outbox.dispatchOnce({ ...options, maxAttempts: 9 })
        for (const wait of [1, 2, 4, 8, 16, 32, 60, 60]) {
          const now = yield* DateTime.now
          const [outcome] = yield* pass
          assert.strictEqual(outcome?._tag, "retry-scheduled")
          if (outcome?._tag !== "retry-scheduled") return
          assert.strictEqual(DateTime.distance(now, outcome.nextAt), wait * 1000)
          assert.deepStrictEqual(yield* pass, [], "not due yet")
          yield* TestClock.adjust(`${wait} seconds`)
        }
        const [last] = yield* pass
        assert.deepInclude(last, { _tag: "failed", attempts: 9, error: "http 429: slow down" })
        assert.strictEqual(yield* statusOf(intent), "FAILED")
        assert.deepStrictEqual(JSON.parse((yield* read(intent)).errorJson), {
          final: true,
          attempts: 9,
          last: "http 429: slow down"
        })
        assert.deepStrictEqual(yield* bank.ledger, [])
      })
    )
  )

  it.scoped(
    "OUT-14: a final status fails at the first attempt; Retry-After replaces the wait",
    withBank((bank) =>
      Effect.gen(function* () {
        const refused = yield* intend("k1")
        yield* bank.wires(Bank.answer(422, "no such account"))
        assert.deepInclude((yield* Outbox.dispatchOnce(options))[0], { _tag: "failed", attempts: 1 })
        assert.strictEqual(yield* statusOf(refused), "FAILED")
        yield* intend("k2")
        yield* bank.wires(Bank.answer(429, "", { "retry-after": "90" }))
        const [outcome] = yield* Outbox.dispatchOnce(options)
        assert.strictEqual(outcome?._tag === "retry-scheduled" && DateTime.toEpochMillis(outcome.nextAt), 90_000)
      })
    )
  )

  it.scoped(
    "OUT-15: a connector that books and then throws: one wire, CONFIRMED by asking",
    withBank((bank) =>
      Effect.gen(function* () {
        const http = yield* Connectors.Tag("bank.wire")
        const throws = connector({
          ...http,
          dispatch: (request) => Effect.andThen(http.dispatch(request), () => Effect.dieMessage("out of memory"))
        })
        const intent = yield* intend("k1")
        const passes = Effect.all([
          Outbox.dispatchOnce(options),
          Outbox.dispatchOnce(options),
          Reactors.reconcileOnce(options)
        ])
        const [first, second, reconciled] = yield* Effect.provide(passes, throws)
        assert.deepInclude(first[0], { _tag: "unknown", error: "out of memory" })
        assert.deepStrictEqual(second, [])
        assert.deepStrictEqual(tags(reconciled), ["confirmed"])
        assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
        assert.strictEqual((yield* bank.ledger).length, 1)
      })
    )
  )

  it.scoped("an idempotent effect whose connector dies is tried again, and given up like any other", () =>
    Effect.gen(function* () {
      const intent = yield* intend("k1", idempotent)
      const pass = Effect.zipLeft(Outbox.dispatchOnce({ ...options, maxAttempts: 2 }), TestClock.adjust("2 seconds"))
      assert.deepStrictEqual(tags(yield* pass), ["retry-scheduled"])
      assert.deepInclude((yield* pass)[0], { _tag: "failed", attempts: 2, error: "connector raised: broken" })
      assert.strictEqual(yield* statusOf(intent), "FAILED")
    }).pipe(Effect.provide([tape, connector({ dispatch: () => Effect.die(new Error("broken")) })]))
  )

  it.scoped("an error and a wait without measure are recorded all the same, and count", () =>
    Effect.gen(function* () {
      const intent = yield* intend("k1", idempotent)
      const pass = Outbox.dispatchOnce({ ...options, maxAttempts: 2 })
      assert.deepStrictEqual(tags(yield* pass), ["retry-scheduled"])
      assert.isBelow((yield* read(intent)).lastDispatchError.length, 10_000)
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(tags(yield* pass), ["failed"])
      assert.isBelow((yield* read(intent)).errorJson.length, 10_000)
    }).pipe(
      Effect.provide([
        tape,
        connector({
          dispatch: () =>
            Effect.succeed({ _tag: "failed", error: "x".repeat(5 * 1024 * 1024), retryAfter: Duration.infinity })
        })
      ])
    )
  )

  it.scoped("a tool's own limits go before the dispatcher's: of attempts, and of one call's time", () =>
    Effect.gen(function* () {
      const tools = [{ ...WireMoney, maxAttempts: 1, dispatchTimeout: "2 seconds" }] as const
      const hasty = { ...options, tools }
      yield* intend("k1", idempotent)
      const busy = connector({ dispatch: () => Effect.succeed({ _tag: "failed", error: "busy" }) })
      assert.deepStrictEqual(tags(yield* Effect.provide(Outbox.dispatchOnce(hasty), busy)), ["failed"])
      yield* intend("k2")
      const asked = yield* Deferred.make<void>()
      const silent = connector({ dispatch: () => Effect.zipRight(Deferred.succeed(asked, undefined), Effect.never) })
      const pass = yield* Effect.fork(Effect.provide(Outbox.dispatchOnce(hasty), silent))
      yield* Deferred.await(asked)
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude((yield* Fiber.join(pass))[0], { _tag: "unknown", error: "no answer in time" })
    }).pipe(Effect.provide(tape))
  )

  it.scoped("waits are spread by a fifth, so that effects which failed together do not come back together", () =>
    Effect.gen(function* () {
      yield* Effect.forEach(["k1", "k2", "k3", "k4", "k5", "k6"], (key) => intend(key))
      const outcomes = yield* Outbox.dispatchOnce({ ...options, jitter: undefined })
      const waits = outcomes.map((outcome) =>
        outcome._tag === "retry-scheduled" ? DateTime.toEpochMillis(outcome.nextAt) : Number.NaN
      )
      waits.forEach((wait) => assert.isTrue(wait >= 800 && wait <= 1200, `${wait} ms`))
      assert.isAbove(new Set(waits).size, 1)
    }).pipe(Effect.provide([tape, connector({ dispatch: () => Effect.succeed({ _tag: "failed", error: "busy" }) })]))
  )

  it.scoped("an idempotent effect of unknown outcome is sent again only when asked to", () =>
    Effect.gen(function* () {
      yield* intend("k1", idempotent)
      assert.deepStrictEqual(tags(yield* Outbox.dispatchOnce(options)), ["unknown"])
      yield* intend("k2", idempotent)
      const pass = Effect.zipLeft(
        Outbox.dispatchOnce({ ...options, retryUnknown: true, maxAttempts: 2 }),
        TestClock.adjust("2 seconds")
      )
      assert.deepStrictEqual(tags(yield* pass), ["retry-scheduled"])
      assert.deepStrictEqual(tags(yield* pass), ["unknown"])
    }).pipe(Effect.provide([tape, connector({ dispatch: () => Effect.succeed({ _tag: "unknown", error: "?" }) })]))
  )

  it.scoped(
    "OUT-21: a confirmed effect owes its tool's compensation",
    withBank(() =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        const intent = yield* intend("k1")
        yield* Outbox.dispatchOnce(options)
        const { obligations } = yield* tape.listObligations({ runId: intent.runId, onlyUnresolved: true })
        assert.strictEqual(obligations.length, 1)
        assert.strictEqual(obligations[0]?.kind, "reverse_wire")
        assert.strictEqual(obligations[0]?.effectKey, intent.idempotencyKey)
        assert.deepStrictEqual(JSON.parse(obligations[0]?.payloadJson ?? ""), { external_ref: "W-1", wireId: "W-1" })
      })
    )
  )

  it.scoped("outcomes are told, and encode to JSON in the wire's words", () =>
    Effect.gen(function* () {
      const told: Array<Outbox.Outcome> = []
      const intent = yield* intend("k1", idempotent)
      yield* Outbox.dispatchOnce({ ...options, onOutcome: (outcome) => Effect.sync(() => told.push(outcome)) })
      assert.deepStrictEqual(yield* Effect.forEach(told, (outcome) => Schema.encode(Outbox.Outcome)(outcome)), [
        {
          _tag: "retry-scheduled",
          run_id: intent.runId,
          idempotency_key: intent.idempotencyKey,
          connector: "bank.wire",
          tool: "wire_money",
          attempts: 1,
          error: "busy",
          next_at_ms: 1000
        }
      ])
    }).pipe(Effect.provide([tape, connector({ dispatch: () => Effect.succeed({ _tag: "failed", error: "busy" }) })]))
  )
})

describe("Outbox types", () => {
  it("a missing connector is a type error", () => {
    const layer = Outbox.layer({ tools: options.tools, connectors: ["slack"] })
    const needs: Effect.Effect<
      never,
      never,
      TapeClient | Connectors.Connector<"bank.wire"> | Connectors.Connector<"slack">
    > = Effect.provide(Effect.never, layer)
    // @ts-expect-error the connectors are missing
    const lacks: Effect.Effect<never, never, TapeClient> = needs
    assert.isDefined(lacks)
  })
})
