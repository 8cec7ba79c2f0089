import { Config, Effect, Layer } from "effect"
import { Sinks, TapeLive } from "effect-tape"

const Siem = Sinks.webhook({
  url: Config.string("SIEM_URL"),
  secret: Config.redacted("SIEM_SECRET") // signs each post by Standard Webhooks
})

const Relays = Sinks.layerFanOut(
  {
    name: "audit",
    pattern: "/tape/effect/**",
    cursor: (relay) => Sinks.cursorFile({ path: `./cursors/${relay}.json` }), // default: a value in the tape itself
    onPoison: "skip",
    onSkipped: (entry, error) => Effect.logError(Sinks.eventIdOf(entry), error.message)
  },
  { disk: Sinks.log({ path: "./audit.jsonl" }), siem: Siem }
)

Effect.runFork(Layer.launch(Layer.provide(Relays, TapeLive)))
