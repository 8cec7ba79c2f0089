import { Socket } from "@effect/platform"
import { Effect, Layer, Stream } from "effect"
import { Client, Rpc, TapeClient } from "effect-tape/rpc"

// In a page: nothing of gRPC or of Node comes with it. In Node 20: `NodeSocket.layerWebSocketConstructor`.
const Tape = Rpc.layerWebSocket({ url: "ws://127.0.0.1:7879/rpc" }).pipe(
  Layer.provide(Socket.layerWebSocketConstructorGlobal)
)

const program = Effect.gen(function* () {
  const tape = yield* TapeClient // the same calls and errors as over gRPC
  const { runs } = yield* tape.listRunsToRecover({})
  yield* Effect.log(`${runs.length} runs wait to be taken up`)
  yield* Stream.runForEach(Client.tailBySubject({ subjectPattern: "/tape/effect/**" }), (entry) =>
    Effect.log(entry.subject, entry.payloadJson)
  )
}).pipe(Effect.catchTag("Unavailable", (error) => Effect.logError(error.message)))

Effect.runFork(Effect.provide(program, Tape))
