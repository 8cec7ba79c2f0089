/**
 * A client from a descriptor and a transport: every method by the same few lines.
 */
import type { DescMethod, DescMethodServerStreaming, DescMethodUnary, DescService, Message } from "@bufbuild/protobuf"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Errors from "../Errors.js"
import { spanOf } from "../observability/rpc.js"
import { isTraced } from "../observability/tracing.js"
import { settingsOf } from "./call.js"
import { defaultRetry, send } from "./repeat.js"
import type { CallOptions, Client, ClientOptions } from "./service.js"
import { build } from "./shape.js"
import { failure, type Outgoing, type Transport, tooLate } from "./transport.js"

export const make = <S extends DescService>(service: S, transport: Transport, options: ClientOptions): Client<S> => {
  const timeout = Duration.toMillis(options.timeout ?? "30 seconds")
  const retry = options.retry ?? defaultRetry
  const client: { [name: string]: unknown } = {}
  for (const method of service.methods) {
    if (isUnary(method)) client[method.localName] = unary(transport, method, timeout, retry)
    if (isStreaming(method)) client[method.localName] = streaming(transport, method)
  }
  // each method was made from the descriptor that its type is derived from
  return client as Client<S>
}

// ---- internal ----

// a descriptor's kind does not narrow its union by itself
const isUnary = (method: DescMethod): method is DescMethodUnary => method.methodKind === "unary"
const isStreaming = (method: DescMethod): method is DescMethodServerStreaming =>
  method.methodKind === "server_streaming"

type Init = { readonly [field: string]: unknown }

const unary = (
  transport: Transport,
  method: DescMethodUnary,
  timeout: number,
  retry: Schedule.Schedule<unknown, Errors.Unavailable>
) => {
  const sent = (fiber: Fiber.RuntimeFiber<unknown, unknown>, init: Init, options: CallOptions | undefined) =>
    prepared(fiber, method, init, options, timeout, Effect.fail, (request, call) =>
      send(transport, method, request, call, retry)
    )
  const inItsSpan = spanOf(method)
  return (init: Init, options?: CallOptions): Effect.Effect<Message, Errors.TapeError> =>
    Effect.withFiberRuntime((fiber) =>
      inItsSpan !== undefined && isTraced(fiber)
        ? inItsSpan(
            init,
            Effect.withFiberRuntime((fiber) => sent(fiber, init, options))
          )
        : sent(fiber, init, options)
    )
}

const streaming =
  (transport: Transport, method: DescMethodServerStreaming) =>
  (init: Init, options?: CallOptions): Stream.Stream<Message, Errors.TapeError> =>
    Stream.unwrap(
      Effect.withFiberRuntime((fiber) =>
        Effect.succeed(
          prepared(fiber, method, init, options, Number.POSITIVE_INFINITY, Stream.fail, (request, call) =>
            transport.stream(method, request, call)
          )
        )
      )
    )

const prepared = <A, B>(
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  method: DescMethod,
  init: Init,
  options: CallOptions | undefined,
  defaultTimeout: number,
  refuse: (error: Errors.TapeError) => A,
  go: (request: Message, call: Outgoing) => B
): A | B => {
  const invalid = (request: Message, detail: string) =>
    refuse(failure(method, request, { code: Errors.Status.InvalidArgument, detail }))
  const request = build(method.input, init)
  if (typeof request === "string") return invalid({ $typeName: method.input.typeName, ...init }, request)
  const settings = settingsOf(fiber, options, defaultTimeout)
  if (typeof settings === "string") return invalid(request, settings)
  const call: Outgoing = { ...settings, remaining: settings.timeout }
  return call.remaining > 0 ? go(request, call) : refuse(tooLate(method, request, call))
}
