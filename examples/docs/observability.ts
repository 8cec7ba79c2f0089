import { Console, Effect, Layer, Metric } from "effect"
import { Live, Observability, TapeClient } from "effect-tape"

const seen: Array<string> = []
const Spans = Observability.onSpan((name) => {
  const began = performance.now()
  return (error) => seen.push(`${name}: ${performance.now() - began} ms, ${error === undefined ? "done" : "failed"}`)
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
  yield* Console.log("effects of unknown outcome:", unknown.value, seen)
}).pipe(Effect.provide(Main), Effect.runFork)
