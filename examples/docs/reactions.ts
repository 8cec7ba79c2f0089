import { Effect, Layer, Schema } from "effect"
import { Live, Reactions, TapeClient } from "effect-tape"

const Reprice = Reactions.onValueChanged("reprice", {
  namespace: "treasury",
  key: "fx",
  value: Schema.Number, // one that does not fit is a dead letter at once
  where: "double(payload.value.value_json) > 1.0", // CEL, judged by the server
  maxConcurrency: 4,
  debounce: "200 millis",
  retries: 3,
  run: ({ value, version }) => Effect.log(`the rate is ${value}, version ${version}`)
})

const Alert = Reactions.onEffectFailed("alert", {
  tool: "wire_money",
  run: ({ idempotencyKey, runId }) => Effect.logWarning("a wire failed", runId, idempotencyKey)
})

const Main = Layer.provideMerge(
  Reactions.layer([Reprice, Alert], {
    app: "treasury",
    onOutcome: (outcome) => Effect.log(Reactions.describe(outcome))
  }),
  Live.layerUrl("memory:")
)

Effect.gen(function* () {
  const tape = yield* TapeClient
  yield* tape.writeValue({ namespace: "treasury", key: "fx", valueJson: "1.08", ifVersion: -1n })
  yield* Effect.sleep("1 second") // the handler runs beside this
}).pipe(Effect.provide(Main), Effect.runFork)
