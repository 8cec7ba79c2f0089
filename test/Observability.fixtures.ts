/** A tracer that keeps what it is told, and runs that have something to tell. */
import { Cause, Effect, Fiber, Layer, Option, Schema, Tracer } from "effect"
import { Connectors, Durable, Outbox, Reactors, TapeClient } from "effect-tape"
import { EffectStatus } from "effect-tape/proto"
import { ids, signal, waitingAt } from "./Durable.fixtures.js"

/** Effect's own spans, kept. */
export const collecting = () => {
  const spans: Array<Tracer.Span> = []
  const layer = Layer.unwrapEffect(
    Effect.map(Effect.tracer, (tracer) =>
      Layer.setTracer(
        Tracer.make({
          context: (run) => run(),
          span: (...args) => {
            const span = tracer.span(...args)
            spans.push(span)
            return span
          }
        })
      )
    )
  )
  const named = (name: string): ReadonlyArray<Tracer.Span> => spans.filter((span) => span.name === name)
  return { spans, layer, named }
}

/** How a span ended: `"open"`, `"well"`, or the text of its error. */
export const endOf = ({ status }: Tracer.Span): string => {
  if (status._tag === "Started") return "open"
  return status.exit._tag === "Success" ? "well" : Cause.pretty(status.exit.cause)
}

/** A run that uses what the SDK has: a decision, an inline tool, an outbox tool, a gate; told to, it undoes all of it. */
export const trips = (options: { readonly undo: Effect.Effect<unknown, string> }) => {
  const Book = Durable.tool("book", {
    input: Schema.String,
    output: Schema.String,
    run: (what) => Effect.succeed(`${what}#1`),
    statusCheck: () => Effect.succeed(Option.some("truck#1")),
    compensate: () => options.undo
  })
  const Wire = Outbox.tool("wire_money", {
    connector: "bank.wire",
    semantics: "non_idempotent",
    input: Schema.Struct({ amount: Schema.Number }),
    output: Schema.Unknown,
    businessKey: ({ amount }) => `wire:${amount}`
  })
  const app = Durable.app("trips", {
    input: Schema.String,
    tools: [Book, Wire],
    onFailure: "compensate",
    *run(what) {
      const plan = yield* Durable.decide(
        { model: "m", request: what, response: Schema.String },
        Effect.as(Effect.log("thinking"), what)
      )
      yield* Book(plan)
      yield* Wire({ amount: 100 })
      yield* Effect.log("waiting")
      const { paid } = yield* Durable.gate("ok", { resolution: Schema.Struct({ paid: Schema.Boolean }) })
      return yield* paid ? Effect.succeed("paid") : Effect.fail("not paid")
    }
  })
  return { app, Book, Wire }
}

export const bank = (dispatch: Effect.Effect<Connectors.Dispatched>) =>
  Connectors.make("bank.wire", {
    dispatch: () => dispatch,
    compensate: () => Effect.succeed({ _tag: "compensated" })
  })

/** An effect of `book` of which nobody knows whether it happened. */
export const doubtful = (invocation: string) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { runId } = yield* tape.beginRun({ appName: "trips", userId: "u", sessionId: "s", invocationId: invocation })
    const { idempotencyKey } = yield* tape.beginEffect({ runId, toolName: "book", requestJson: '"truck"' })
    yield* tape.completeEffect({ runId, idempotencyKey, status: EffectStatus.UNKNOWN })
    return runId
  })

/** A run parks at its gate and its process dies; it is paid, taken up, and fails: everything is undone. */
export const life = (world: ReturnType<typeof trips>, resolution: { readonly paid: boolean }) =>
  Effect.gen(function* () {
    const first = yield* Effect.fork(world.app.start(ids("i"), "truck"))
    const { runId } = yield* waitingAt("ok")
    yield* Fiber.interrupt(first)
    const outcomes = yield* Outbox.dispatchOnce({ tools: [world.Wire], jitter: false })
    yield* signal(runId, "ok", resolution)
    const recovered = yield* Reactors.recoverOnce({ apps: [world.app] })
    return { runId, outcomes, recovered }
  })
