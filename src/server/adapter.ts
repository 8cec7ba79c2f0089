/**
 * Handlers as an implementation that grpc-js can serve.
 */
import type { DescMethod, DescService, Message } from "@bufbuild/protobuf"
import { fromBinary, toBinary } from "@bufbuild/protobuf"
import * as Grpc from "@grpc/grpc-js"
import type * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import { oversizeSentence } from "../client/shape.js"
import { type Call, type Handlers, Refusal, refusalOf } from "../Handlers.js"

interface AdapterOptions {
  readonly maxMessageBytes: number
  readonly maxStreamsPerConnection: number
  readonly responseMetadata: { readonly [key: string]: string }
}

export interface Adapter {
  readonly definition: Grpc.ServiceDefinition
  readonly implementation: Grpc.UntypedServiceImplementation
  /** Interrupts the open streams and lets no call in any more. */
  readonly endStreams: Effect.Effect<void>
  /** Interrupts the calls that are still being answered. */
  readonly endCalls: Effect.Effect<void>
}

export const make = <S extends DescService>(
  service: S,
  handlers: Handlers<S>,
  options: AdapterOptions,
  runtime: Runtime.Runtime<never>
): Adapter => {
  const definition: { [name: string]: Grpc.MethodDefinition<Buffer, Buffer> } = {}
  const implementation: { [name: string]: Grpc.UntypedHandleCall } = {}
  const house: House = {
    run: Runtime.runFork(runtime),
    calls: new Set(),
    streams: new Set(),
    openByPeer: new Map(),
    closing: false,
    options,
    metadata: Object.keys(options.responseMetadata).length === 0 ? undefined : metadata(options.responseMetadata)
  }
  for (const method of service.methods) {
    // found by walking the descriptor that `Handlers<S>` is mapped from
    const handler: unknown = handlers[method.localName as keyof Handlers<S>]
    const responseStream = method.methodKind === "server_streaming"
    definition[method.name] = {
      path: `/${service.typeName}/${method.name}`,
      requestStream: false,
      responseStream,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs
    }
    implementation[method.name] = responseStream
      ? streaming(house, method, handler as StreamHandler)
      : unary(house, method, handler as UnaryHandler)
  }
  return {
    definition,
    implementation,
    endStreams: Effect.sync(() => {
      house.closing = true
      interruptAll(house.streams)
    }),
    endCalls: Effect.sync(() => interruptAll(house.calls))
  }
}

// ---- internal ----

type UnaryHandler = (request: Message, call: Call) => Effect.Effect<Message, Refusal>
type StreamHandler = (request: Message, call: Call) => Stream.Stream<Message, Refusal>
type Fibers = Set<Fiber.RuntimeFiber<unknown, unknown>>

interface House {
  readonly run: <A, E>(effect: Effect.Effect<A, E>) => Fiber.RuntimeFiber<A, E>
  readonly calls: Fibers
  readonly streams: Fibers
  readonly openByPeer: Map<string, number>
  readonly options: AdapterOptions
  readonly metadata: Grpc.Metadata | undefined
  closing: boolean
}

const unary =
  (house: House, method: DescMethod, handler: UnaryHandler): Grpc.handleUnaryCall<Buffer, Buffer> =>
  (call, callback) => {
    const { maxMessageBytes } = house.options
    let cancelled = false
    const refuse = (refusal: Refusal) => {
      if (!cancelled) callback(statusOf(refusal))
    }
    if (house.closing) return refuse(shuttingDown)
    const request = decode(method, call.request)
    if (request instanceof Refusal) return refuse(request)
    const fiber = house.run(
      Effect.flatMap(
        Effect.suspend(() => handler(request, callOf(call.metadata))),
        (message) => {
          const bytes = encode(method, message, maxMessageBytes)
          return bytes instanceof Refusal ? Effect.fail(bytes) : Effect.succeed(bytes)
        }
      )
    )
    house.calls.add(fiber)
    call.on("cancelled", () => {
      cancelled = true
      fiber.unsafeInterruptAsFork(FiberId.none)
    })
    fiber.addObserver((exit) => {
      house.calls.delete(fiber)
      if (cancelled) return
      if (Exit.isFailure(exit)) return told(house, method, exit.cause, refuse)
      if (house.metadata !== undefined) call.sendMetadata(house.metadata.clone())
      callback(null, exit.value)
    })
  }

const streaming =
  (house: House, method: DescMethod, handler: StreamHandler): Grpc.handleServerStreamingCall<Buffer, Buffer> =>
  (call) => {
    const { maxStreamsPerConnection: limit } = house.options
    let cancelled = false
    // grpc-js ends the call with this status, after what was written
    const refuse = (refusal: Refusal) => {
      if (!cancelled) call.emit("error", statusOf(refusal))
    }
    const peer = call.getPeer()
    const open = house.openByPeer.get(peer) ?? 0
    if (house.closing) return refuse(shuttingDown)
    if (open >= limit) return refuse(Refusal.exhausted(`at most ${limit} streams may be open on one connection`))
    const request = decode(method, call.request)
    if (request instanceof Refusal) return refuse(request)

    house.openByPeer.set(peer, open + 1)
    // the headers go out at once: the reader of an idle stream learns that it is open
    call.sendMetadata(house.metadata?.clone() ?? new Grpc.Metadata())
    const fiber = house.run(
      Stream.runForEachChunk(
        Stream.suspend(() => handler(request, callOf(call.metadata))),
        (chunk) => write(house, method, call, chunk, 0)
      )
    )
    house.streams.add(fiber)
    call.on("cancelled", () => {
      cancelled = true
      fiber.unsafeInterruptAsFork(FiberId.none)
    })
    fiber.addObserver((exit) => {
      house.streams.delete(fiber)
      const left = (house.openByPeer.get(peer) ?? 1) - 1
      if (left === 0) house.openByPeer.delete(peer)
      else house.openByPeer.set(peer, left)
      if (cancelled) return
      if (Exit.isSuccess(exit)) call.end()
      else told(house, method, exit.cause, refuse)
    })
  }

/** Writes the messages from `index` on; waits wherever the call's buffer is full. */
const write = (
  house: House,
  method: DescMethod,
  call: Grpc.ServerWritableStream<Buffer, Buffer>,
  messages: Chunk.Chunk<Message>,
  index: number
): Effect.Effect<void, Refusal> =>
  Effect.suspend(() => {
    for (let i = index; i < messages.length; i++) {
      const bytes = encode(method, Chunk.unsafeGet(messages, i), house.options.maxMessageBytes)
      if (bytes instanceof Refusal) return Effect.fail(bytes)
      if (!call.write(bytes)) return Effect.zipRight(drained(call), write(house, method, call, messages, i + 1))
    }
    return Effect.void
  })

const drained = (call: Grpc.ServerWritableStream<Buffer, Buffer>): Effect.Effect<void> =>
  Effect.async((resume) => {
    const go = () => resume(Effect.void)
    call.once("drain", go)
    return Effect.sync(() => call.off("drain", go))
  })

/** What the caller is told of a failure; a defect is logged with its cause here and told without it. */
const told = (
  house: House,
  method: DescMethod,
  cause: Cause.Cause<Refusal>,
  refuse: (refusal: Refusal) => void
): void => {
  house.run(Effect.map(refusalOf(cause, method.name), refuse))
}

const shuttingDown = Refusal.unavailable("the tape is shutting down")

const statusOf = ({ code, detail }: Refusal): Partial<Grpc.StatusObject> => ({ code, details: detail })

const interruptAll = (fibers: Fibers): void => {
  for (const fiber of fibers) fiber.unsafeInterruptAsFork(FiberId.none)
}

const asIs = (bytes: Buffer): Buffer => bytes

const decode = (method: DescMethod, bytes: Buffer): Message | Refusal => {
  try {
    return fromBinary(method.input, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  } catch (cause) {
    return Refusal.invalid(`the request is not a ${method.input.name}: ${String(cause)}`)
  }
}

const encode = (method: DescMethod, message: Message, maxMessageBytes: number): Buffer | Refusal => {
  const bytes = toBinary(method.output, message)
  return bytes.length > maxMessageBytes
    ? Refusal.exhausted(oversizeSentence("response", bytes.length, maxMessageBytes))
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

const callOf = (metadata: Grpc.Metadata): Call => {
  const text: { [key: string]: string } = {}
  for (const [key, value] of Object.entries(metadata.getMap())) {
    if (typeof value === "string") text[key] = value
  }
  return { metadata: text }
}

const metadata = (entries: { readonly [key: string]: string }): Grpc.Metadata => {
  const made = new Grpc.Metadata()
  for (const [key, value] of Object.entries(entries)) made.set(key, value)
  return made
}
