/**
 * The ways to reach a tape that the conformance suite runs over: in-process and gRPC, on a SQLite file and in memory.
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Context, Effect, Layer } from "effect"
import { Client } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { GrpcServer } from "effect-tape/server"
import { Probe } from "../conformance/Scenario.js"

/** A directory of its own, gone with the scope. */
export const temporaryDirectory = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "effect-tape-"))),
  (directory) => Effect.promise(() => rm(directory, { recursive: true, force: true }))
)

const stores = {
  "sqlite file": Layer.unwrapScoped(
    Effect.map(temporaryDirectory, (directory) => Engine.layerUrl(`sqlite:${join(directory, "tape.db")}`))
  ),
  memory: Engine.layerUrl("memory:")
}

const inProcess = Layer.effectContext(
  Effect.map(Engine.Engine, (engine) => {
    const tape = Client.fromHandlers(engine)
    return Context.make(Client.TapeClient, tape).pipe(Context.add(Probe, { connect: Effect.succeed(tape) }))
  })
)

const grpc = Layer.scopedContext(
  Effect.gen(function* () {
    const { url } = yield* GrpcServer.make({ listen: "127.0.0.1:0", handlers: Engine.Engine })
    const connect = Client.makeGrpc({ url })
    return Context.make(Client.TapeClient, yield* connect).pipe(Context.add(Probe, { connect }))
  })
)

const transports = { "in-process": inProcess, gRPC: grpc }

/** Every way, each with a fresh store of its own. */
export const ways = Object.entries(transports).flatMap(([transport, layer]) =>
  Object.entries(stores).map(([store, engine]) => ({
    name: `${transport}, ${store}`,
    transport,
    store,
    layer: Layer.provide(layer, engine)
  }))
)
