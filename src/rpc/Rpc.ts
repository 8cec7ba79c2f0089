/**
 * The tape over `@effect/rpc`, on WebSockets and HTTP: for browsers, at the edge, for whatever does not speak gRPC. The
 * same calls, the same errors, out of the same handlers; MsgPack frames that carry protobuf messages.
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import type * as Socket from "@effect/platform/Socket"
import type * as Rpc from "@effect/rpc/Rpc"
import type * as RpcClient from "@effect/rpc/RpcClient"
import type * as RpcGroup from "@effect/rpc/RpcGroup"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type ClientOptions, defaultMaxMessageBytes, make, TapeClient } from "../client/service.js"
import { InvalidUrl } from "../client/url.js"
import type { Tape } from "../gen/tape/v1/tape_pb.js"
import type { Handlers } from "../Handlers.js"
import { withoutPassword } from "../internal/withoutPassword.js"
import * as client from "./client.js"
import * as derived from "./group.js"
import * as handlersOf from "./handlers.js"
import * as server from "./server.js"

export {
  /**
   * The schema of a protobuf message: itself, and its bytes.
   *
   * @since 0.1.0
   * @category models
   */
  type MessageSchema
} from "./group.js"

/**
 * The calls of `tape.v1`, one `Rpc` each, by the names that {@link TapeClient} has for them.
 *
 * @since 0.1.0
 * @category models
 */
export type TapeRpcs = derived.RpcsOf<typeof Tape>

/**
 * The service `tape.v1`, derived from its descriptor: requests and answers are protobuf messages, failures are
 * `Errors.TapeError`. Most programs want {@link layerWebSocket}, whose client checks requests, keeps deadlines and
 * repeats what may be repeated; this is for a protocol of `@effect/rpc` that is not here.
 *
 * @since 0.1.0
 * @category group
 */
export const group: RpcGroup.RpcGroup<TapeRpcs> = derived.group

/**
 * Settings of handlers.
 *
 * @since 0.1.0
 * @category models
 */
export interface HandlersOptions {
  /** The largest request or answer, in bytes. Defaults to 4 MiB. */
  readonly maxMessageBytes?: number | undefined
  /** How many streams one WebSocket may have open. Defaults to 1024. */
  readonly maxStreamsPerConnection?: number | undefined
}

/**
 * Handlers of the tape as those of the {@link group}. Answers and errors are those of gRPC.
 *
 * @since 0.1.0
 * @category server
 */
export const layerHandlers = <E, R>(
  handlers: Effect.Effect<Handlers<typeof Tape>, E, R>,
  options: HandlersOptions = {}
): Layer.Layer<Rpc.ToHandler<TapeRpcs>, E, Exclude<R, Scope.Scope>> =>
  group.toLayer(Effect.map(handlers, (handlers) => handlersOf.make(handlers, options)))

/**
 * Settings of a server.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerOptions {
  /** Where on the HTTP server: `/rpc`. */
  readonly path: `/${string}`
  /**
   * Origins of web pages that may call, as browsers send them: `https://inspector.example`. Pages of this server itself
   * may too, where it is called by its address or as `localhost`; all others are refused (403). Programs that are no
   * browsers name no origin. Defaults to none.
   */
  readonly origins?: ReadonlyArray<string> | undefined
  /** The largest request, in bytes; the connection of a larger one is closed. Defaults to 4 MiB. */
  readonly maxMessageBytes?: number | undefined
  /** What is said with every answer: `Engine.responseMetadata` for an engine. Defaults to nothing. */
  readonly responseMetadata?: { readonly [key: string]: string } | undefined
}

/**
 * Serves the {@link group} on WebSockets. It asks nobody who they are: what guards it is where the HTTP server listens,
 * a proxy, and the `origins` of pages.
 *
 * @example
 * import { HttpLayerRouter } from "@effect/platform"
 * import { Engine } from "effect-tape/engine"
 * import { Rpc } from "effect-tape/rpc"
 * import { Layer } from "effect"
 *
 * // wants an `HttpServer`, such as `NodeHttpServer.layer(createServer, { port: 7879, host: "127.0.0.1" })`
 * const Server = Rpc.layerServerWebSocket({ path: "/rpc", responseMetadata: Engine.responseMetadata }).pipe(
 *   Layer.provide(Rpc.layerHandlers(Engine.Engine)),
 *   HttpLayerRouter.serve
 * )
 *
 * @since 0.1.0
 * @category server
 */
export const layerServerWebSocket = (
  options: ServerOptions
): Layer.Layer<never, never, HttpLayerRouter.HttpRouter | Rpc.ToHandler<TapeRpcs>> => serving(server.webSocket(options))

/**
 * Serves the {@link group} over HTTP: a `POST` for each call. At the same path as {@link layerServerWebSocket}, if need
 * be.
 *
 * @since 0.1.0
 * @category server
 */
export const layerServerHttp = (
  options: ServerOptions
): Layer.Layer<never, never, HttpLayerRouter.HttpRouter | Rpc.ToHandler<TapeRpcs>> => serving(server.http(options))

/**
 * How to reach a tape over `@effect/rpc`.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebOptions extends ClientOptions {
  /** `ws://host:port/rpc` or `wss://…` for a WebSocket, `http://…` or `https://…` for HTTP. */
  readonly url: string
}

/**
 * The {@link TapeClient} of a server, on a WebSocket that is opened with the layer, closed with it, and opened again when
 * it is lost: within a second once the server is back. The layer succeeds with the server down, its calls fail with
 * `Unavailable`.
 *
 * @example
 * import { Socket } from "@effect/platform"
 * import { Rpc } from "effect-tape/rpc"
 * import { Layer } from "effect"
 *
 * // `NodeSocket.layerWebSocketConstructor` where there is no global WebSocket (Node 20)
 * const Tape = Rpc.layerWebSocket({ url: "ws://127.0.0.1:7879/rpc" }).pipe(
 *   Layer.provide(Socket.layerWebSocketConstructorGlobal)
 * )
 *
 * @since 0.1.0
 * @category client
 */
export const layerWebSocket = (options: WebOptions): Layer.Layer<TapeClient, InvalidUrl, Socket.WebSocketConstructor> =>
  layerOf(options, ["ws:", "wss:"], client.webSocket)

/**
 * The {@link TapeClient} of a server, a request for each call: slower than a WebSocket. Whether a request that failed had
 * left, HTTP does not tell: `Unavailable` says that it may have been applied.
 *
 * @since 0.1.0
 * @category client
 */
export const layerHttp = (options: WebOptions): Layer.Layer<TapeClient, InvalidUrl, HttpClient.HttpClient> =>
  layerOf(options, ["http:", "https:"], client.http)

// ---- internal ----

const serving = <R>(protocol: Effect.Effect<RpcServer.Protocol["Type"], never, R>) =>
  RpcServer.layer(group, { disableTracing: true }).pipe(Layer.provide(Layer.effect(RpcServer.Protocol, protocol)))

const layerOf = <R>(
  options: WebOptions,
  schemes: ReadonlyArray<string>,
  protocol: (url: string) => Effect.Effect<RpcClient.Protocol["Type"], never, R>
) =>
  Layer.scoped(
    TapeClient,
    Effect.gen(function* () {
      const { url } = options
      if (!URL.canParse(url) || !schemes.includes(new URL(url).protocol)) {
        const detail = `it must be a full URL that begins with ${schemes.map((scheme) => `${scheme}//`).join(" or ")}`
        return yield* new InvalidUrl({ reason: "NotWeb", url: withoutPassword(url), detail })
      }
      const maxMessageBytes = options.maxMessageBytes ?? defaultMaxMessageBytes
      return make(yield* client.make(yield* protocol(url), withoutPassword(url), maxMessageBytes), options)
    })
  )
