/**
 * The tape as a service: every RPC of `tape.v1` an `Effect` or a `Stream` with typed errors.
 *
 * A call can be interrupted, which cancels it at the server. Streams are back-pressured. Deadlines and the waits of a
 * closed connection are real time, whatever the fiber's `Clock` says.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { type Client, type ClientOptions, defaultMaxMessageBytes, make, TapeClient } from "./client/service.js"
import type { Token } from "./client/token.js"
import type { InvalidUrl } from "./client/url.js"
import type { Tape } from "./gen/tape/v1/tape_pb.js"

export {
  type CallOptions,
  type Client,
  type ClientOptions,
  fromHandlers,
  layerHandlers,
  make,
  type TailOptions,
  TapeClient,
  type Transport,
  tailBySubject,
  tailEvents,
  tailRun,
  withMetadata,
  withTimeout
} from "./client/service.js"

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
  /**
   * How long a connection with open calls may be silent before it is probed. It is given up, and its calls fail with
   * `Unavailable`, when the probe is not answered within the same time, 20 seconds at most. Defaults to 1 minute.
   */
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
