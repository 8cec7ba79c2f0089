/**
 * A tape on the wire: serves handlers by gRPC.
 *
 * @since 0.1.0
 */
import type { DescService } from "@bufbuild/protobuf"
import * as Grpc from "@grpc/grpc-js"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Tape } from "../gen/tape/v1/tape_pb.js"
import type { Handlers } from "../Handlers.js"
import * as Adapter from "./adapter.js"
import { ListenError } from "./ListenError.js"
import * as Listen from "./listen.js"

/**
 * A server that accepts calls.
 *
 * @since 0.1.0
 * @category tags
 */
export class GrpcServer extends Context.Tag("effect-tape/server/GrpcServer")<
  GrpcServer,
  {
    /** Where it listens, with the real port: `127.0.0.1:7878`, `unix:/run/tape.sock`. */
    readonly address: string
    /** The tape URL of that address, for a client on the same machine. */
    readonly url: string
  }
>() {}

/**
 * Settings of a server.
 *
 * @since 0.1.0
 * @category models
 */
export interface GrpcServerOptions<E = never, R = never> {
  /** `host:port` (port 0: any free one; an IPv6 address in brackets), or `unix:path`. */
  readonly listen: string
  /** What answers the calls: an engine's tag, or `Effect.succeed(handlers)`. */
  readonly handlers: Effect.Effect<Handlers<typeof Tape>, E, R>
  /** The largest message received or sent, in bytes. Defaults to 4 MiB. */
  readonly maxMessageBytes?: number | undefined
  /** How many streams one connection may have open; a unix socket counts as one. Defaults to 1024. */
  readonly maxStreamsPerConnection?: number | undefined
  /** Metadata sent with every answer. Defaults to none. */
  readonly responseMetadata?: { readonly [key: string]: string } | undefined
  /** How long calls under way may take to end when the server stops. Defaults to 5 seconds. */
  readonly grace?: Duration.DurationInput | undefined
  /** The certificate to show, as PEM. Without it the server speaks plaintext. */
  readonly tls?: ServerTls | undefined
}

/**
 * Certificates, as PEM text or bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface ServerTls {
  readonly certificate: string | Uint8Array
  readonly key: Redacted.Redacted
  /** The authorities of clients' certificates. When given, a client must show one. */
  readonly clientCa?: string | Uint8Array | undefined
}

/**
 * Starts a server; it has stopped when the scope is closed. Then open streams end with UNAVAILABLE, calls under way have
 * the `grace` to end, and connections are cut.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E, R>(
  options: GrpcServerOptions<E, R>
): Effect.Effect<Context.Tag.Service<GrpcServer>, ListenError | E, R | Scope.Scope> =>
  Effect.flatMap(options.handlers, (handlers) => serve(Tape, handlers, options))

/**
 * A server for the lifetime of the layer; see {@link make}.
 *
 * @example
 * import { Engine } from "effect-tape/engine"
 * import { GrpcServer } from "effect-tape/server"
 * import { Layer } from "effect"
 *
 * const Serve = GrpcServer.layer({ listen: "127.0.0.1:7878", handlers: Engine.Engine }).pipe(
 *   Layer.provide(Engine.layerUrl("sqlite:./tape.db"))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <E, R>(
  options: GrpcServerOptions<E, R>
): Layer.Layer<GrpcServer, ListenError | E, Exclude<R, Scope.Scope>> => Layer.scoped(GrpcServer, make(options))

// ---- internal ----

const serve = <S extends DescService>(
  service: S,
  handlers: Handlers<S>,
  options: Omit<GrpcServerOptions, "handlers">
): Effect.Effect<Context.Tag.Service<GrpcServer>, ListenError, Scope.Scope> =>
  Effect.gen(function* () {
    const { listen, tls } = options
    const maxMessageBytes = options.maxMessageBytes ?? 4 * 1024 * 1024
    const target = yield* Listen.parse(listen)
    const credentials = yield* credentialsOf(listen, tls)
    const adapter = Adapter.make(
      service,
      handlers,
      {
        maxMessageBytes,
        maxStreamsPerConnection: options.maxStreamsPerConnection ?? 1024,
        responseMetadata: options.responseMetadata ?? {}
      },
      yield* Effect.runtime()
    )
    yield* Listen.makeWay(listen, target)
    const server = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const server = new Grpc.Server({
          "grpc.max_receive_message_length": maxMessageBytes,
          "grpc.max_send_message_length": maxMessageBytes,
          // a client that vanished without a word must not keep its streams for ever
          "grpc.keepalive_time_ms": 60_000,
          "grpc.keepalive_timeout_ms": 20_000
          // channelz stays on, for 5 % of a call: without it, `forceShutdown` of grpc-js 1.14 cuts no connection
        })
        server.addService(adapter.definition, adapter.implementation)
        return server
      }),
      (server) => shutdown(server, adapter, options.grace ?? "5 seconds")
    )
    const port = yield* Listen.bind(server, listen, target, credentials)
    const address = target.host === undefined ? target.target : `${target.host}:${port}`
    const scheme = tls === undefined ? "tape" : "tapes"
    return { address, url: target.host === undefined ? address : `${scheme}://${address}` }
  })

const shutdown = (server: Grpc.Server, adapter: Adapter.Adapter, grace: Duration.DurationInput): Effect.Effect<void> =>
  adapter.endStreams.pipe(
    Effect.zipRight(
      Effect.async<void>((resume) => server.tryShutdown(() => resume(Effect.void))).pipe(
        Effect.interruptible,
        Effect.timeoutOption(grace)
      )
    ),
    Effect.tap((done) =>
      Option.isSome(done)
        ? Effect.void
        : // what is still under way is told UNAVAILABLE, and has a moment for it
          Effect.zipRight(adapter.endCalls, Effect.sleep("100 millis"))
    ),
    Effect.zipRight(Effect.sync(() => server.forceShutdown())),
    // the grace is real time, whatever clock a test has set
    Effect.withClock(Clock.make())
  )

const credentialsOf = (
  listen: string,
  tls: ServerTls | undefined
): Effect.Effect<Grpc.ServerCredentials, ListenError> =>
  Effect.try({
    try: () =>
      tls === undefined
        ? Grpc.ServerCredentials.createInsecure()
        : Grpc.ServerCredentials.createSsl(
            tls.clientCa === undefined ? null : Buffer.from(tls.clientCa),
            [{ cert_chain: Buffer.from(tls.certificate), private_key: Buffer.from(Redacted.value(tls.key)) }],
            tls.clientCa !== undefined
          ),
    catch: (cause) =>
      new ListenError({ reason: "Tls", listen, detail: `the certificate cannot be used: ${String(cause)}` })
  })
