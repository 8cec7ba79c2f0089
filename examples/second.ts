import { Config, Effect, Layer, Schema } from "effect"
import { Connectors, Durable, Outbox, Reactions, Reactors, Sinks, TapeLive } from "effect-tape"

// A tool: its intent is recorded, a dispatcher sends it to the connector, once.
const WireMoney = Outbox.tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
  output: Schema.Struct({ wireId: Schema.String }),
  businessKey: ({ account, amount }) => `${account}:${amount}`,
  waitForResult: true
})

// An agent: what it decides is asked once; above a limit, a person decides, within two days.
const Settle = Durable.app("settle", {
  input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
  output: Schema.Struct({ wireId: Schema.String }),
  tools: [WireMoney],
  *run(invoice) {
    if (invoice.amount > 10_000) {
      const cfo = yield* Durable.gate("cfo", { context: invoice, resolution: Durable.Approval, timeout: "2 days" })
      if (!cfo.approved) return yield* Durable.compensate
    }
    return yield* WireMoney(invoice)
  }
})

// A reaction: when the rate changes, this runs, here or in another process of the same app.
const Reprice = Reactions.onValueChanged("reprice", {
  namespace: "treasury",
  key: "fx",
  value: Schema.Number,
  where: "double(payload.value.value_json) > 1.1",
  debounce: "500 millis",
  run: ({ value }) => Effect.log(`repriced at ${value}`)
})

const Main = Layer.mergeAll(
  Outbox.layer({ tools: [WireMoney] }),
  Reactions.layer([Reprice], { app: "treasury" }),
  Reactors.layer({ apps: [Settle] }), // recover, reconcile, timers, obligations
  Sinks.layerRelay({ name: "audit", pattern: "/tape/**" }, Sinks.log({ path: "./audit.jsonl" }))
).pipe(
  Layer.provide(
    Connectors.http("bank.wire", { url: Config.string("BANK_URL"), observeUrl: Config.string("BANK_SEARCH_URL") })
  ),
  Layer.provideMerge(TapeLive)
)

const program = Effect.gen(function* () {
  const invoice = { account: "ACME", amount: 100 }
  const { wireId } = yield* Settle.start({ user: "u1", session: "s1", invocation: "inv-42" }, invoice)
  yield* Effect.log("settled", wireId)
  return yield* Effect.never // the reactors go on until this is interrupted
})

Effect.runFork(Effect.provide(program, Main))
