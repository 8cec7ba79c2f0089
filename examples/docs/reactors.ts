import { Effect, Layer, Schedule, Schema } from "effect"
import { Connectors, Durable, Outbox, Reactors, TapeLive } from "effect-tape"

const WireMoney = Outbox.tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
  output: Schema.Struct({ wireId: Schema.String }),
  businessKey: ({ account, amount }) => `${account}:${amount}`,
  compensate: (_, { wireId }) => Effect.log(`recall ${wireId}`)
})

const Payment = Durable.app("payment", {
  input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
  tools: [WireMoney],
  *run(wire) {
    const { idempotencyKey } = yield* WireMoney(wire)
    return idempotencyKey
  }
})

const Janitor = Reactors.layer({
  apps: [Payment], // runs to take up, and the tools whose effects are settled and undone
  connectors: ["bank.wire"], // required: observing and compensating go through them
  recover: { parallelism: 8 },
  reconcile: { schedule: Schedule.spaced("5 seconds"), onReport: (report) => Effect.log(report._tag) },
  onTimer: (timer) => Effect.log("a timer of our own", timer.kind),
  compaction: { olderThan: "90 days" } // off unless asked for
}).pipe(Layer.provide(Connectors.http("bank.wire", { url: "https://bank.example/wires" })), Layer.provide(TapeLive))

Effect.runFork(Layer.launch(Janitor))
