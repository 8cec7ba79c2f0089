import { Effect, Layer, Option, Schema, Stream } from "effect"
import { Live, Reactions, Values } from "effect-tape"

const Rates = Values.make("treasury", { value: Schema.Number }) // a namespace, and the schema of what is in it

const program = Effect.gen(function* () {
  const first = yield* Rates.set("fx", 1.08, { writer: "desk" }) // whatever is there
  yield* Rates.set("fx", 1.09, { ifVersion: first.version }) // or `Conflict`
  yield* Rates.update("fx", Option.match({ onNone: () => 1, onSome: (rate) => rate + 0.01 }))
  yield* Effect.log(yield* Rates.get("fx")) // some: value, version 3, writer, at

  // The current value first, then each version, for ever; `Rates.changes()` is every key.
  const changes = Stream.take(Rates.watch("fx"), 1)
  yield* Stream.runForEach(changes, ({ previous, value, version }) => Effect.log(version, previous, value))
  yield* Rates.remove("fx")
}).pipe(
  Effect.catchTags({
    Conflict: (error) => Effect.logWarning("somebody else was first", error.message),
    ValueMismatch: (error) => Effect.logError(error.message) // what, where, and why it does not fit
  })
)

// What must be handled, also when this process was down: a reaction, of the same schema.
const Reprice = Reactions.onValueChanged("reprice", {
  namespace: Rates.namespace,
  value: Rates.schema,
  run: ({ key, value }) => Effect.log(`${key} is ${value.toFixed(2)}`)
})

const Main = Layer.provideMerge(Reactions.layer([Reprice], { app: "treasury" }), Live.layerUrl("memory:"))

Effect.runFork(Effect.provide(program, Main))
