import { Effect, Layer, Schema } from "effect"
import { Durable, Identity, Live, Outbox, Tenancy } from "effect-tape"

const WireMoney = Outbox.tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  scope: "payments:write", // a run without it does not get far
  input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
  output: Schema.Struct({ wireId: Schema.String }),
  businessKey: ({ account, amount }) => `${account}:${amount}`
})

const Payment = Durable.app("payment", {
  input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
  output: Schema.String,
  tools: [WireMoney],
  identity: { actor: "treasury-bot", scopes: ["payments:write"] }, // goes before the process's
  *run(wire) {
    return (yield* WireMoney(wire)).idempotencyKey
  }
})

const Main = Live.layerUrl("memory:").pipe(
  Layer.provideMerge(Identity.layerConfig()), // AIPLEX_TENANT_ID, AIPLEX_ACTOR, … ; nothing set is nobody
  Layer.provideMerge(Tenancy.layerConfig) // TAPE_TENANCY, TAPE_TENANT_ID
)

const ids = { user: "u1", session: "s1", invocation: "inv-42", identity: { subject: "ann" } } // and this before both
Payment.start(ids, { account: "ACME", amount: 100 }).pipe(
  Effect.tap((key) => Effect.log("recorded", key)),
  Effect.catchTag("ScopeDenied", ({ scope }) => Effect.logError(`not granted: ${scope}`)),
  Effect.provide(Main),
  Effect.runFork
)
