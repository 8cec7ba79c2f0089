import { Effect, Layer, Schema } from "effect"
import { Connectors, Durable, Live, Outbox, Reactors } from "effect-tape"

const Plan = Schema.Struct({ account: Schema.String, amount: Schema.Number })

const WireMoney = Outbox.tool("wire_money", {
  connector: "bank.wire", // the intent is recorded; a dispatcher sends it there, once
  semantics: "non_idempotent",
  input: Plan,
  output: Schema.Struct({ logged: Schema.Boolean }),
  businessKey: (wire) => `${wire.account}:${wire.amount}`, // without a safety net this does not compile
  waitForResult: true
})

const askModel = (invoice: string) => Effect.succeed({ account: `ACME (${invoice})`, amount: 100 }) // ask yours
const Payment = Durable.app("payment", {
  input: Schema.Struct({ invoice: Schema.String }),
  output: Schema.Struct({ logged: Schema.Boolean }),
  tools: [WireMoney],
  *run({ invoice }) {
    const plan = yield* Durable.decide({ model: "planner-1", request: invoice, response: Plan }, askModel(invoice))
    return yield* WireMoney(plan)
  }
})

const Main = Layer.mergeAll(
  Outbox.layer({ tools: [WireMoney] }), // sends what is recorded
  Reactors.layerReconcile({ tools: [WireMoney] }), // asks the bank when an answer was lost
  Reactors.layerRecover({ apps: [Payment] }) // takes up runs whose process died
).pipe(
  Layer.provide(Connectors.log("bank.wire", { path: "./wires.jsonl" })), // stands for a bank
  Layer.provideMerge(Live.layerUrl("sqlite:./tape.db")) // or "tape://localhost:7878", or TapeLive for TAPE_URL
)

// The same invocation is the same run: run it again, and nothing is asked or sent a second time.
Payment.start({ user: "u1", session: "s1", invocation: "inv-42" }, { invoice: "A-42" }).pipe(
  Effect.tap((result) => Effect.log("done", result)),
  Effect.provide(Main),
  Effect.runFork
)
