import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, TestClock } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Connectors from "../src/Connectors.js"
import * as Outbox from "../src/Outbox.js"
import {
  connector,
  idempotent,
  intend,
  options,
  read,
  statusOf,
  tags,
  tape,
  vanish,
  withBank
} from "./Outbox.dispatcher.fixtures.js"
import * as Bank from "./support/Bank.js"

describe("a vanished attempt", () => {
  const short = { ...options, claimTtl: "1 second", allowShortClaims: true } as const

  it.scoped(
    "that booked is found, not repeated",
    withBank((bank) =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        const intent = yield* intend("k1")
        yield* vanish(intent)
        // What the dead dispatcher got done before it died.
        const http = yield* Connectors.Tag("bank.wire")
        yield* http.dispatch(
          new Connectors.Request({
            ...intent,
            tool: "wire_money",
            connector: "bank.wire",
            businessKey: "k1",
            semantics: "non_idempotent",
            attempt: 1,
            payload: {}
          })
        )
        assert.deepStrictEqual(yield* Outbox.dispatchOnce(short), [], "the claim still lives")
        yield* TestClock.adjust("1 second")
        assert.deepInclude((yield* Outbox.dispatchOnce(short))[0], {
          _tag: "confirmed",
          observed: true,
          externalRef: "W-1"
        })
        assert.strictEqual((yield* read(intent)).externalRef, "W-1")
        assert.strictEqual((yield* bank.ledger).length, 1)
        assert.strictEqual((yield* tape.listObligations({ runId: intent.runId })).obligations.length, 1)
      })
    )
  )

  it.scoped(
    "that did nothing is sent under the new claim",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* intend("k1")
        yield* vanish(intent)
        yield* TestClock.adjust("1 second")
        assert.deepInclude((yield* Outbox.dispatchOnce(short))[0], { _tag: "confirmed", observed: false })
        assert.strictEqual(yield* bank.searches, 1)
        assert.strictEqual((yield* bank.ledger).length, 1)
      })
    )
  )

  it.scoped(
    "of which nobody can tell is UNKNOWN, never sent",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* intend("k1")
        yield* vanish(intent)
        yield* TestClock.adjust("1 second")
        yield* bank.search(Bank.answer(200, "<html>"))
        assert.deepStrictEqual(tags(yield* Outbox.dispatchOnce(short)), ["unknown"])
        assert.strictEqual(yield* statusOf(intent), "UNKNOWN")
        assert.deepStrictEqual(yield* bank.ledger, [])
      })
    )
  )

  it.scoped(
    "whose absence is not conclusive is UNKNOWN, never sent",
    withBank(
      (bank) =>
        Effect.gen(function* () {
          const intent = yield* intend("k1")
          yield* vanish(intent)
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(tags(yield* Outbox.dispatchOnce(short)), ["unknown"])
          assert.deepStrictEqual(yield* bank.ledger, [])
        }),
      { absenceIsConclusive: false }
    )
  )

  it.scoped("that happened twice owes a compensation", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const intent = yield* intend("k1")
      yield* vanish(intent)
      yield* TestClock.adjust("1 second")
      assert.deepInclude((yield* Outbox.dispatchOnce(short))[0], { _tag: "duplicate", externalRef: "W-2" })
      assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
      const { obligations } = yield* tape.listObligations({ runId: intent.runId })
      assert.deepStrictEqual(
        obligations.map(({ kind, payloadJson }) => [kind, JSON.parse(payloadJson).external_ref]),
        [["reverse_wire", "W-2"]]
      )
    }).pipe(
      Effect.provide([
        tape,
        connector({
          dispatch: () => Effect.dieMessage("must not be sent"),
          observe: () => Effect.succeed({ _tag: "duplicate", externalRef: "W-2" })
        })
      ])
    )
  )

  it.scoped(
    "of an idempotent effect is simply sent again",
    withBank((bank) =>
      Effect.gen(function* () {
        const intent = yield* intend("k1", idempotent)
        yield* vanish(intent)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(tags(yield* Outbox.dispatchOnce(short)), ["confirmed"])
        assert.strictEqual(yield* bank.searches, 0)
      })
    )
  )
})

describe("an accepted effect", () => {
  const accepting = (observe: NonNullable<Connectors.Protocol["observe"]>) => {
    let sent = 0
    return connector({
      dispatch: () =>
        Effect.sync(() => {
          sent += 1
          return sent === 1
            ? { _tag: "pending", externalRef: "job-1" }
            : { _tag: "failed", error: "sent twice", final: true }
        }),
      observe
    })
  }

  it.scoped("is observed until it is done, never sent again", () => {
    let asked = 0
    const observe = () =>
      Effect.sync(() => {
        asked += 1
        return asked < 3 ? ({ _tag: "absent", conclusive: true } as const) : ({ _tag: "confirmed" } as const)
      })
    return Effect.gen(function* () {
      const intent = yield* intend("k1")
      const pass = Effect.zipLeft(Outbox.dispatchOnce(options), TestClock.adjust("1 minute"))
      assert.deepStrictEqual(tags(yield* pass), ["pending"])
      assert.deepStrictEqual(tags(yield* pass), ["pending"])
      assert.deepStrictEqual(tags(yield* pass), ["pending"])
      assert.deepInclude((yield* pass)[0], { _tag: "confirmed", observed: true })
      assert.strictEqual(yield* statusOf(intent), "CONFIRMED")
    }).pipe(Effect.provide([tape, accepting(observe)]))
  })

  it.scoped("is not sent again by a dispatcher that read it before it was accepted", () => {
    const late = Layer.effect(
      TapeClient,
      Effect.map(TapeClient, (tape) => ({
        ...tape,
        // Between reading and claiming another takes a whole turn, and its wait goes by.
        claimEffectDispatch: (request: Parameters<typeof tape.claimEffectDispatch>[0]) =>
          Outbox.dispatchOne(
            { runId: request.runId ?? "", idempotencyKey: request.idempotencyKey ?? "" },
            options
          ).pipe(
            Effect.zipRight(TestClock.adjust("2 seconds")),
            Effect.zipRight(tape.claimEffectDispatch(request)),
            Effect.provideService(TapeClient, tape),
            Effect.provide(accepting(() => Effect.succeed({ _tag: "unknown", error: "not done" })))
          )
      }))
    )
    let sent = 0
    const counting = connector({
      dispatch: () => Effect.sync(() => ({ _tag: "confirmed", externalRef: String(++sent) }) as const),
      observe: () => Effect.succeed({ _tag: "unknown", error: "not done" })
    })
    return Effect.gen(function* () {
      const intent = yield* intend("k1")
      const outcome = yield* Effect.provide(
        Outbox.dispatchOne(intent, { ...options, claimer: "late" }),
        Layer.merge(late, counting)
      )
      assert.strictEqual(sent, 0)
      assert.deepInclude(outcome, { _tag: "pending", checks: 1 })
      assert.strictEqual((yield* read(intent)).dispatchAttempts, 2)
    }).pipe(Effect.provide(tape))
  })

  it.scoped("is UNKNOWN after its own limit", () =>
    Effect.gen(function* () {
      const intent = yield* intend("k1")
      const pass = Effect.zipLeft(Outbox.dispatchOnce({ ...options, maxChecks: 2 }), TestClock.adjust("1 minute"))
      assert.deepStrictEqual(tags([...(yield* pass), ...(yield* pass), ...(yield* pass)]), [
        "pending",
        "pending",
        "unknown"
      ])
      assert.strictEqual(yield* statusOf(intent), "UNKNOWN")
    }).pipe(Effect.provide([tape, accepting(() => Effect.succeed({ _tag: "unknown", error: "running" }))]))
  )

  it.scoped("is not sent again when the note of its acceptance is lost with two dispatchers", () =>
    Effect.gen(function* () {
      const intent = yield* intend("k1")
      const pass = Effect.zipLeft(Outbox.dispatchOnce(options), TestClock.adjust("1 minute"))
      assert.deepStrictEqual(tags(yield* pass), ["pending"])
      for (const _ of ["first", "second"]) {
        assert.isTrue((yield* vanish(intent)).acquired)
        yield* TestClock.adjust("1 minute")
      }
      assert.deepStrictEqual(tags(yield* pass), ["unknown"])
      assert.strictEqual(yield* statusOf(intent), "UNKNOWN")
    }).pipe(Effect.provide([tape, accepting(() => Effect.succeed({ _tag: "absent", conclusive: true }))]))
  )
})
