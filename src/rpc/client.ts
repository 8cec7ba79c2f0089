/**
 * The transport to a tape over `@effect/rpc`.
 */
import type { DescMethod, Message } from "@bufbuild/protobuf"
import type * as Headers from "@effect/platform/Headers"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Socket from "@effect/platform/Socket"
import * as RpcClient from "@effect/rpc/RpcClient"
import { RpcClientError } from "@effect/rpc/RpcClientError"
import type { FromServerEncoded } from "@effect/rpc/RpcMessage"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { requestIdKey, requestIdVersion } from "../client/repeat.js"
import { oversize, oversizeSentence } from "../client/shape.js"
import { clientClosed, failure, type Transport, tooLate } from "../client/transport.js"
import { isTapeError, Status, type TapeError } from "../Errors.js"
import * as Frames from "./frames.js"
import { group } from "./group.js"

type Protocol = RpcClient.Protocol["Type"]

/** Over one connection, which is made anew when it is lost. */
export const webSocket = (url: string): Effect.Effect<Protocol, never, Scope.Scope | Socket.WebSocketConstructor> =>
  Effect.gen(function* () {
    const open = yield* Socket.WebSocketConstructor
    let current: Opened | undefined
    const socket = yield* Socket.fromWebSocket(
      Effect.acquireRelease(
        Effect.try({
          try: () => {
            const opened = open(url)
            // a Blob is read in its own time, and frames would come in any order
            opened.binaryType = "arraybuffer"
            current = opened
            return opened
          },
          catch: (cause) => new Socket.SocketGenericError({ reason: "Open", cause })
        }),
        (opened) => Effect.sync(() => opened.close(1000))
      )
    )
    const protocol = yield* RpcClient.makeProtocolSocket({ retrySchedule: reconnect }).pipe(
      Effect.provideService(Socket.Socket, socket),
      Effect.provideService(RpcSerialization.RpcSerialization, Frames.ofClient)
    )
    const way: Protocol = {
      ...protocol,
      send: (message, transferables) =>
        message._tag === "Request"
          ? Effect.zipRight(protocol.send(message, transferables), departed)
          : // what there is to say of a call that was lost with its connection, nobody waits for
            Effect.suspend(() => (current?.readyState === 1 ? protocol.send(message, transferables) : Effect.void))
    }
    return way
  }).pipe(Effect.withClock(live))

/** A request for each call. */
export const http = (url: string): Effect.Effect<Protocol, never, Scope.Scope | HttpClient.HttpClient> =>
  Effect.gen(function* () {
    const client = (yield* HttpClient.HttpClient).pipe(
      HttpClient.mapRequest(HttpClientRequest.prependUrl(url)),
      HttpClient.filterStatusOk,
      // it travels with the call
      HttpClient.withTracerPropagation(false)
    )
    const protocol = yield* Effect.provideService(
      RpcClient.makeProtocolHttp(client),
      RpcSerialization.RpcSerialization,
      Frames.ofClient
    )
    const waiting = new Set<string>()
    const broken = (cause?: unknown) =>
      new RpcClientError({ reason: "Protocol", message: "the answer cannot be read to its end", cause })
    return {
      ...protocol,
      run: (receive) =>
        protocol.run((message) => {
          if (message._tag === "Exit") waiting.delete(message.requestId)
          return receive(message)
        }),
      send: (message, transferables) => {
        if (message._tag !== "Request") return Effect.void
        waiting.add(message.id)
        return departed.pipe(
          Effect.zipRight(protocol.send(message, transferables)),
          Effect.catchAllDefect((cause) => Effect.fail(broken(cause))),
          Effect.zipRight(Effect.suspend(() => (waiting.has(message.id) ? Effect.fail(broken()) : Effect.void))),
          Effect.ensuring(Effect.sync(() => waiting.delete(message.id)))
        )
      }
    }
  })

/** The way to a tape that a protocol leads to. */
export const make = (
  protocol: Protocol,
  where: string,
  maxMessageBytes: number
): Effect.Effect<Transport, never, Scope.Scope> =>
  Effect.gen(function* () {
    let honoured = false
    let closed = false
    const call: Call = yield* Effect.provideService(
      RpcClient.make(group, { flatten: true, disableTracing: true }),
      RpcClient.Protocol,
      {
        ...protocol,
        run: (receive) =>
          protocol.run((message) => {
            if (!honoured) honoured = saysIdsAreHonoured(message)
            return receive(message)
          })
      }
      // by the names of the descriptor it is derived from, whose types a method found there has lost
    ) as Effect.Effect<unknown, never, Scope.Scope> as Effect.Effect<Call, never, Scope.Scope>
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        closed = true
      })
    )

    const tooLarge = (what: "request" | "response", method: DescMethod, request: Message, response?: Message) => {
      const size =
        response === undefined
          ? oversize(method.input, request, maxMessageBytes)
          : oversize(method.output, response, maxMessageBytes)
      return size === undefined
        ? undefined
        : failure(method, request, {
            code: Status.ResourceExhausted,
            detail: oversizeSentence(what, size, maxMessageBytes)
          })
    }
    const failed = (
      method: DescMethod,
      request: Message,
      { left: maybeApplied }: Departure["Type"],
      cause: Cause.Cause<TapeError | RpcClientError>
    ): TapeError => {
      const error = Option.getOrUndefined(Cause.failureOption(cause))
      if (isTapeError(error)) return error
      const fail = (code: Status, detail: string) => failure(method, request, { code, detail, maybeApplied })
      if (closed) return fail(Status.Unavailable, clientClosed.detail)
      if (Cause.isInterruptedOnly(cause)) return fail(Status.Unavailable, "the tape is shutting down")
      if (error === undefined) return fail(Status.Internal, `the tape did not understand: ${Cause.squash(cause)}`)
      const status = error.cause instanceof HttpClientError.ResponseError ? error.cause.response.status : undefined
      if (status !== undefined && status >= 400)
        return fail(byStatus[status] ?? Status.Internal, `HTTP status ${status}`)
      return fail(Status.Unavailable, maybeApplied ? "the answer was lost" : `there is no connection to ${where}`)
    }

    return {
      isClosed: () => closed,
      requestIds: () => (honoured ? "honoured" : "unknown"),

      unary: (method, request, outgoing) =>
        Effect.suspend(() => {
          const refused = tooLarge("request", method, request)
          if (refused !== undefined) return Effect.fail(refused)
          const departure = { left: false }
          const answer = (call(method.localName, request, { headers: outgoing.metadata }) as Answer).pipe(
            Effect.provideService(Departure, departure),
            Effect.catchAllCause((cause) => Effect.fail(failed(method, request, departure, cause))),
            Effect.flatMap((response) => {
              const refused = tooLarge("response", method, request, response)
              return refused === undefined ? Effect.succeed(response) : Effect.fail(refused)
            })
          )
          const late = () => tooLate(method, request, outgoing)
          return Number.isFinite(outgoing.remaining)
            ? Effect.timeoutFail(answer, { duration: outgoing.remaining, onTimeout: late })
            : answer
        }).pipe(Effect.withClock(live)),

      stream: (method, request, outgoing) =>
        Stream.suspend(() => {
          const refused = tooLarge("request", method, request)
          if (refused !== undefined) return Stream.fail(refused)
          const departure = { left: false }
          const options = { headers: outgoing.metadata, streamBufferSize }
          const answers = (call(method.localName, request, options) as Answers).pipe(
            Stream.provideService(Departure, departure),
            Stream.catchAllCause((cause) => Stream.fail(failed(method, request, departure, cause))),
            Stream.mapChunksEffect((responses) => {
              for (const response of responses) {
                const refused = tooLarge("response", method, request, response)
                if (refused !== undefined) return Effect.fail(refused)
              }
              return Effect.succeed(responses)
            })
          )
          if (!Number.isFinite(outgoing.remaining)) return answers
          const late = Effect.suspend(() => Effect.fail(tooLate(method, request, outgoing)))
          return Stream.interruptWhen(answers, Effect.withClock(Effect.delay(late, outgoing.remaining), live))
        })
    }
  })

// ---- internal ----

type Answer = Effect.Effect<Message, TapeError | RpcClientError>
type Answers = Stream.Stream<Message, TapeError | RpcClientError>
type Call = (
  tag: string,
  payload: Message,
  options: { readonly headers: Headers.Input; readonly streamBufferSize?: number }
) => Answer | Answers

// a `WebSocket`, as far as it matters here: its type belongs to the DOM
interface Opened {
  readonly readyState: number
}

/** Whether a call has left: one that has not was certainly not applied. */
class Departure extends Context.Tag("effect-tape/rpc/Departure")<Departure, { left: boolean }>() {}

const departed: Effect.Effect<void> = Effect.map(Effect.serviceOption(Departure), (departure) => {
  if (Option.isSome(departure)) departure.value.left = true
})

// deadlines and the waits of a lost connection are real time, whatever the fiber's clock says
const live = Clock.make()

const reconnect = Schedule.exponential("100 millis").pipe(
  Schedule.union(Schedule.spaced("1 second")),
  Schedule.jittered,
  // a connection that held begins anew
  Schedule.resetAfter("5 seconds")
)

// as many as the server puts into one piece
const streamBufferSize = 64

const saysIdsAreHonoured = (message: FromServerEncoded): boolean => {
  const metadata: unknown = Reflect.get(message, "responseMetadata")
  return typeof metadata === "object" && metadata !== null && Reflect.get(metadata, requestIdKey) === requestIdVersion
}

// what proxies answer, as gRPC reads it; 403 is also the tape's answer to a page of a strange origin
const byStatus: { readonly [status: number]: Status } = {
  401: Status.Unauthenticated,
  403: Status.PermissionDenied,
  404: Status.Unimplemented,
  413: Status.ResourceExhausted,
  429: Status.Unavailable,
  502: Status.Unavailable,
  503: Status.Unavailable,
  504: Status.Unavailable
}
