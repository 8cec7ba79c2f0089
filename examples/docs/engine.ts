import { Effect, Layer, Schedule } from "effect"
import { Client, TapeClient } from "effect-tape"
import { Engine, Retention } from "effect-tape/engine"
import { GrpcServer } from "effect-tape/server"

// An engine of this process, shared by what is below. `postgres://…` may be shared by several processes.
const EngineLive = Engine.layerUrl("sqlite:./tape.db", { requireScope: true })

// The tape for this program: no wire in between.
const Tape = Client.layerHandlers(Engine.Engine)

// The same tape for others.
const Server = GrpcServer.layer({
  listen: "127.0.0.1:7878",
  handlers: Engine.Engine,
  responseMetadata: Engine.responseMetadata
})

// Nothing is forgotten unless asked for.
const Tidy = Retention.layerPrune({ effects: "90 days", timers: "7 days", schedule: Schedule.spaced("1 day") })

const program = Effect.flatMap(TapeClient, (tape) => tape.listRunsToRecover({})).pipe(
  Effect.tap(({ runs }) => Effect.log(`${runs.length} runs to recover`)),
  Effect.zipRight(Effect.never) // serves until it is interrupted
)

Effect.runFork(Effect.provide(program, Layer.mergeAll(Tape, Server, Tidy).pipe(Layer.provide(EngineLive))))
