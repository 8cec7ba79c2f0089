/**
 * The transport to handlers in the same process: no bytes, and yet the same answers and errors as over the wire.
 */
import type { DescMethodServerStreaming, DescMethodUnary, DescService, Message } from "@bufbuild/protobuf"
import type * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import * as Errors from "../Errors.js"
import { type Call, type Handlers, type Refusal, refusalOf } from "../Handlers.js"
import { oversize, oversizeSentence, shapeOf } from "./shape.js"
import { after } from "./timer.js"
import { failure, type Transport, tooLate } from "./transport.js"

export const make = <S extends DescService>(handlers: Handlers<S>, maxMessageBytes: number): Transport => {
  const tooLarge = (method: DescMethodUnary | DescMethodServerStreaming, request: Message, response?: Message) => {
    const size = response
      ? oversize(method.output, response, maxMessageBytes)
      : oversize(method.input, request, maxMessageBytes)
    return size === undefined
      ? undefined
      : failure(method, request, {
          code: Errors.Status.ResourceExhausted,
          detail: oversizeSentence(response ? "response" : "request", size, maxMessageBytes)
        })
  }

  return {
    requestIds: () => "none",
    isClosed: () => false,

    unary: (method, request, call) => {
      const handle = unaryHandler(handlers, method)
      const shape = shapeOf(method.output)
      return Effect.suspend(() => {
        const refused = tooLarge(method, request)
        if (refused !== undefined) return Effect.fail(refused)
        return within(
          call.remaining,
          Effect.suspend(() => handle(request, call)),
          (exit) => {
            if (Exit.isFailure(exit)) return refusedBy(method, request, exit.cause)
            const refused = tooLarge(method, request, exit.value)
            return refused === undefined ? Effect.succeed(shape.copy(exit.value)) : Effect.fail(refused)
          },
          () => tooLate(method, request, call)
        )
      })
    },

    stream: (method, request, call) => {
      const handle = streamHandler(handlers, method)
      const shape = shapeOf(method.output)
      const refused = tooLarge(method, request)
      if (refused !== undefined) return Stream.fail(refused)
      const answers = Stream.suspend(() => handle(request, call)).pipe(
        Stream.catchAllCause((cause) => Stream.fromEffect(refusedBy(method, request, cause, true))),
        Stream.mapChunksEffect((messages) => {
          for (const message of messages) {
            const refused = tooLarge(method, request, message)
            if (refused !== undefined) return Effect.fail(refused)
          }
          return Effect.succeed(Chunk.map(messages, shape.copy))
        })
      )
      if (!Number.isFinite(call.remaining)) return answers
      const deadline = Effect.async<never, Errors.TapeError>((resume) =>
        Effect.sync(after(call.remaining, () => resume(Effect.fail(tooLate(method, request, call)))))
      )
      return Stream.interruptWhen(answers, deadline)
    }
  }
}

// ---- internal ----

type Unary = (request: Message, call: Call) => Effect.Effect<Message, Refusal>
type Streaming = (request: Message, call: Call) => Stream.Stream<Message, Refusal>

// `Handlers<S>` has a function of the method's own types under the method's name: the mapped type says so, but a
// method found by walking the descriptor has lost its name's type
const unaryHandler = <S extends DescService>(handlers: Handlers<S>, method: DescMethodUnary): Unary =>
  handlers[method.localName as keyof Handlers<S>] as unknown as Unary

const streamHandler = <S extends DescService>(handlers: Handlers<S>, method: DescMethodServerStreaming): Streaming =>
  handlers[method.localName as keyof Handlers<S>] as unknown as Streaming

const refusedBy = (
  method: DescMethodUnary | DescMethodServerStreaming,
  request: Message,
  cause: Cause.Cause<Refusal>,
  lost = false
): Effect.Effect<never, Errors.TapeError> =>
  Effect.flatMap(refusalOf(cause, method.name), ({ code, detail }) =>
    Effect.fail(
      failure(method, request, {
        code: lost && code === Errors.Status.Cancelled ? Errors.Status.Unavailable : code,
        detail
      })
    )
  )

/**
 * Runs the handler in a fiber of its own, so that it can be left behind when its time is over. (Cheaper than
 * `Effect.timeout`, which races two fibers, and needs no timer where the handler answers at once.) The deadline is real
 * time, as over the wire: a test that moves its clock by days must not fail the calls under way.
 */
const within = <A, B, E>(
  millis: number,
  handler: Effect.Effect<A, Refusal>,
  done: (exit: Exit.Exit<A, Refusal>) => Effect.Effect<B, E>,
  late: () => E
): Effect.Effect<B, E> =>
  Effect.withFiberRuntime((caller) => {
    if (!Number.isFinite(millis)) return Effect.flatMap(Effect.exit(handler), done)
    const runtime = Runtime.make({
      context: caller.currentContext,
      fiberRefs: caller.getFiberRefs(),
      runtimeFlags: Runtime.defaultRuntimeFlags
    })
    const fiber = Runtime.runFork(runtime, handler)
    const exit = fiber.unsafePoll()
    return exit === null ? waitFor(fiber, millis, done, late) : done(exit)
  })

const waitFor = <A, B, E>(
  fiber: Fiber.RuntimeFiber<A, Refusal>,
  millis: number,
  done: (exit: Exit.Exit<A, Refusal>) => Effect.Effect<B, E>,
  late: () => E
): Effect.Effect<B, E> =>
  Effect.async((resume) => {
    const cancel = after(millis, () => {
      resume(Effect.fail(late()))
      fiber.unsafeInterruptAsFork(FiberId.none)
    })
    fiber.addObserver((exit) => {
      cancel()
      resume(done(exit))
    })
    return Effect.suspend(() => {
      cancel()
      return Effect.asVoid(Fiber.interrupt(fiber))
    })
  })
