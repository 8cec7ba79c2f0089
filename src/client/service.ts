/**
 * The tape as a service, wherever it is: what a client needs that runs anywhere, a browser included. (`Client.ts` adds
 * gRPC, which only runs in Node, and which a bundler would follow into it.)
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
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { TapeError, Unavailable } from "../Errors.js"
import {
  type EventEntry,
  type JournalEntry,
  type SubscribeBySubjectRequestSchema,
  type SubscribeEventsRequestSchema,
  type SubscribeRunRequestSchema,
  Tape
} from "../gen/tape/v1/tape_pb.js"
import type { Handlers } from "../Handlers.js"
import * as build from "./build.js"
import { currentMetadata, currentTimeout } from "./call.js"
import * as inProcess from "./inProcess.js"
import { defaultResume, resuming } from "./tail.js"
import type { Transport as ClientTransport } from "./transport.js"

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
  tail(
    "SubscribeBySubject",
    request.fromGlobalSeq,
    (tape, fromGlobalSeq) => tape.subscribeBySubject({ ...request, fromGlobalSeq }, options),
    ({ globalSeq }) => globalSeq,
    options
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
  tail(
    "SubscribeEvents",
    request.fromGlobalSeq,
    (tape, fromGlobalSeq) => tape.subscribeEvents({ ...request, fromGlobalSeq }, options),
    ({ globalSeq }) => globalSeq,
    options
  ).pipe(
    // the reference's server forgets these two filters where it has a cursor
    Stream.filter(({ kind, runId }) => kind === (request.kind || kind) && runId === (request.runId || runId))
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
  tail(
    "SubscribeRun",
    request.fromSeq,
    (tape, fromSeq) => tape.subscribeRun({ ...request, fromSeq }, options),
    ({ seq }) => seq + 1n,
    options
  )

/** What {@link ClientOptions.maxMessageBytes} is unless given: what gRPC servers take. @internal */
export const defaultMaxMessageBytes = 4 * 1024 * 1024

// ---- internal ----

const tail = <A>(
  rpc: string,
  from: bigint | undefined,
  open: (tape: Client<typeof Tape>, cursor: bigint) => Stream.Stream<A, TapeError>,
  cursorAfter: (entry: A) => bigint,
  options: TailOptions | undefined
): Stream.Stream<A, TapeError, TapeClient> =>
  Stream.unwrap(
    Effect.map(TapeClient, (tape) =>
      resuming(rpc, from ?? 0n, (cursor) => open(tape, cursor), cursorAfter, options?.resume ?? defaultResume)
    )
  )
