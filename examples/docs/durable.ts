import { Effect, Layer, Schema } from "effect"
import { Durable, Live, Reactors } from "effect-tape"

class SoldOut extends Schema.TaggedError<SoldOut>()("SoldOut", { flight: Schema.String }) {}

const Book = Durable.tool("book_flight", {
  input: Schema.Struct({ flight: Schema.String }),
  output: Schema.Struct({ ticket: Schema.String }),
  error: SoldOut, // an answer, not a mishap: it is journaled, and raised again on replay
  run: ({ flight }, call) => Effect.succeed({ ticket: `${flight} for ${call.idempotencyKey}` }), // ask the airline
  compensate: (_, { ticket }) => Effect.log(`given back: ${ticket}`)
})

const askModel = Effect.succeed("LH 441") // ask yours

const Trip = Durable.app("trip", {
  input: Schema.Struct({ to: Schema.String }),
  output: Schema.String,
  error: SoldOut,
  tools: [Book],
  onFailure: "compensate",
  *run({ to }) {
    const question = { model: "planner-1", request: `a flight to ${to}`, response: Schema.String }
    const flight = yield* Durable.decide(question, askModel)
    return (yield* Book({ flight })).ticket
  }
})

const Main = Layer.provideMerge(Reactors.layerRecover({ apps: [Trip] }), Live.layerUrl("memory:"))

Trip.start({ user: "u1", session: "s1", invocation: "trip-7" }, { to: "Houston" }).pipe(
  Effect.tap((ticket) => Effect.log("booked", ticket)),
  Effect.catchTag("SoldOut", ({ flight }) => Effect.log("sold out", flight)),
  Effect.provide(Main),
  Effect.runFork
)
