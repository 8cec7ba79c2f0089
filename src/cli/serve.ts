/**
 * `tape serve`: an engine on the wire.
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Client from "../Client.js"
import { withoutPassword } from "../client/url.js"
import type { StoreError } from "../engine/StoreError.js"
import type { ListenError } from "../server/ListenError.js"

/** What can keep a server from starting. */
export type Failed = Client.InvalidUrl | StoreError | ListenError

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
    )
  },
  (options) => serve(options)
).pipe(Command.withDescription("Serve a tape over gRPC until it is told to stop (SIGTERM, SIGINT)."))

// ---- internal ----

const serve = (options: { readonly listen: string; readonly store: string }): Effect.Effect<never, Failed> =>
  Effect.gen(function* () {
    const { listen, store } = options
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
    return yield* Effect.flatMap(GrpcServer.GrpcServer, ({ address }) =>
      Effect.zipRight(Console.log(`tape listening on ${address} (${withoutPassword(store)})`), Effect.never)
    ).pipe(
      Effect.provide(
        Layer.provide(
          GrpcServer.layer({ listen, handlers: Engine.Engine, responseMetadata: Engine.responseMetadata }),
          Engine.layerUrl(store)
        )
      )
    )
  })
