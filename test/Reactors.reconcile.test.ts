import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Option, TestClock } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Connectors from "../src/Connectors.js"
import { EffectSemantics, EffectStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Outbox from "../src/Outbox.js"
import * as Reactors from "../src/Reactors.js"
import { intend, options, read, statusOf, tags, tape, vanish, withBank } from "./Outbox.dispatcher.fixtures.js"
import * as Bank from "./support/Bank.js"

const quiet = Logger.remove(Logger.defaultLogger)

/** The scenarios' UNK(bk): an outbox effect whose acknowledgement was lost. */
const unknown = (businessKey: string, semantics = EffectSemantics.NON_IDEMPOTENT) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const intent = yield* intend(businessKey, { semantics })
    yield* vanish(intent)
    yield* tape.recordDispatchAttempt({ ...intent, error: "ack lost" })
    return intent
  })

/** An effect of a tool that runs inside the agent. */
const inline = (toolName: string, status: EffectStatus, semantics = EffectSemantics.IDEMPOTENT) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const ids = { appName: "acc", userId: "u", sessionId: "s", invocationId: `inv-${toolName}` }
    const { runId } = yield* tape.beginRun({ ...ids, leaseOwner: "drv", leaseTtlMs: 60_000n })
    const { idempotencyKey } = yield* tape.beginEffect({ runId, toolName, requestJson: '{"to":"A"}', semantics })
    if (status !== EffectStatus.PENDING) yield* tape.completeEffect({ runId, idempotencyKey, status })
    return { runId, idempotencyKey }
  })

const observing = (observe: NonNullable<Connectors.Protocol["observe"]>) =>
  Connectors.make("bank.wire", { dispatch: () => Effect.dieMessage("must not be sent"), observe })

describe("Reactors.reconcileOnce", () => {
  it.scoped(
    "REC-12: an inline tool's status check settles a lost acknowledgement",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* inline("book_truck", EffectStatus.UNKNOWN)
        const http = yield* Connectors.Tag("bank.wire")
        yield* http.dispatch(
          new Connectors.Request({
            ...intent,
            tool: "book_truck",
            connector: "",
            businessKey: "",
            semantics: "idempotent",
            attempt: 1,
            payload: {}
          })
        )
        const asked: Array<Outbox.StatusQuery> = []
        const BookTruck = {
          name: "book_truck",
          statusCheck: (query: Outbox.StatusQuery) =>
            Effect.map(bank.ledger, (wires) => {
              asked.push(query)
              const wire = wires.find((wire) => wire.idempotencyKey === query.idempotencyKey)
              return Option.map(Option.fromNullable(wire), ({ id }) => ({ ref: id }))
            })
        } as const
        const reports = yield* Reactors.reconcileOnce({ tools: [BookTruck] })
        assert.deepStrictEqual(reports, [
          { _tag: "confirmed", ...intent, connector: "", tool: "book_truck", by: "status-check" }
        ])
        assert.deepStrictEqual(asked, [{ ...intent, businessKey: "", attempt: 0, request: { to: "A" } }])
        assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
        assert.strictEqual((yield* read(intent)).responseJson, '{"ref":"W-1"}')
        assert.strictEqual((yield* bank.ledger).length, 1)
      })
    )
  )

  it.scoped(
    "asks the connector before the status check, and owes the compensation of what it finds",
    withBank((bank) =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        const intent = yield* intend("k1")
        yield* bank.wires(Bank.loseAck)
        yield* Outbox.dispatchOnce(options)
        const checks = { ...options.tools[0], statusCheck: () => Effect.dieMessage("must not be asked") } as const
        const [report] = yield* Reactors.reconcileOnce({ tools: [checks] })
        assert.deepInclude(report, { _tag: "confirmed", by: "observe", externalRef: "W-1" })
        const { obligations } = yield* tape.listObligations({ runId: intent.runId })
        assert.deepStrictEqual(
          obligations.map(({ kind }) => kind),
          ["reverse_wire"]
        )
      })
    )
  )

  it.scoped(
    "a non-idempotent effect is FAILED by a conclusive absence, not before an attempt could have arrived",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* unknown("k1")
        assert.deepStrictEqual(tags(yield* Reactors.reconcileOnce(options)), ["unresolved"])
        assert.strictEqual(yield* statusOf(intent), "UNKNOWN")
        yield* TestClock.adjust("1 minute")
        assert.deepInclude((yield* Reactors.reconcileOnce(options))[0], { _tag: "failed", by: "observe" })
        assert.strictEqual(yield* statusOf(intent), "FAILED")
        assert.deepStrictEqual(yield* Outbox.dispatchOnce(options), [])
        assert.deepStrictEqual(yield* bank.ledger, [])
      })
    )
  )

  it.scoped(
    "a non-idempotent effect stays UNKNOWN when the absence is not conclusive, or the answer is rubbish",
    withBank(
      (bank) =>
        Effect.gen(function* () {
          const intent = yield* unknown("k1")
          yield* TestClock.adjust("1 hour")
          yield* bank.search(Bank.answer(200, "{}"), Bank.drop)
          for (const _ of [1, 2, 3]) {
            assert.deepStrictEqual(tags(yield* Reactors.reconcileOnce(options)), ["unresolved"])
          }
          assert.strictEqual(yield* statusOf(intent), "UNKNOWN")
        }),
      { absenceIsConclusive: false }
    )
  )

  it.scoped(
    "an idempotent effect that did not happen is opened again, and sent once",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* unknown("k1", EffectSemantics.IDEMPOTENT)
        assert.deepStrictEqual(tags(yield* Reactors.reconcileOnce(options)), ["reopened"])
        assert.deepStrictEqual(tags(yield* Outbox.dispatchOnce(options)), ["confirmed"])
        assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
        assert.strictEqual((yield* bank.ledger).length, 1)
      })
    )
  )

  it.scoped("a duplicate is CONFIRMED and owes the compensation of the one too many", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const intent = yield* unknown("k1")
      assert.deepInclude((yield* Reactors.reconcileOnce(options))[0], { _tag: "duplicate", externalRef: "W-2" })
      assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
      const { obligations } = yield* tape.listObligations({ runId: intent.runId })
      assert.deepStrictEqual(
        obligations.map(({ kind }) => kind),
        ["reverse_wire"]
      )
    }).pipe(Effect.provide([tape, observing(() => Effect.succeed({ _tag: "duplicate", externalRef: "W-2" }))]))
  )

  it.scoped("a refusal that the counterparty remembers is FAILED", () =>
    Effect.gen(function* () {
      const intent = yield* unknown("k1")
      assert.deepInclude((yield* Reactors.reconcileOnce(options))[0], { _tag: "failed", error: "account closed" })
      assert.strictEqual((yield* read(intent)).errorJson, '{"error":"account closed"}')
    }).pipe(Effect.provide([tape, observing(() => Effect.succeed({ _tag: "failed", error: "account closed" }))]))
  )

  it.scoped("a status check that finds nothing fails an idempotent inline effect, and leaves another UNKNOWN", () =>
    Effect.gen(function* () {
      const safe = yield* inline("book_truck", EffectStatus.UNKNOWN)
      const wire = yield* unknown("k1")
      const none = () => Effect.succeedNone
      const reports = yield* Reactors.reconcileOnce({
        tools: [
          { name: "book_truck", statusCheck: none },
          { name: "wire_money", statusCheck: none }
        ]
      })
      assert.deepStrictEqual(tags(reports).toSorted(), ["failed", "unresolved"])
      assert.deepStrictEqual([yield* statusOf(safe), yield* statusOf(wire)], ["FAILED", "UNKNOWN"])
      assert.strictEqual((yield* read(safe)).errorJson, '{"reconciled":"absent at counterparty"}')
    }).pipe(Effect.provide(tape))
  )

  it.scoped("trouble with one effect is its own, and says what is missing", () =>
    Effect.gen(function* () {
      yield* inline("dies", EffectStatus.UNKNOWN)
      yield* inline("fails", EffectStatus.UNKNOWN)
      yield* inline("unchecked", EffectStatus.UNKNOWN)
      yield* inline("works", EffectStatus.UNKNOWN)
      yield* unknown("k1")
      const reports = yield* Reactors.reconcileOnce({
        tools: [
          { name: "dies", statusCheck: () => Effect.dieMessage("bug") },
          { name: "fails", statusCheck: () => Effect.fail("no network") },
          { name: "works", statusCheck: () => Effect.succeedSome(1) }
        ]
      })
      const reasons = new Map(
        reports.map((report) => [report.tool, report._tag === "unresolved" ? report.reason : report._tag])
      )
      assert.deepStrictEqual(Object.fromEntries(reasons), {
        dies: "the status check raised: bug",
        fails: "the status check raised: no network",
        unchecked: "no status check is given",
        works: "confirmed",
        wire_money: 'unknown: no connector "bank.wire" is provided; no status check is given'
      })
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.scoped("PENDING effects are asked about only when they are old, inline, and one asked for it", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 hour")
      const done = yield* inline("done", EffectStatus.PENDING)
      const open = yield* inline("open", EffectStatus.PENDING)
      const outbox = yield* intend("k1")
      const tools = [
        { name: "done", statusCheck: () => Effect.succeedSome({ ok: true }) },
        { name: "open", statusCheck: () => Effect.succeedNone },
        { name: "wire_money", statusCheck: () => Effect.dieMessage("must not be asked") }
      ] as const
      assert.deepStrictEqual(yield* Reactors.reconcileOnce({ tools }), [])
      assert.deepStrictEqual(yield* Reactors.reconcileOnce({ tools, pendingOlderThan: "1 minute" }), [])
      yield* TestClock.adjust("2 minutes")
      const reports = yield* Reactors.reconcileOnce({ tools, pendingOlderThan: "1 minute" })
      assert.deepStrictEqual(tags(reports).toSorted(), ["confirmed", "unresolved"])
      const statuses = yield* Effect.forEach([done, open, outbox], statusOf)
      assert.deepStrictEqual(statuses, ["CONFIRMED", "PENDING", "PENDING"])
    }).pipe(Effect.provide(tape))
  )
})

describe("Reactors.layerReconcile", () => {
  it.scoped("asks again with growing waits about what stays unresolved, and at once about what is new", () => {
    const asked = new Map<string, number>()
    const connector = observing((request) =>
      Effect.sync(() => {
        asked.set(request.businessKey, (asked.get(request.businessKey) ?? 0) + 1)
        return request.businessKey === "k1" ? { _tag: "unknown", error: "?" } : { _tag: "confirmed" }
      })
    )
    return Effect.gen(function* () {
      yield* unknown("k1")
      yield* Layer.build(Reactors.layerReconcile(options))
      // 2, 4, 8, 16, 32, 64, 128, 256 seconds, and the odd one more or less by jitter.
      yield* Effect.repeatN(TestClock.adjust("2 seconds"), 300)
      const times = asked.get("k1") ?? 0
      assert.isTrue(times >= 7 && times <= 11, `asked ${times} times in 10 minutes`)
      const late = yield* unknown("k2")
      yield* TestClock.adjust("2 seconds")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* statusOf(late), "CONFIRMED")
    }).pipe(Effect.provide([tape, connector, quiet]))
  })

  it("needs what the status checks and connectors of its tools need", () => {
    class Trucks extends Context.Tag("Trucks")<Trucks, string>() {}
    const layer = Reactors.layerReconcile({
      tools: [{ name: "book_truck", statusCheck: () => Effect.asSome(Trucks) }, ...options.tools]
    })
    const needs: Layer.Layer<never, never, TapeClient | Trucks | Connectors.Connector<"bank.wire">> = layer
    // @ts-expect-error Trucks is missing
    const lacks: Layer.Layer<never, never, TapeClient | Connectors.Connector<"bank.wire">> = layer
    assert.strictEqual<unknown>(needs, lacks)
  })
})
