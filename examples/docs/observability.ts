import { Console, Effect, Layer, Metric } from "effect"
import { Live, Observability, TapeClient } from "effect-tape"

const Spans = Observability.onSpan((name, attributes) => {
  console.log("begin", name, attributes["tape.app_name"])
  return (error) => console.log("end", name, error ?? "")
}) // or `NodeSdk.layer(…)` of @effect/opentelemetry

const Main = Observability.layerGauges({ interval: "1 second" }).pipe(
  Layer.provideMerge(Live.layerUrl("memory:")),
  Layer.provideMerge(Spans),
  Layer.provideMerge(Observability.layerJsonLog)
)

Effect.gen(function* () {
  const tape = yield* TapeClient
  const { runId } = yield* tape.beginRun({ appName: "demo", userId: "u1", sessionId: "s1", invocationId: "i1" })
  yield* Effect.log("begun", { runId }) // {"ts":…,"level":"INFO","msg":"begun","run_id":"…"}
  const unknown = yield* Metric.value(Observability.metrics.effectsUnknown)
  yield* Console.log("effects of unknown outcome:", unknown.value)
}).pipe(Effect.provide(Main), Effect.runFork)
