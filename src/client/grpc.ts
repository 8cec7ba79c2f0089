/**
 * The transport to a tape over gRPC.
 */
import {
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  fromBinary,
  type Message,
  toBinary
} from "@bufbuild/protobuf"
import * as Grpc from "@grpc/grpc-js"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { GrpcOptions } from "../Client.js"
import * as Errors from "../Errors.js"
import { withoutPassword } from "../internal/withoutPassword.js"
import { type Cancellable, read } from "./grpcStream.js"
import { requestIdKey, requestIdVersion } from "./repeat.js"
import { oversizeSentence } from "./shape.js"
import * as Token from "./token.js"
import { clientClosed, failure, type Outgoing, type Transport, tooLateSentence } from "./transport.js"
import { InvalidUrl, parseUrl } from "./url.js"

export const make = (
  options: GrpcOptions,
  maxMessageBytes: number
): Effect.Effect<Transport, InvalidUrl, Scope.Scope> =>
  Effect.gen(function* () {
    let honoured = false
    let closed = false
    const underWay = new Set<Cancellable>()
    const client = yield* Effect.acquireRelease(connect(options, maxMessageBytes), (client) =>
      Effect.sync(() => {
        closed = true
        for (const stream of underWay) stream.cancel()
        client.close()
      })
    )
    const bearer =
      options.token === undefined ? undefined : yield* Token.make(options.token, options.tokenTtl ?? "5 minutes")

    const unary = (method: DescMethodUnary, request: Message, call: Outgoing, authorization: string | undefined) =>
      Effect.async<Message, Errors.TapeError>((resume) => {
        const failed = (error: unknown) => resume(Effect.fail(failureOf(method, request, call, error)))
        try {
          const bytes = encode(method, request, maxMessageBytes)
          const sent = client.makeUnaryRequest(
            pathOf(method),
            asIs,
            decoder(method),
            bytes,
            metadataOf(call, authorization),
            deadlineOf(call),
            (error, message) => (message === undefined ? failed(error) : resume(Effect.succeed(message)))
          )
          sent.on("metadata", (metadata) => {
            honoured = metadata.get(requestIdKey).includes(requestIdVersion)
          })
          return Effect.sync(() => sent.cancel())
        } catch (cause) {
          failed(cause)
          return Effect.void
        }
      })

    const stream = (
      method: DescMethodServerStreaming,
      request: Message,
      call: Outgoing,
      authorization: string | undefined
    ) =>
      read(
        () =>
          client.makeServerStreamRequest(
            pathOf(method),
            asIs,
            decoder(method),
            encode(method, request, maxMessageBytes),
            metadataOf(call, authorization),
            deadlineOf(call)
          ),
        (error) => failureOf(method, request, call, error, true),
        underWay
      )

    const authorized = (method: DescMethod, request: Message, bearer: Token.Bearer) =>
      Effect.mapError(bearer.header, (reason) => failure(method, request, reason))
    const refused = (bearer: Token.Bearer) => (error: Errors.TapeError) =>
      error._tag === "Unauthenticated" ? bearer.refused : Effect.void

    const state: Pick<Transport, "isClosed" | "requestIds"> = {
      isClosed: () => closed,
      requestIds: () => (honoured ? "honoured" : "unknown")
    }
    if (bearer === undefined) {
      return {
        ...state,
        unary: (method, request, call) => unary(method, request, call, undefined),
        stream: (method, request, call) => stream(method, request, call, undefined)
      }
    }
    return {
      ...state,
      unary: (method, request, call) =>
        Effect.flatMap(authorized(method, request, bearer), (header) => unary(method, request, call, header)).pipe(
          Effect.tapError(refused(bearer))
        ),
      stream: (method, request, call) =>
        Stream.unwrap(
          Effect.map(authorized(method, request, bearer), (header) => stream(method, request, call, header))
        ).pipe(Stream.tapError(refused(bearer)))
    }
  })

// ---- internal ----

const connect = (options: GrpcOptions, maxMessageBytes: number): Effect.Effect<Grpc.Client, InvalidUrl> =>
  Effect.gen(function* () {
    const { tls } = options
    const url = yield* parseUrl(options.url)
    const wrong = (reason: InvalidUrl["reason"], detail: string) =>
      new InvalidUrl({ reason, url: withoutPassword(options.url), detail })
    if (url._tag === "Embedded") {
      return yield* wrong("NotRemote", "it names a store for an embedded engine, and a server is needed")
    }
    if (!url.tls && options.token !== undefined) {
      return yield* wrong("TokenOnPlaintext", "a token must not travel unencrypted, use tapes:// for it")
    }
    if (!url.tls && tls !== undefined) return yield* wrong("Tls", "TLS options need a tapes:// URL")
    const credentials = yield* Effect.try({
      try: () =>
        url.tls
          ? Grpc.credentials.createSsl(
              pem(tls?.ca),
              tls?.key === undefined ? null : pem(Redacted.value(tls.key)),
              pem(tls?.certificate)
            )
          : Grpc.credentials.createInsecure(),
      catch: (cause) => wrong("Tls", `the certificates cannot be used: ${String(cause)}`)
    })
    const silence = Duration.toMillis(options.keepalive ?? "1 minute")
    return new Grpc.Client(url.target, credentials, {
      "grpc.max_send_message_length": maxMessageBytes,
      "grpc.max_receive_message_length": maxMessageBytes,
      "grpc.keepalive_time_ms": silence,
      "grpc.keepalive_timeout_ms": Math.min(silence, 20_000),
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 500,
      // one connection per client, closed with it: grpc-js would share it among all of the process
      "grpc.use_local_subchannel_pool": 1,
      // retries are the client's own business, and channelz costs 5 % of a call
      "grpc.enable_retries": 0,
      "grpc.enable_channelz": 0,
      // a proxy for the way to one's own machine or network would be a surprise
      "grpc.enable_http_proxy": url.tls ? 1 : 0
    })
  })

const pem = (text: string | Uint8Array | undefined): Buffer | null => (text === undefined ? null : Buffer.from(text))

const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`

const asIs = (bytes: Buffer): Buffer => bytes

// grpc-js wants a Buffer; this one is a view, not a copy
const encode = (method: DescMethod, request: Message, maxMessageBytes: number): Buffer => {
  const bytes = toBinary(method.input, request)
  if (bytes.length > maxMessageBytes) throw new TooLarge(oversizeSentence("request", bytes.length, maxMessageBytes))
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

class TooLarge extends Error {}

// a plain Uint8Array: of a Buffer, protobuf-es would make `bytes` fields that are Buffers
const decoder =
  (method: DescMethod) =>
  (bytes: Buffer): Message =>
    fromBinary(method.output, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))

const metadataOf = (call: Outgoing, authorization: string | undefined): Grpc.Metadata => {
  const metadata = new Grpc.Metadata()
  for (const key in call.metadata) metadata.set(key, call.metadata[key] ?? "")
  if (authorization !== undefined) metadata.set("authorization", authorization)
  return metadata
}

const deadlineOf = (call: Outgoing): Grpc.CallOptions =>
  Number.isFinite(call.remaining) ? { deadline: Date.now() + call.remaining } : {}

const failureOf = (
  method: DescMethod,
  request: Message,
  call: Outgoing,
  error: unknown,
  streams = false
): Errors.TapeError => {
  if (error instanceof TooLarge) {
    return failure(method, request, { code: Errors.Status.ResourceExhausted, detail: error.message })
  }
  if (!isStatus(error)) {
    // the only thing that grpc-js throws by itself: the channel is closed
    return failure(method, request, clientClosed)
  }
  const { code } = error
  // grpc-js leaves a heading with nothing under it
  const detail = error.details.replace(/\.? Resolution note: $/, "")
  switch (code) {
    case Errors.Status.DeadlineExceeded:
      return detail.startsWith("Deadline exceeded")
        ? failure(method, request, { code, detail: tooLateSentence(call.timeout) })
        : failure(method, request, { code, detail })
    case Errors.Status.Cancelled:
      // not by us: we are no longer listening then. The server went away without a word
      return streams || detail === "Call cancelled"
        ? failure(method, request, {
            code: Errors.Status.Unavailable,
            detail: streams && detail !== "Call cancelled" ? detail : "the connection was lost"
          })
        : failure(method, request, { code, detail })
    case Errors.Status.Unavailable:
      return failure(method, request, { code, detail, maybeApplied: !neverLeft.test(detail) })
    default:
      return failure(method, request, { code, detail })
  }
}

// how grpc-js says that it had no connection to send the call on
const neverLeft = /^No connection established|^Stream refused by server|^Name resolution failed/

const isStatus = (error: unknown): error is { readonly code: number; readonly details: string } =>
  typeof error === "object" &&
  error !== null &&
  "code" in error &&
  typeof error.code === "number" &&
  "details" in error &&
  typeof error.details === "string"
