import { Effect, Schema, TestClock } from "effect"
import { Durable, Outbox } from "effect-tape"
import { TestConnector, TestTape } from "effect-tape/testing"

const WireMoney = Outbox.tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
  output: Schema.Struct({ wireId: Schema.String }),
  businessKey: ({ account, amount }) => `${account}:${amount}`,
  waitForResult: true
})

const Payment = Durable.app("payment", {
  input: Schema.String,
  output: Schema.Struct({ wireId: Schema.String }),
  tools: [WireMoney],
  *run(account) {
    yield* Durable.gate("cfo", { resolution: Schema.Struct({ approved: Schema.Boolean }), timeout: "2 days" }).pipe(
      Effect.catchTag("GateTimedOut", () => Effect.void) // silence is consent
    )
    return yield* WireMoney({ account, amount: 100 })
  }
})

// With any test library: an effect that fails says what is wrong. With @effect/vitest it is the body of `it.effect`.
const waitsTwoDays = Effect.gen(function* () {
  const payment = yield* Effect.fork(Payment.start({ user: "u1", session: "s1", invocation: "A-1" }, "ACME"))
  yield* TestTape.awaitGate("cfo")
  yield* TestClock.adjust("2 days") // some milliseconds
  yield* TestTape.awaitEffect("wire_money", { status: "UNKNOWN" })
  yield* TestClock.adjust("2 seconds") // the reconciler asks the bank
  yield* payment
  yield* TestTape.exactlyOnce("bank.wire")
  yield* Effect.all([TestTape.noStuck, TestTape.noUnknown, TestTape.contiguous])
  return (yield* TestTape.journal).steps // "gate/waiting/cfo", "gate/released/cfo", "effect/pending/wire_money", …
}).pipe(
  Effect.provide(
    TestTape.layer({
      connectors: {
        "bank.wire": TestConnector.confirms(({ id }) => ({ wireId: id })).pipe(
          TestConnector.and(TestConnector.losesAck("once"))
        )
      },
      apps: [Payment]
    })
  )
)

Effect.runFork(Effect.flatMap(waitsTwoDays, (steps) => Effect.log(steps)))
