import { Effect, Stream } from "effect"
import { Client, TapeClient } from "effect-tape"

// On one connection, made by the first call. A `token` needs tapes:// (TLS); `tls` takes your own authorities.
const Tape = Client.layerGrpc({ url: "tape://localhost:7878", timeout: "10 seconds" })

const program = Effect.gen(function* () {
  const tape = yield* TapeClient
  const { runId, resumed } = yield* tape.beginRun({
    appName: "demo",
    userId: "u1",
    sessionId: "s1",
    invocationId: "i1",
    leaseOwner: "me",
    leaseTtlMs: 60_000n // 64-bit integers are bigints
  })
  yield* Effect.log(runId, resumed)

  // A stream that outlives its connection. `tape.subscribeRun` is the bare call.
  yield* Client.tailRun({ runId }).pipe(
    Stream.take(1),
    Stream.runForEach((entry) => Effect.log(entry.subject, entry.payloadJson))
  )
}).pipe(
  Effect.catchTags({
    PreconditionFailed: (error) => Effect.logWarning("somebody else has the run", error.message),
    Unavailable: (error) => Effect.logError(error.message, { mayHaveBeenApplied: error.maybeApplied })
  })
)

Effect.runFork(Effect.provide(program, Tape))
