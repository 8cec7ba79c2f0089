import { Effect, Layer } from "effect"
import { Outbox, Reactions, Sinks } from "effect-tape"
import { CloudTasks, IdToken, PubSub } from "effect-tape/gcp"

// Effects of the connector "ledger" are messages; those of "mailer" are tasks, done when the mailer says so.
const Ledger = PubSub.connector("ledger", { topic: "bookings", compensateTopic: "cancellations" })
const Mailer = CloudTasks.connector("mailer", {
  location: "europe-west1",
  queue: "mail",
  url: "https://mailer.example/send",
  observeUrl: "https://mailer.example/search",
  serviceAccount: "agent@bank.iam.gserviceaccount.com"
})
const Dispatching = Layer.provide(Outbox.layer({ connectors: ["ledger", "mailer"] }), [Ledger, Mailer])

// The whole journal, in the order of each run, for the warehouse.
const Journal = Sinks.layerRelay({ name: "warehouse" }, PubSub.sink({ topic: "journal" }))

// What is confirmed is announced, to a topic of another project.
const Confirmed = Reactions.onEffectConfirmed("confirmed", { tool: "wire", publish: "projects/audit/topics/wires" })
const Bridge = PubSub.layerBridge({ reactions: [Confirmed], app: "bank" })

const Main = Layer.mergeAll(Dispatching, Journal, Bridge).pipe(
  Layer.provide([PubSub.layer(), CloudTasks.layer()]), // Application Default Credentials
  Layer.provide(IdToken.layer()) // TAPE_URL; behind tapes:// with an ID token
)

Effect.runFork(Layer.launch(Main))
