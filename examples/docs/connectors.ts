import { Config, Effect, Layer } from "effect"
import { Connectors, Outbox, TapeLive } from "effect-tape"

// A counterparty that speaks JSON over HTTP.
const Bank = Connectors.http("bank.wire", {
  url: Config.string("BANK_URL"),
  observeUrl: Config.string("BANK_SEARCH_URL"),
  headers: { "X-Client": "agents" },
  timeout: "10 seconds"
})

// One of your own. Only `dispatch` is required; what is left out answers `unknown` (observe) or `stuck` (compensate).
const Ledger = Connectors.make("ledger", {
  dispatch: (request) =>
    Effect.as(Effect.log(request.idempotencyKey, request.payload), {
      _tag: "confirmed",
      externalRef: `ledger/${request.idempotencyKey}`
    }),
  observe: () => Effect.succeed({ _tag: "absent", conclusive: true }),
  compensate: (obligation) => Effect.as(Effect.log("reversed", obligation.effectKey), { _tag: "compensated" })
})

// A process that only dispatches: it needs no tools, only the names of the connectors it works for.
const Dispatcher = Outbox.layer({ connectors: ["bank.wire", "ledger"], parallelism: 4 }).pipe(
  Layer.provide([Bank, Ledger]),
  Layer.provide(TapeLive)
)

Effect.runFork(Layer.launch(Dispatcher))
