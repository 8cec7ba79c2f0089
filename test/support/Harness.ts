/**
 * The ways to reach a tape that the conformance suite runs over: in-process and gRPC, each over the engine that is
 * provided.
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Context, Effect, Layer, type Scope } from "effect"
import { Client, type TapeClient } from "effect-tape"
import { Engine, type Retention, type StoreError } from "effect-tape/engine"
import { GrpcServer } from "effect-tape/server"
import * as AsIs from "../conformance/asIs.js"
import { Probe } from "../conformance/Scenario.js"

/** A directory of its own, gone with the scope. */
export const temporaryDirectory = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "effect-tape-"))),
  (directory) => Effect.promise(() => rm(directory, { recursive: true, force: true }))
)

/** The engine over a SQLite file of its own. */
export const sqliteFile: Layer.Layer<Engine.Engine | Retention.Retention, StoreError> = Layer.unwrapScoped(
  Effect.map(temporaryDirectory, (directory) => Engine.layerUrl(`sqlite:${join(directory, "tape.db")}`))
)

/** The client itself, and what scenarios may ask for beside it. */
export const inProcess: Effect.Effect<Context.Context<TapeClient | Probe>, never, Engine.Engine> = Effect.map(
  Engine.Engine,
  (engine) => {
    const tape = Client.fromHandlers(engine)
    const itself = Effect.succeed(tape)
    return Context.make(Client.TapeClient, tape).pipe(Context.add(Probe, { connect: itself, asIs: itself }))
  }
)

/** The same over a server on a loopback port of its own. */
export const grpc: Effect.Effect<
  Context.Context<TapeClient | Probe>,
  unknown,
  Engine.Engine | Scope.Scope
> = Effect.gen(function* () {
  const { url } = yield* GrpcServer.make({
    listen: "127.0.0.1:0",
    handlers: Engine.Engine,
    responseMetadata: Engine.responseMetadata
  })
  const connect = Client.makeGrpc({ url })
  const asIs = AsIs.make({ target: url.replace("tape://", ""), tls: false })
  return Context.make(Client.TapeClient, yield* connect).pipe(Context.add(Probe, { connect, asIs }))
})

/** Each transport as a layer over an engine. */
export const transports = { "in-process": Layer.effectContext(inProcess), gRPC: Layer.scopedContext(grpc) }
