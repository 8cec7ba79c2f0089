/**
 * The group on the routes of an HTTP server.
 */
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { FromServerEncoded, RequestEncoded } from "@effect/rpc/RpcMessage"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { defaultMaxMessageBytes } from "../client/service.js"
import { TapeError, Unimplemented } from "../Errors.js"
import * as Frames from "./frames.js"
import { group } from "./group.js"
import * as Http from "./http.js"
import * as Origins from "./origins.js"
import type { ServerOptions } from "./Rpc.js"

type Protocol = RpcServer.Protocol["Type"]

/** Calls on one connection a caller, at `GET path`. */
export const webSocket = (options: ServerOptions): Effect.Effect<Protocol, never, HttpLayerRouter.HttpRouter> =>
  Effect.gen(function* () {
    const router = yield* HttpLayerRouter.HttpRouter
    const { httpApp, protocol } = yield* RpcServer.makeProtocolWithHttpAppWebsocket.pipe(
      Effect.provideService(RpcSerialization.RpcSerialization, serialization(options))
    )
    const upgradeOnly = Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
      isHandshake(headers) ? httpApp : HttpServerResponse.text("a WebSocket is expected here", { status: 426 })
    )
    yield* router.add("GET", options.path, fromPages(options, upgradeOnly))
    return answering(protocol, options)
  })

/** A request for each call, at `POST path`. */
export const http = (options: ServerOptions): Effect.Effect<Protocol, never, HttpLayerRouter.HttpRouter> =>
  Effect.gen(function* () {
    const router = yield* HttpLayerRouter.HttpRouter
    const { app, protocol } = yield* Http.make(serialization(options), limitOf(options))
    yield* router.add("POST", options.path, fromPages(options, app))
    yield* router.add("OPTIONS", options.path, fromPages(options, preflight))
    return answering(protocol, options)
  })

// ---- internal ----

const limitOf = (options: ServerOptions): number =>
  (options.maxMessageBytes ?? defaultMaxMessageBytes) + Frames.envelope

const serialization = (options: ServerOptions): RpcSerialization.RpcSerialization["Type"] =>
  Frames.ofServer(limitOf(options))

/** Puts into the answers what the tape says beside them, and answers calls that it does not know. */
const answering = (protocol: Protocol, { responseMetadata }: ServerOptions): Protocol => {
  const beside = responseMetadata === undefined ? undefined : { responseMetadata }
  return {
    ...protocol,
    run: (receive) =>
      protocol.run((clientId, message) =>
        message._tag === "Request" && !group.requests.has(message.tag)
          ? protocol.send(clientId, unknown(message))
          : receive(clientId, message)
      ),
    send: (clientId, response, transferables) =>
      protocol.send(clientId, response._tag === "Exit" ? { ...response, ...beside } : response, transferables)
  }
}

const unknown = ({ id, tag }: RequestEncoded): FromServerEncoded => ({
  _tag: "Exit",
  requestId: id,
  exit: {
    _tag: "Failure",
    cause: {
      _tag: "Fail",
      error: Schema.encodeSync(TapeError)(
        new Unimplemented({ rpc: tag.slice(0, 100), detail: "the tape does not know this call", ids: {} })
      )
    }
  }
})

// what `ws` asks of a handshake: one that it refuses would leave its fiber behind
const isHandshake = (headers: { readonly [name: string]: string }): boolean =>
  headers["upgrade"]?.toLowerCase() === "websocket" &&
  /^(?:8|13)$/.test(headers["sec-websocket-version"] ?? "") &&
  /^[+/0-9A-Za-z]{22}==$/.test(headers["sec-websocket-key"] ?? "") &&
  headers["sec-websocket-protocol"] === undefined

/** Refuses strange pages, and lets the browser of a listed one see the answers. */
const fromPages = <E, R>(
  { origins = [] }: ServerOptions,
  app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
) =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) =>
    Origins.isWelcome(headers, origins)
      ? Effect.map(app, HttpServerResponse.setHeaders(Origins.answerTo(headers, origins)))
      : HttpServerResponse.text("this tape does not take calls from pages of this origin", { status: 403 })
  )

const preflight = HttpServerResponse.empty({
  status: 204,
  headers: { "access-control-allow-methods": "POST", "access-control-allow-headers": "content-type" }
})
