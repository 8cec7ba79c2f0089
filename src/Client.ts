/**
 * The tape as a service: every RPC of `tape.v1` an `Effect` or a `Stream` with typed errors.
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
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { TapeError } from "./Errors.js"
import type { Tape } from "./gen/tape/v1/tape_pb.js"

/**
 * Settings of one call.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallOptions {
  /** How long to wait for the answer. Defaults to 30 seconds for a unary call; streams have no deadline unless given. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Request metadata, sent as given; keys in lower case. */
  readonly metadata?: { readonly [key: string]: string } | undefined
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
