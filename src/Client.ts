/**
 * The tape as a service: every RPC of `tape.v1` an `Effect` or a `Stream` with typed errors.
 *
 * A call can be interrupted, which cancels it at the server. Streams are back-pressured. Deadlines and the waits of a
 * closed connection are real time, whatever the fiber's `Clock` says.
 *
 * @since 0.1.0
 */
import type {
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape
} from "@bufbuild/protobuf"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as build from "./client/build.js"
import { currentMetadata, currentTimeout } from "./client/call.js"
import * as inProcess from "./client/inProcess.js"
import { defaultResume, resuming } from "./client/tail.js"
import type { Token } from "./client/token.js"
import type { Transport as ClientTransport } from "./client/transport.js"
import type { InvalidUrl } from "./client/url.js"
import type { TapeError, Unavailable } from "./Errors.js"
import {
  type EventEntry,
  type JournalEntry,
  type SubscribeBySubjectRequestSchema,
  type SubscribeEventsRequestSchema,
  type SubscribeRunRequestSchema,
  Tape
} from "./gen/tape/v1/tape_pb.js"
import type { Handlers } from "./Handlers.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  InvalidUrl,
  /**
   * @since 0.1.0
   * @category constructors
   */
  parseUrl,
  /**
   * @since 0.1.0
   * @category models
   */
  type TapeUrl
} from "./client/url.js"

/**
 * Settings of one call.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallOptions {
  /** How long to wait for the answer. Defaults to 30 seconds for a unary call; streams have no deadline unless given. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Request metadata: printable ASCII text; keys are sent in lower case. Added to that of {@link withMetadata}. */
  readonly metadata?: { readonly [key: string]: string } | undefined
}

/**
 * Settings of a client, for all its calls.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientOptions {
  /** How long a unary call may take, retries included. Defaults to 30 seconds; `Duration.infinity` is no limit. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * When to send a unary call again that was answered `Unavailable`, as long as its time lasts. Calls that are not
   * idempotent by nature are sent again only if they certainly never left, or if the server honours request ids.
   * Defaults to 50 ms, doubled to at most 1 s, jittered, 6 times; `Schedule.stop` switches it off.
   */
  readonly retry?: Schedule.Schedule<unknown, Unavailable> | undefined
  /** The largest message sent or received, in bytes. Defaults to 4 MiB. */
  readonly maxMessageBytes?: number | undefined
}

/**
 * The client of a service, derived from its descriptor.
 *
 * @since 0.1.0
 * @category models
 */
export type Client<S extends DescService, E = TapeError> = {
  readonly [K in keyof S["method"]]: S["method"][K] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Effect.Effect<MessageShape<O>, E>
    : S["method"][K] extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => Stream.Stream<MessageShape<O>, E>
      : never
}

/**
 * The tape: 51 calls, wherever it is.
 *
 * @since 0.1.0
 * @category tags
 */
export class TapeClient extends Context.Tag("effect-tape/Client/TapeClient")<TapeClient, Client<typeof Tape>>() {}

/**
 * A way to a tape: what {@link make} builds a client on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Transport extends ClientTransport {}

/**
 * The client of a tape that `transport` leads to: all methods from the descriptor, one policy for all.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (transport: Transport, options: ClientOptions = {}): Client<typeof Tape> =>
  build.make(Tape, transport, options)

/**
 * A client of handlers in the same process: nothing is serialized, and yet answers and errors are those of the wire.
 * Neither requests nor answers are shared with the handlers.
 *
 * @example
 * import { Client } from "effect-tape"
 * import { Engine } from "effect-tape/engine"
 * import { Effect } from "effect"
 *
 * const client = Effect.map(Engine.Engine, (engine) => Client.fromHandlers(engine))
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromHandlers = (handlers: Handlers<typeof Tape>, options: ClientOptions = {}): Client<typeof Tape> =>
  make(inProcess.make(handlers, options.maxMessageBytes ?? defaultMaxMessageBytes), options)

/**
 * The {@link TapeClient} of handlers in the same process; see {@link fromHandlers}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerHandlers = <E, R>(
  handlers: Effect.Effect<Handlers<typeof Tape>, E, R>,
  options?: ClientOptions
): Layer.Layer<TapeClient, E, R> =>
  Layer.effect(
    TapeClient,
    Effect.map(handlers, (handlers) => fromHandlers(handlers, options))
  )

/**
 * How to reach a tape over gRPC.
 *
 * @since 0.1.0
 * @category models
 */
export interface GrpcOptions extends ClientOptions {
  /** `tape://host[:port]`, `tapes://host[:port]` (TLS), `unix:path`; see {@link parseUrl}. */
  readonly url: string
  /**
   * The bearer token of every call: one for ever, or how to mint one (by one fiber at a time, whoever asks). Only with
   * TLS. A token that cannot be minted fails the call with `Unauthenticated`.
   */
  readonly token?: Token | undefined
  /**
   * How long a minted token is used that does not say it itself (as those of `IdToken.google` do); one that the tape
   * refuses is dropped at once. Defaults to 5 minutes.
   */
  readonly tokenTtl?: Duration.DurationInput | undefined
  /** What TLS trusts and shows. Defaults to the system's roots and no client certificate. */
  readonly tls?: TlsOptions | undefined
  /** How long a connection with open calls may be silent before it is probed. Defaults to 1 minute. */
  readonly keepalive?: Duration.DurationInput | undefined
}

/**
 * Certificates, as PEM text or bytes.
 *
 * @since 0.1.0
 * @category models
 */
export interface TlsOptions {
  /** The authorities to trust, instead of the system's. */
  readonly ca?: string | Uint8Array | undefined
  /** The client's own certificate chain, with `key`. */
  readonly certificate?: string | Uint8Array | undefined
  /** The private key of `certificate`. */
  readonly key?: Redacted.Redacted | undefined
}

/**
 * The {@link TapeClient} of a server, over gRPC, on one connection that is closed with the layer. The connection is made
 * by the first call: a layer succeeds with the server down, its calls fail with `Unavailable`.
 *
 * @example
 * import { Client } from "effect-tape"
 *
 * const TapeLocal = Client.layerGrpc({ url: "tape://localhost:7878", timeout: "5 seconds" })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerGrpc = (options: GrpcOptions): Layer.Layer<TapeClient, InvalidUrl> =>
  Layer.scoped(TapeClient, makeGrpc(options))

/**
 * As {@link layerGrpc}, from `Config`.
 *
 * @example
 * import { Client } from "effect-tape"
 * import { Config } from "effect"
 *
 * const TapeRemote = Client.layerConfig({ url: Config.string("TAPE_URL"), token: Config.redacted("TAPE_TOKEN") })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<GrpcOptions>
): Layer.Layer<TapeClient, InvalidUrl | ConfigError.ConfigError> =>
  Layer.scoped(TapeClient, Effect.flatMap(Config.unwrap(options), makeGrpc))

/**
 * The client of a server, over gRPC, for as long as the scope lasts; see {@link layerGrpc}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeGrpc = (options: GrpcOptions): Effect.Effect<Client<typeof Tape>, InvalidUrl, Scope.Scope> =>
  Effect.promise(() => import("./client/grpc.js")).pipe(
    // it is loaded here, so that a program with an embedded engine does not pay for it; a part of this package that
    // is not there is no failure to handle, hence `promise`
    Effect.flatMap((grpc) => grpc.make(options, options.maxMessageBytes ?? defaultMaxMessageBytes)),
    Effect.map((transport) => make(transport, options))
  )

/**
 * Adds request metadata to every call made within.
 *
 * @example
 * import { Client, TapeClient } from "effect-tape"
 * import { Effect } from "effect"
 *
 * const begin = Effect.flatMap(TapeClient, (tape) => tape.beginRun({ appName: "demo" })).pipe(
 *   Client.withMetadata({ "tape-lease": "if-free" })
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const withMetadata: {
  (metadata: { readonly [key: string]: string }): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, metadata: { readonly [key: string]: string }): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, metadata: { readonly [key: string]: string }) =>
  Effect.locallyWith(effect, currentMetadata, (ambient) => ({ ...ambient, ...metadata }))
)

/**
 * Gives every call made within this much time, streams included. A call's own `timeout` option comes first.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withTimeout: {
  (timeout: Duration.DurationInput): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, timeout: Duration.DurationInput): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(effect: Effect.Effect<A, E, R>, timeout: Duration.DurationInput) =>
  Effect.locally(effect, currentTimeout, Duration.toMillis(timeout))
)

/**
 * Settings of a tail.
 *
 * @since 0.1.0
 * @category models
 */
export interface TailOptions extends CallOptions {
  /** When to open the stream again. Defaults to 50 ms, doubled to at most 5 s, jittered, for ever; reset by each entry. */
  readonly resume?: Schedule.Schedule<unknown, TapeError> | undefined
}

/**
 * `SubscribeBySubject` that survives its connection: a stream that is lost (`Unavailable`) or ended by the server is
 * opened again after the last entry. Nothing is lost, nothing comes twice; it fails only where resuming cannot help.
 *
 * @example
 * import { Client } from "effect-tape"
 * import { Effect, Stream } from "effect"
 *
 * const watch = Client.tailBySubject({ subjectPattern: "/tape/effect/**" }).pipe(
 *   Stream.runForEach((entry) => Effect.log(entry.subject))
 * )
 *
 * @since 0.1.0
 * @category streams
 */
export const tailBySubject = (
  request: MessageInitShape<typeof SubscribeBySubjectRequestSchema>,
  options?: TailOptions
): Stream.Stream<EventEntry, TapeError, TapeClient> =>
  resuming(
    "SubscribeBySubject",
    request.fromGlobalSeq ?? 0n,
    (fromGlobalSeq) =>
      Stream.unwrap(Effect.map(TapeClient, (tape) => tape.subscribeBySubject({ ...request, fromGlobalSeq }, options))),
    (entry) => entry.globalSeq,
    options?.resume ?? defaultResume
  )

/**
 * `SubscribeEvents` that survives its connection, as {@link tailBySubject}.
 *
 * @since 0.1.0
 * @category streams
 */
export const tailEvents = (
  request: MessageInitShape<typeof SubscribeEventsRequestSchema>,
  options?: TailOptions
): Stream.Stream<EventEntry, TapeError, TapeClient> =>
  resuming(
    "SubscribeEvents",
    request.fromGlobalSeq ?? 0n,
    (fromGlobalSeq) =>
      Stream.unwrap(Effect.map(TapeClient, (tape) => tape.subscribeEvents({ ...request, fromGlobalSeq }, options))),
    (entry) => entry.globalSeq,
    options?.resume ?? defaultResume
  )

/**
 * `SubscribeRun` that survives its connection, as {@link tailBySubject}; the cursor is the run's own `seq`.
 *
 * @since 0.1.0
 * @category streams
 */
export const tailRun = (
  request: MessageInitShape<typeof SubscribeRunRequestSchema>,
  options?: TailOptions
): Stream.Stream<JournalEntry, TapeError, TapeClient> =>
  resuming(
    "SubscribeRun",
    request.fromSeq ?? 0n,
    (fromSeq) => Stream.unwrap(Effect.map(TapeClient, (tape) => tape.subscribeRun({ ...request, fromSeq }, options))),
    (entry) => entry.seq + 1n,
    options?.resume ?? defaultResume
  )

// ---- internal ----

const defaultMaxMessageBytes = 4 * 1024 * 1024
