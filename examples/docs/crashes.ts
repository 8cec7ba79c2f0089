import { Effect, Schema, Stream } from "effect"
import { Durable, Outbox } from "effect-tape"
import { Crashes, Failpoint, Reliability, TestConnector, TestTape } from "effect-tape/testing"

const WireMoney = Outbox.tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent", // say "idempotent", and the report below has two wires
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
    const model = Effect.succeed(100) // or ask one
    const amount = yield* Durable.decide({ model: "m-1", request: "how much?", response: Schema.Number }, model)
    return yield* WireMoney({ account, amount })
  }
})

const reports = Crashes.explore(Payment.start({ user: "u1", session: "s1", invocation: "A-1" }, "ACME"), {
  tape: TestTape.layer({
    connectors: { "bank.wire": TestConnector.confirms(({ id }) => ({ wireId: id })) },
    apps: [Payment],
    failpoints: { "beginEffect.after": Failpoint.panic.pipe(Failpoint.times(1)) }
  }),
  checks: [TestTape.exactlyOnce("bank.wire")]
})

// ok: dies after run payment/u1/s1/A-1 is begun
// ok: dies before decision 0 is recorded
// ok: dies before effect decision-0/wire_money/0 is settled
const survives = reports.pipe(
  Stream.tap((report) => Effect.log(`${report}`)),
  Stream.runCollect,
  Effect.map(Reliability.surface),
  Effect.filterOrFail(
    ({ epsilon, lambda }) => epsilon === 0 && lambda === 1,
    (surface) => `not reliable: ${surface}`
  )
)

Effect.runFork(Effect.flatMap(survives, (surface) => Effect.log(`${surface}`))) // k 3, ε 0, λ 1
