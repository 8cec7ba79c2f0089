/**
 * Handlers of the tape as those of the group.
 */
import type { DescMethod, DescMethodServerStreaming, DescMethodUnary, DescService, Message } from "@bufbuild/protobuf"
import type * as Headers from "@effect/platform/Headers"
import type * as RpcGroup from "@effect/rpc/RpcGroup"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as inProcess from "../client/inProcess.js"
import { defaultMaxMessageBytes } from "../client/service.js"
import { shapeOf } from "../client/shape.js"
import { failure, type Outgoing, type Transport } from "../client/transport.js"
import { Status, type TapeError } from "../Errors.js"
import { Tape } from "../gen/tape/v1/tape_pb.js"
import type { Handlers } from "../Handlers.js"
import type { RpcsOf } from "./group.js"
import type { HandlersOptions } from "./Rpc.js"

/** Sizes, refusals, defects: all that the way to handlers in one's own process makes of them. */
export const make = (handlers: Handlers<typeof Tape>, options: HandlersOptions): RpcGroup.HandlersFrom<TapeRpcs> => {
  const transport = inProcess.make(handlers, options.maxMessageBytes ?? defaultMaxMessageBytes)
  const limit = options.maxStreamsPerConnection ?? 1024
  const open = new Map<number, number>()
  const made: { [name: string]: unknown } = {}
  const service: DescService = Tape
  for (const method of service.methods) {
    if (isUnary(method)) {
      made[method.localName] = (request: Message, { headers }: Caller) =>
        transport.unary(method, request, callOf(headers))
    }
    if (isStreaming(method)) {
      made[method.localName] = (request: Message, { clientId, headers }: Caller) =>
        limited(open, clientId, limit, method, request, answers(transport, method, request, callOf(headers)))
    }
  }
  // each was made from the descriptor that the group's type is mapped from
  return made as RpcGroup.HandlersFrom<TapeRpcs>
}

// ---- internal ----

type TapeRpcs = RpcsOf<typeof Tape>

interface Caller {
  readonly clientId: number
  readonly headers: Headers.Headers
}

const isUnary = (method: DescMethod): method is DescMethodUnary => method.methodKind === "unary"
const isStreaming = (method: DescMethod): method is DescMethodServerStreaming =>
  method.methodKind === "server_streaming"

// the caller keeps the time, and says when it is over
const callOf = (metadata: Headers.Headers): Outgoing => ({
  metadata,
  timeout: Number.POSITIVE_INFINITY,
  remaining: Number.POSITIVE_INFINITY
})

/** The answers in pieces that fit into a frame, whatever chunks the handler makes. */
const answers = (transport: Transport, method: DescMethodServerStreaming, request: Message, call: Outgoing) => {
  const { bound } = shapeOf(method.output)
  return transport.stream(method, request, call).pipe(
    Stream.chunks,
    Stream.mapConcat((messages) => pieces(messages, bound)),
    Stream.flattenChunks
  )
}

const pieceBytes = 1024 * 1024
const pieceLength = 64

const pieces = (messages: Chunk.Chunk<Message>, bound: (message: Message) => number) => {
  const made: Array<Chunk.Chunk<Message>> = []
  let from = 0
  let bytes = 0
  for (let i = 0; i < messages.length; i++) {
    const size = bound(Chunk.unsafeGet(messages, i))
    if (i > from && (bytes + size > pieceBytes || i - from === pieceLength)) {
      made.push(messages.pipe(Chunk.drop(from), Chunk.take(i - from)))
      from = i
      bytes = 0
    }
    bytes += size
  }
  return made.length === 0 ? [messages] : [...made, Chunk.drop(messages, from)]
}

const limited = (
  open: Map<number, number>,
  clientId: number,
  limit: number,
  method: DescMethod,
  request: Message,
  answers: Stream.Stream<Message, TapeError>
): Stream.Stream<Message, TapeError> =>
  Stream.unwrapScoped(
    Effect.suspend(() => {
      const before = open.get(clientId) ?? 0
      if (before >= limit) {
        const detail = `at most ${limit} streams may be open on one connection`
        return Effect.fail(failure(method, request, { code: Status.ResourceExhausted, detail }))
      }
      open.set(clientId, before + 1)
      const close = Effect.sync(() => {
        const left = (open.get(clientId) ?? 1) - 1
        if (left === 0) open.delete(clientId)
        else open.set(clientId, left)
      })
      return Effect.as(
        Effect.addFinalizer(() => close),
        answers
      )
    })
  )
