/**
 * The agent's process: it starts the payment (or takes it up where its journal stops), and works the outbox.
 *
 *     TAPE_URL=… BANK_URL=… node agent.js [--break-observe]
 *
 * On stdout, one JSON line each: what happens to the run.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Logger, LogLevel, Schedule } from "effect"
import { Connectors, Durable, Outbox, Reactors, TapeLive } from "effect-tape"
import { Payment, WireMoney } from "./payment.js"

const Bank = Connectors.http("bank.wire", {
  url: Config.map(Config.string("BANK_URL"), (url) => `${url}/wires`),
  observeUrl: Config.map(Config.string("BANK_URL"), (url) => `${url}/wires/search`),
  timeout: "2 seconds"
})

/** A connector that says "I know nothing of it" whatever the bank says: the demo must fail with it. */
const ForgetfulBank = Layer.effect(
  Connectors.Tag("bank.wire"),
  Effect.map(Connectors.Tag("bank.wire"), (bank) => ({
    ...bank,
    observe: () => Effect.succeed({ _tag: "absent" as const, conclusive: true })
  }))
).pipe(Layer.provide(Bank))

const tell = (event: { readonly [name: string]: unknown }) => Console.log(JSON.stringify(event))

const Main = Layer.mergeAll(
  Outbox.layer({
    tools: [WireMoney],
    claimTtl: "5 seconds",
    onOutcome: (outcome) => tell({ outcome: Outbox.describe(outcome) })
  }),
  Reactors.layerReconcile({ tools: [WireMoney], schedule: Schedule.spaced("500 millis") }),
  Reactors.layerRecover({ apps: [Payment], schedule: Schedule.spaced("500 millis") })
).pipe(
  Layer.provide(process.argv.includes("--break-observe") ? ForgetfulBank : Bank),
  Layer.provideMerge(TapeLive),
  Layer.provideMerge(Durable.layerSettings({ leaseTtl: "3 seconds" }))
)

const ids = { user: "u1", session: "s1", invocation: "invoice-42" }

NodeRuntime.runMain(
  Payment.start(ids, { invoice: "inv42" }).pipe(
    Effect.tap(({ wireId }) => tell({ done: wireId })),
    Effect.provide(Main),
    Logger.withMinimumLogLevel(LogLevel.Error)
  )
)
