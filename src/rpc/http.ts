/**
 * The protocol of `@effect/rpc` over plain HTTP: one call a request, its answers as they come. (That of `@effect/rpc`
 * keeps all that a slow reader has not yet taken; this one waits for it.)
 */
import * as HttpIncomingMessage from "@effect/platform/HttpIncomingMessage"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { constEof, type FromClientEncoded } from "@effect/rpc/RpcMessage"
import type * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"

export const make = ({ contentType, unsafeMake }: RpcSerialization.RpcSerialization["Type"], limit: number) =>
  Effect.gen(function* () {
    const disconnects = yield* Mailbox.make<number>()
    const callers = new Map<number, Mailbox.Mailbox<Uint8Array>>()
    let receive = (_: number, _message: FromClientEncoded): Effect.Effect<void> => Effect.void
    let last = 0

    const protocol = yield* RpcServer.Protocol.make((write) => {
      receive = write
      const { encode } = unsafeMake()
      return Effect.succeed({
        disconnects,
        send: (id, response) => {
          const encoded = encode(response)
          return encoded instanceof Uint8Array ? (callers.get(id)?.offer(encoded) ?? Effect.void) : Effect.void
        },
        end: (id) => callers.get(id)?.end ?? Effect.void,
        clientIds: Effect.sync(() => new Set(callers.keys())),
        initialMessage: Effect.succeedNone,
        supportsAck: false,
        supportsTransferables: false,
        supportsSpanPropagation: false
      })
    })

    const read = (body: ArrayBuffer): Either.Either<FromClientEncoded & { readonly _tag: "Request" }, string> =>
      Either.flatMap(
        Either.try({
          // the parser has checked that they are messages of a client
          try: () => unsafeMake().decode(new Uint8Array(body)) as ReadonlyArray<FromClientEncoded>,
          catch: String
        }),
        ([message, ...more]) =>
          message?._tag === "Request" && more.length === 0 ? Either.right(message) : Either.left("not one request")
      )

    const app = Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      if (request.headers["content-type"] !== contentType) {
        return HttpServerResponse.text(`${contentType} is expected`, { status: 415 })
      }
      if (Number(request.headers["content-length"] ?? 0) > limit) return tooLarge(limit)
      const body = yield* Effect.option(HttpIncomingMessage.withMaxBodySize(request.arrayBuffer, Option.some(limit)))
      if (Option.isNone(body)) return tooLarge(limit)
      const call = read(body.value)
      if (Either.isLeft(call)) return HttpServerResponse.text(call.left, { status: 400 })

      const id = last++
      const answers = yield* Mailbox.make<Uint8Array>(answersAhead)
      callers.set(id, answers)
      yield* Effect.addFinalizer(() => {
        callers.delete(id)
        // lets go of whoever waits to put another answer in
        return Effect.zipRight(answers.shutdown, disconnects.offer(id))
      })
      const headers = [...Object.entries(request.headers), ...call.right.headers]
      yield* receive(id, { ...call.right, headers })
      yield* receive(id, constEof)
      return HttpServerResponse.stream(Mailbox.toStream(answers), { contentType })
    })

    return { app: Effect.interruptible(app), protocol }
  })

// ---- internal ----

// how many answers wait for a slow reader
const answersAhead = 4

const tooLarge = (limit: number) => HttpServerResponse.text(`at most ${limit} bytes`, { status: 413 })
