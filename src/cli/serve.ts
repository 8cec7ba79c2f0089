/**
 * `tape serve`: an engine on the wire.
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Client from "../Client.js"
import type { StoreError } from "../engine/StoreError.js"
import { withoutPassword } from "../internal/withoutPassword.js"
import type { ListenError } from "../server/ListenError.js"
import { type Trouble, Usage } from "./mistake.js"

/** What can keep a server from starting. */
export type Failed = Client.InvalidUrl | StoreError | ListenError | Trouble | Usage

export const command = Command.make(
  "serve",
  {
    listen: Options.text("listen").pipe(
      Options.withFallbackConfig(Config.nonEmptyString("TAPE_LISTEN")),
      Options.withDefault("127.0.0.1:7878"),
      Options.withDescription("Where to accept calls: host:port or unix:path ($TAPE_LISTEN)")
    ),
    store: Options.text("store").pipe(
      Options.withFallbackConfig(Config.nonEmptyString("TAPE_STORE")),
      Options.withDefault("sqlite:./tape.db"),
      Options.withDescription("Where to keep the tape: sqlite:path or memory: ($TAPE_STORE)")
    ),
    http: Options.text("http").pipe(
      Options.withFallbackConfig(Config.nonEmptyString("TAPE_HTTP")),
      Options.withPseudoName("host:port"),
      Options.optional,
      Options.withDescription(
        "Where to take calls of browsers, by WebSocket and HTTP at /rpc; off unless given ($TAPE_HTTP). " +
          "It asks nobody who they are: whoever reaches the port may do everything, so keep it on 127.0.0.1 or behind a proxy"
      )
    ),
    httpOrigins: Options.text("http-origin").pipe(
      Options.withPseudoName("origin"),
      Options.repeated,
      Options.withDescription("A web page's origin that may call --http; pages of other origins are refused")
    )
  },
  (options) => serve(options)
).pipe(Command.withDescription("Serve a tape over gRPC until it is told to stop (SIGTERM, SIGINT)."))

// ---- internal ----

const serve = (options: {
  readonly listen: string
  readonly store: string
  readonly http: Option.Option<string>
  readonly httpOrigins: ReadonlyArray<string>
}): Effect.Effect<never, Failed> =>
  Effect.gen(function* () {
    const { httpOrigins: origins, listen, store } = options
    if (origins.length > 0 && Option.isNone(options.http)) {
      return yield* new Usage({ message: "--http-origin needs --http" })
    }
    const url = yield* Client.parseUrl(store)
    if (url._tag === "Server") {
      const detail = "it names a server, and a store is needed"
      return yield* new Client.InvalidUrl({ reason: "NotEmbedded", url: withoutPassword(store), detail })
    }
    // loaded when needed: `tape --help` needs neither. They are parts of this package, hence `promise`
    const { Engine } = yield* Effect.promise(() => import("../engine/index.js"))
    const { GrpcServer } = yield* Effect.promise(() => import("../server/index.js"))
    const { logVerbosity, setLogVerbosity } = yield* Effect.promise(() => import("@grpc/grpc-js"))
    // it writes to stderr by itself what is also reported as an error
    setLogVerbosity(logVerbosity.NONE)
    return yield* Effect.scoped(
      Effect.gen(function* () {
        const engine = yield* Effect.provide(Engine.Engine, yield* Layer.build(Engine.layerUrl(store)))
        const { responseMetadata } = Engine
        const { address } = yield* GrpcServer.make({ listen, handlers: Effect.succeed(engine), responseMetadata })
        const ready = [`tape listening on ${address} (${withoutPassword(store)})`]
        if (Option.isSome(options.http)) {
          const Http = yield* Effect.promise(() => import("./http.js"))
          const url = yield* Http.make({ listen: options.http.value, origins }, engine, responseMetadata)
          ready.push(`tape rpc listening on ${url}`)
        }
        return yield* Effect.zipRight(Console.log(ready.join("\n")), Effect.never)
      })
    )
  })
