/** The dispatcher, the reconciler and the drainer. */
import { assert } from "@effect/vitest"
import { Duration, Effect, Layer, type Scope } from "effect"
import { Connectors, Outbox, Reactors, TapeClient } from "effect-tape"
import { ObligationStatus, RunStatus } from "effect-tape/proto"
import { eventually } from "../../conformance/Expect.js"
import * as Bank from "../../support/Bank.js"
import { addresses, intend, type Scenario, tags } from "./Ways.js"

const quick = { claimTtl: "2 seconds", allowShortClaims: true, jitter: false } as const

export const outbox: ReadonlyArray<Scenario<TapeClient | Scope.Scope>> = [
  {
    title: "OUT-12, OUT-15: a wire whose answer is lost is UNKNOWN, then found by asking; nothing is sent again",
    run: Effect.gen(function* () {
      const bank = yield* Bank.make
      const connector = Connectors.http("lost", addresses(bank))
      const { statuses } = yield* intend("lost", ["lost:1", "lost:2"])
      yield* bank.wires(Bank.loseAck)
      const pass = Outbox.dispatchOnce({ connectors: ["lost"], ...quick, parallelism: 1 })
      const both = Effect.gen(function* () {
        assert.deepStrictEqual(tags(yield* pass), ["unknown", "confirmed"])
        assert.deepStrictEqual(yield* statuses, ["UNKNOWN", "CONFIRMED"])
        assert.deepStrictEqual(tags(yield* pass), [])
        const reports = yield* Reactors.reconcileOnce({ connectors: ["lost"] })
        assert.deepStrictEqual(tags(reports), ["confirmed"])
      })
      yield* Effect.provide(both, connector)
      assert.deepStrictEqual(yield* statuses, ["CONFIRMED", "CONFIRMED"])
      assert.lengthOf(yield* bank.ledger, 2)
    })
  },
  {
    title: "a dispatcher that vanished after the wire was booked is followed by one that asks",
    run: Effect.gen(function* () {
      const tape = yield* TapeClient
      const bank = yield* Bank.make
      const connector = Connectors.http("vanished", addresses(bank))
      const { keys, rows, runId } = yield* intend("vanished", ["vanished:1"])
      const [idempotencyKey = ""] = keys
      yield* tape.claimEffectDispatch({ runId, idempotencyKey, claimer: "gone", leaseTtlMs: 20n })
      const request = { runId, idempotencyKey, tool: "wire_money", connector: "vanished", businessKey: "vanished:1" }
      const both = Effect.gen(function* () {
        const sent = new Connectors.Request({ ...request, semantics: "non_idempotent", attempt: 1, payload: {} })
        yield* Effect.flatMap(Connectors.Tag("vanished"), ({ dispatch }) => dispatch(sent))
        const [outcome] = yield* eventually(
          "its claim has run out",
          Outbox.dispatchOnce({ connectors: ["vanished"], ...quick }),
          (outcomes) => outcomes.length > 0 && outcomes[0]?._tag !== "skipped"
        )
        assert.deepInclude(outcome, { _tag: "confirmed", observed: true, externalRef: "W-1" })
      })
      yield* Effect.provide(both, connector)
      assert.strictEqual((yield* rows)[0]?.externalRef, "W-1")
      assert.lengthOf(yield* bank.ledger, 1)
    })
  },
  {
    title: "OUT-13: two dispatchers share the work; each effect is sent once",
    run: Effect.gen(function* () {
      const bank = yield* Bank.make
      const connector = Connectors.http("shared", addresses(bank))
      const businessKeys = Array.from({ length: 40 }, (_, index) => `shared:${index}`)
      const { statuses } = yield* intend("shared", businessKeys)
      const dispatcher = Layer.fresh(Outbox.layer({ connectors: ["shared"], pollInterval: "20 millis" }))
      yield* Layer.build(Layer.provide(Layer.merge(dispatcher, Layer.fresh(dispatcher)), connector))
      yield* eventually("all are confirmed", Effect.delay(statuses, "50 millis"), (all) =>
        all.every((status) => status === "CONFIRMED")
      )
      const booked = (yield* bank.ledger).map(({ businessKey }) => businessKey)
      assert.deepStrictEqual(booked.toSorted(), businessKeys.toSorted())
    })
  },
  {
    title: "OUT-14: a failure is tried again until it is FAILED; a final one is FAILED at once; OUT-11: no connector",
    run: Effect.gen(function* () {
      const { rows, statuses } = yield* intend("busy", ["busy:1", "busy:2"])
      const elsewhere = yield* intend("nobody", ["nobody:1"])
      const connector = Connectors.make("busy", {
        dispatch: ({ businessKey }) =>
          Effect.succeed<Connectors.Dispatched>(
            businessKey === "busy:2"
              ? { _tag: "failed", error: "no such account", final: true }
              : { _tag: "failed", error: "busy", retryAfter: Duration.millis(20) }
          )
      })
      const pass = Outbox.dispatchOnce({ connectors: ["busy"], ...quick, maxAttempts: 3, parallelism: 1 })
      const all = Effect.gen(function* () {
        const first = yield* pass
        assert.sameMembers(tags(first), ["retry-scheduled", "failed", "skipped"])
        assert.deepInclude(
          first.find(({ _tag }) => _tag === "skipped"),
          { reason: "no-connector", connector: "nobody" }
        )
        yield* eventually("the third attempt is the last", Effect.zipRight(pass, statuses), ([one]) => one === "FAILED")
      })
      yield* Effect.provide(all, connector)
      assert.deepStrictEqual(yield* statuses, ["FAILED", "FAILED"])
      assert.deepStrictEqual(
        (yield* rows).map(({ errorJson }) => JSON.parse(errorJson)),
        [
          { final: true, attempts: 3, last: "busy" },
          { final: true, attempts: 1, last: "no such account" }
        ]
      )
      const [left] = yield* elsewhere.rows
      assert.deepInclude(left, { dispatchClaimedBy: "", dispatchAttempts: 0 })
    })
  },
  {
    title: "OUT-21, OBL-12, OBL-13: what was confirmed is undone, the newest first; what cannot be is STUCK",
    run: Effect.gen(function* () {
      const tape = yield* TapeClient
      const connector = Connectors.http("undone", addresses(yield* Bank.make))
      const { runId } = yield* intend("undone", ["undone:1", "undone:2", "undone:3"])
      const tool = { name: "wire_money", connector: "undone", compensation: { kind: "reverse_wire" } } as const
      const outcomes = yield* Effect.provide(
        Outbox.dispatchOnce({ tools: [tool], ...quick, parallelism: 1 }),
        connector
      )
      assert.sameMembers(
        outcomes.flatMap((outcome) => (outcome._tag === "confirmed" ? [outcome.externalRef] : [])),
        ["W-1", "W-2", "W-3"]
      )
      const owed = yield* tape.listObligations({ runId })
      assert.deepStrictEqual(
        owed.obligations.map(({ payloadJson }) => JSON.parse(payloadJson).external_ref),
        ["W-3", "W-2", "W-1"]
      )
      // A compensation that fails holds back older ones until it is STUCK: another kind, stuck at its first failure.
      yield* tape.registerCompensation({ runId, effectKey: "k", kind: "cancel_fee", payloadJson: "{}", maxAttempts: 1 })
      yield* tape.endRun({ runId, status: RunStatus.COMPENSATING })
      const undone: Array<unknown> = []
      const reports = yield* Reactors.drainOnce({
        compensators: {
          reverse_wire: (payload) => Effect.sync(() => void undone.push(Reflect.get(Object(payload), "external_ref"))),
          cancel_fee: () => Effect.fail("the bank is closed")
        }
      })
      assert.deepStrictEqual(undone, ["W-3", "W-2", "W-1"])
      assert.deepStrictEqual(tags(reports), ["stuck", "compensated", "compensated", "compensated", "ended"])
      const after = yield* tape.listObligations({ runId })
      assert.deepStrictEqual(
        after.obligations.map(({ lastError, status }) => [ObligationStatus[status], lastError.includes("closed")]),
        [["STUCK", true], ...Array.from({ length: 3 }, () => ["COMPENSATED", false])]
      )
      assert.strictEqual((yield* tape.getRun({ runId })).status, RunStatus.STUCK)
    })
  }
]
