/**
 * `tape serve --http`: the tape over `@effect/rpc`, beside gRPC.
 */
import { createServer, type Server } from "node:http"
import type { Socket } from "node:net"
import * as HttpLayerRouter from "@effect/platform/HttpLayerRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Tape } from "../gen/tape/v1/tape_pb.js"
import type { Handlers } from "../Handlers.js"
import { Rpc } from "../rpc/index.js"
import { ListenError } from "../server/ListenError.js"
import * as Listen from "../server/listen.js"
import { Trouble, Usage } from "./mistake.js"

/** What the flags say. */
interface HttpFlags {
  readonly listen: string
  readonly origins: ReadonlyArray<string>
}

/** Serves until the scope ends; the URL says the real port. */
export const make = (
  { listen, origins }: HttpFlags,
  handlers: Handlers<typeof Tape>,
  responseMetadata: { readonly [key: string]: string }
): Effect.Effect<string, ListenError | Trouble | Usage, Scope.Scope> =>
  Effect.gen(function* () {
    const strange = origins.find((origin) => !URL.canParse(origin) || new URL(origin).origin !== origin)
    if (strange !== undefined) {
      return yield* new Usage({ message: `--http-origin ${strange} is no origin such as https://tape.example:8080` })
    }
    const { host, target } = yield* Listen.parse(listen)
    if (host === undefined) {
      return yield* new ListenError({ reason: "InvalidAddress", listen, detail: "HTTP is served on host:port only" })
    }
    const NodeHttpServer = yield* Effect.tryPromise({
      try: () => import("@effect/platform-node/NodeHttpServer"),
      catch: () => new Trouble({ message: "--http needs the package @effect/platform-node, which is not installed" })
    })
    const sockets = new Set<Socket>()
    const options = { path: "/rpc", origins, responseMetadata } as const
    const context = yield* Layer.merge(Rpc.layerServerWebSocket(options), Rpc.layerServerHttp(options)).pipe(
      Layer.provide(Rpc.layerHandlers(Effect.succeed(handlers))),
      (routes) => HttpLayerRouter.serve(routes, { disableListenLog: true, disableLogger: true }),
      Layer.provide(Layer.scopedDiscard(Effect.addFinalizer(() => leave(sockets)))),
      Layer.provideMerge(
        NodeHttpServer.layerServer(() => server(sockets), {
          host: host.replace(/^\[|\]$/g, ""),
          port: Number(target.slice(host.length + 1))
        })
      ),
      Layer.build,
      Effect.mapError(({ cause }) => Listen.refused(listen, String(cause)))
    )
    const { address } = Context.get(context, HttpServer.HttpServer)
    return `http://${host}:${address._tag === "TcpAddress" ? address.port : ""}/rpc`
  })

// ---- internal ----

const server = (sockets: Set<Socket>): Server =>
  // who vanishes without a word is found out after a while
  createServer({ keepAlive: true, keepAliveInitialDelay: 30_000 }).on("connection", (socket) => {
    sockets.add(socket)
    socket.on("close", () => sockets.delete(socket))
    // Node takes its own listener away with an upgrade; a reset would end the process
    socket.on("error", () => {})
  })

/** Connections have a moment to part; those that do not would keep the server. */
const leave = (sockets: ReadonlySet<Socket>): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (sockets.size === 0) return Effect.void
    const cut = Effect.sync(() => {
      for (const socket of sockets) socket.destroy()
    })
    return Effect.zipRight(Effect.sleep("200 millis"), cut)
  })
