/**
 * How a tape is answered: one function per RPC, derived from the service descriptor. The engine implements
 * {@link Handlers}; the gRPC server and the in-process client put them within reach.
 *
 * @since 0.1.0
 */
/// <reference lib="es2024.string" />
import type { DescMethodServerStreaming, DescMethodUnary, DescService, MessageShape } from "@bufbuild/protobuf"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import { Status } from "./Errors.js"

/**
 * What a handler refuses with: a gRPC status code and one sentence, exactly what travels. Clients turn it into a
 * `TapeError` that also names the rpc and the ids.
 *
 * @since 0.1.0
 * @category models
 */
export class Refusal extends Data.TaggedError("Refusal")<{
  readonly code: Status
  readonly detail: string
}> {
  static notFound = (detail: string): Refusal => new Refusal({ code: Status.NotFound, detail })
  static invalid = (detail: string): Refusal => new Refusal({ code: Status.InvalidArgument, detail })
  static conflict = (detail: string): Refusal => new Refusal({ code: Status.Aborted, detail })
  static precondition = (detail: string): Refusal => new Refusal({ code: Status.FailedPrecondition, detail })
  static denied = (detail: string): Refusal => new Refusal({ code: Status.PermissionDenied, detail })
  static exhausted = (detail: string): Refusal => new Refusal({ code: Status.ResourceExhausted, detail })
  static unavailable = (detail: string): Refusal => new Refusal({ code: Status.Unavailable, detail })
  static unimplemented = (detail: string): Refusal => new Refusal({ code: Status.Unimplemented, detail })
  static internal = (detail: string): Refusal => new Refusal({ code: Status.Internal, detail })

  override get message(): string {
    return this.detail
  }
}

/**
 * What comes with a request beside its message.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  /** Request metadata, keys in lower case. */
  readonly metadata: { readonly [key: string]: string }
}

/**
 * The implementation of a service: unary methods are Effects, server-streaming methods are Streams.
 *
 * @since 0.1.0
 * @category models
 */
export type Handlers<S extends DescService> = {
  readonly [K in keyof S["method"]]: S["method"][K] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, call: Call) => Effect.Effect<MessageShape<O>, Refusal>
    : S["method"][K] extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, call: Call) => Stream.Stream<MessageShape<O>, Refusal>
      : never
}

/**
 * What a caller is told of a handler that did not answer: its refusal, cut to a length that every carrier takes;
 * UNAVAILABLE when it was interrupted from within; for a defect a bare INTERNAL, whose cause goes to the log.
 *
 * @since 0.1.0
 * @category errors
 */
export const refusalOf = (cause: Cause.Cause<Refusal>, rpc: string): Effect.Effect<Refusal> => {
  const refusal = Cause.failureOption(cause)
  if (Option.isSome(refusal)) {
    const { code, detail } = refusal.value
    const carried = detail.slice(0, maxDetail).toWellFormed()
    return Effect.succeed(carried === detail ? refusal.value : new Refusal({ code, detail: carried }))
  }
  if (Cause.isInterruptedOnly(cause)) return Effect.succeed(Refusal.unavailable("the tape is shutting down"))
  return Effect.as(Effect.logError(`${rpc} died`, cause), Refusal.internal("internal error"))
}

// a status travels in a header; Node refuses headers of more than 16 kB, and a character may take nine bytes there
const maxDetail = 1_500
