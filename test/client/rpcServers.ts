/** Servers of rpc, clients of them, and callers that keep to no rule. */
import { createServer, request as send } from "node:http"
import { FetchHttpClient, HttpLayerRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeSocket } from "@effect/platform-node"
import { RpcSerialization } from "@effect/rpc"
import { assert } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as Client from "../../src/Client.js"
import type { Tape } from "../../src/gen/tape/v1/tape_pb.js"
import type { Handlers } from "../../src/Handlers.js"
import { Rpc } from "../../src/rpc/index.js"
import { fakeTape } from "./fake.js"

/** A server on a loopback port, for as long as the scope lasts; gives its `host:port`. */
export const serve = (
  handlers: Partial<Handlers<typeof Tape>>,
  options: Partial<Rpc.ServerOptions & Rpc.HandlersOptions> = {},
  port = 0
) =>
  Effect.gen(function* () {
    const http = createServer()
    const at = { path: "/rpc", ...options } as const
    const context = yield* Layer.mergeAll(Rpc.layerServerWebSocket(at), Rpc.layerServerHttp(at)).pipe(
      Layer.provide(Rpc.layerHandlers(Effect.succeed(fakeTape(handlers)), options)),
      (routes) => HttpLayerRouter.serve(routes, { disableListenLog: true, disableLogger: true }),
      Layer.provideMerge(NodeHttpServer.layer(() => http, { port, host: "127.0.0.1" })),
      Layer.build
    )
    // `fetch` keeps a connection at hand that it has not used, for which Node would wait
    yield* Effect.addFinalizer(() => Effect.sync(() => http.closeAllConnections()))
    const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
    return address._tag === "TcpAddress" ? `127.0.0.1:${address.port}` : address.path
  }).pipe(Effect.orDie)

export const built = <E, R>(layer: Layer.Layer<Client.TapeClient, E, R>) =>
  Effect.flatMap(Effect.orDie(Layer.build(layer)), (context) => Effect.provide(Client.TapeClient, context))

export const overWebSocket = (address: string, options?: Client.ClientOptions) =>
  built(
    Layer.provide(Rpc.layerWebSocket({ url: `ws://${address}/rpc`, ...options }), NodeSocket.layerWebSocketConstructor)
  )

export const overHttp = (address: string, options?: Client.ClientOptions) =>
  built(Layer.provide(Rpc.layerHttp({ url: `http://${address}/rpc`, ...options }), FetchHttpClient.layer))

/** What a server answers to a request of any kind: its status, or 101 for a connection that is upgraded. */
export const statusOf = (
  address: string,
  method: string,
  headers: { readonly [name: string]: string },
  body?: Uint8Array
) =>
  Effect.async<number>((resume) => {
    const [host, port] = address.split(":")
    const sent = send({ host, port, path: "/rpc", method, headers, agent: false })
    sent.on("response", (response) => {
      response.resume()
      response.on("end", () => resume(Effect.succeed(response.statusCode ?? 0)))
    })
    sent.on("upgrade", (_, socket) => {
      socket.destroy()
      resume(Effect.succeed(101))
    })
    sent.on("error", () => resume(Effect.succeed(0)))
    sent.end(body)
  })

export const handshake = {
  connection: "upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="
}

const { decode, encode } = RpcSerialization.makeMsgPack({ useRecords: false }).unsafeMake()
export const unpacked = decode
export const packed = (message: unknown): Uint8Array => {
  const bytes = encode(message)
  return bytes instanceof Uint8Array ? new Uint8Array(bytes) : assert.fail("no bytes")
}
export const call = (id: string, tag: string, payload: unknown, headers: unknown = []) =>
  packed({ _tag: "Request", id, tag, payload, headers })
