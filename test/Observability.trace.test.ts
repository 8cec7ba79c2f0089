/** W3C trace context, from a program's span to whatever comes of it. */
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option, Stream, type Tracer } from "effect"
import { Client, Connectors, Handlers, Reactions, Sinks, TapeClient } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { GrpcServer } from "effect-tape/server"
import { fakeTape } from "./client/fake.js"
import { Tape } from "./Durable.fixtures.js"
import { eventually } from "./engine/ledgerFixtures.js"
import { collecting, life, trips } from "./Observability.fixtures.js"

const inProcess = Tape
const overGrpc = Layer.unwrapScoped(
  Effect.map(GrpcServer.make({ listen: "127.0.0.1:0", handlers: Engine.Engine }), ({ url }) =>
    Client.layerGrpc({ url })
  )
).pipe(Layer.provide(Engine.layerUrl("memory:")))

describe("trace context", () => {
  for (const [way, tape] of [["in process", inProcess] as const, ["over gRPC", overGrpc] as const]) {
    for (const tracer of ["a tracer", "none"] as const) {
      it.live(
        `RCT-26: one trace from a program's span to the entry, the task, its handler and what that calls (${way}, ${tracer})`,
        () => {
          const { layer, spans } = collecting()
          return Effect.gen(function* () {
            const tape = yield* TapeClient
            const first = (subjectPattern: string) =>
              Effect.flatten(Stream.runHead(tape.subscribeBySubject({ subjectPattern })))
            const handled: Array<Tracer.Span> = []
            const reaction = Reactions.on("answer", {
              pattern: "/tape/effect/pending/**",
              run: () =>
                Effect.gen(function* () {
                  handled.push(yield* Effect.currentSpan)
                  yield* tape.beginRun({ appName: "answer", invocationId: "i" })
                })
            })
            yield* Reactions.register([reaction], { app: "a" })
            const { runId } = yield* tape.beginRun({ appName: "a", invocationId: "i" })
            const begin = tape.beginEffect({ runId, toolName: "t" })
            const outer = yield* Effect.withSpan(Effect.zipRight(begin, Effect.currentSpan), "mine")
            const entry = yield* first("/tape/effect/pending/**")
            const isTraced = tracer === "a tracer"
            const call = spans.find(({ name }) => name === "tape.begin_effect")
            assert.strictEqual(entry.traceId, outer.traceId)
            assert.strictEqual(entry.spanId, isTraced ? call?.spanId : outer.spanId)
            assert.strictEqual(entry.parentSpanId, isTraced ? outer.spanId : "")

            const id = Reactions.idOf("a", "answer")
            const [task] = yield* eventually(
              Effect.map(tape.listTasks({ reactionId: id }), ({ tasks }) => tasks),
              (tasks) => tasks.length > 0
            )
            assert.deepStrictEqual([task?.traceId, task?.parentSpanId], [entry.traceId, entry.spanId])

            const outcomes = yield* Reactions.dispatchOnce([reaction], { app: "a", owner: "o" })
            assert.deepStrictEqual(
              outcomes.map(({ _tag }) => _tag),
              ["done"]
            )
            const [span] = handled
            assert.strictEqual(span?.name, "tape.task")
            assert.strictEqual(span?.traceId, outer.traceId)
            assert.strictEqual(Option.getOrUndefined(span?.parent ?? Option.none())?.spanId, entry.spanId)
            const next = yield* first("/tape/run/running/answer/**")
            assert.strictEqual(next.traceId, outer.traceId)
            assert.strictEqual(isTraced ? next.parentSpanId : next.spanId, span?.spanId)
          }).pipe(Effect.scoped, Effect.provide(Layer.merge(isTracedBy(tracer, layer), tape)))
        }
      )
    }
  }

  it.effect("what a call says of its trace itself goes before; what is no trace is not told", () => {
    const seen: Array<{ readonly [key: string]: string }> = []
    const tape = Client.fromHandlers(
      fakeTape({
        getRun: (_, { metadata }) => {
          seen.push(metadata)
          return Effect.fail(Handlers.Refusal.unimplemented("not here"))
        }
      })
    )
    const call = Effect.ignore(tape.getRun({ runId: "r" }))
    const own = `00-${"a".repeat(32)}-${"b".repeat(16)}-00`
    return Effect.gen(function* () {
      const span = yield* Effect.withSpan(Effect.zipRight(call, Effect.currentSpan), "mine")
      const said = Client.withMetadata(call, { Traceparent: own, tracestate: "v=1" })
      yield* said.pipe(Effect.withSpan("mine"), Effect.withSpan("outer"))
      yield* call.pipe(Effect.withSpan("not seen"), Effect.withTracerEnabled(false))
      yield* Effect.withParentSpan(call, { ...span, traceId: "odd" })
      const inner = yield* call.pipe(
        Effect.withSpan("not seen"),
        Effect.withTracerEnabled(false),
        Effect.zipRight(Effect.currentSpan),
        Effect.withSpan("seen")
      )
      assert.deepStrictEqual(seen, [
        { traceparent: `00-${span.traceId}-${span.spanId}-01` },
        { traceparent: own, tracestate: "v=1" },
        {},
        {},
        { traceparent: `00-${inner.traceId}-${inner.spanId}-01` }
      ])
    })
  })

  it.effect("connectors and webhooks hand it on", () => {
    const { layer, named } = collecting()
    const received: Array<string> = []
    const http = Layer.succeed(
      HttpClient.HttpClient,
      HttpClient.make((request) => {
        received.push(request.headers["traceparent"] ?? "")
        return Effect.succeed(HttpClientResponse.fromWeb(request, new Response("{}")))
      })
    )
    return Effect.gen(function* () {
      const world = trips({ undo: Effect.void })
      yield* life(world, { paid: true })
      const [dispatched] = named("tape.dispatch_effect")
      assert.strictEqual(received[0]?.split("-")[1], dispatched?.traceId)
      received.length = 0
      yield* Effect.withSpan(
        Effect.flatMap(TapeClient, (tape) => tape.beginRun({ appName: "told", invocationId: "i" })),
        "mine"
      )
      yield* Sinks.relayOnce(
        { name: "hook", pattern: "/tape/run/running/told/**" },
        Sinks.webhook({ url: "http://x.test" })
      )
      assert.deepStrictEqual(
        received.map((header) => header.split("-")[1]),
        [named("mine")[0]?.traceId]
      )
    }).pipe(
      Effect.provide(
        Connectors.http("bank.wire", { url: "http://bank.test" }).pipe(
          Layer.provideMerge(Layer.mergeAll(Tape, http, layer))
        )
      )
    )
  })
})

const isTracedBy = (tracer: "a tracer" | "none", layer: Layer.Layer<never>): Layer.Layer<never> =>
  tracer === "none" ? Layer.empty : layer
