import { createServer } from "node:http"
import { HttpLayerRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeSocket } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import * as Client from "../../src/Client.js"
import type { Tape } from "../../src/gen/tape/v1/tape_pb.js"
import type { Handlers } from "../../src/Handlers.js"
import { Rpc } from "../../src/rpc/index.js"
import { behaviour } from "./behaviour.js"
import { fakeTape } from "./fake.js"

const server = (handlers: Handlers<typeof Tape>, options: Partial<Rpc.ServerOptions> = {}, port = 0) =>
  Layer.mergeAll(
    Rpc.layerServerWebSocket({ path: "/rpc", ...options }),
    Rpc.layerServerHttp({ path: "/rpc", ...options })
  ).pipe(
    Layer.provide(Rpc.layerHandlers(Effect.succeed(handlers))),
    (routes) => HttpLayerRouter.serve(routes, { disableListenLog: true, disableLogger: true }),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { port, host: "127.0.0.1" }))
  )

const addressOf = Effect.map(HttpServer.HttpServer, ({ address }) =>
  address._tag === "TcpAddress" ? `127.0.0.1:${address.port}` : address.path
)

const over = (url: string, options?: Client.ClientOptions) =>
  Effect.map(
    Layer.build(Layer.provide(Rpc.layerWebSocket({ url, ...options }), NodeSocket.layerWebSocketConstructor)),
    (context) => Client.TapeClient.pipe(Effect.provide(context))
  ).pipe(Effect.flatten)

behaviour("WebSocket", (handlers, options) =>
  Effect.gen(function* () {
    const address = yield* Effect.provide(addressOf, yield* Layer.build(server(fakeTape(handlers))))
    return yield* over(`ws://${address}/rpc`, options)
  }).pipe(Effect.orDie)
)
