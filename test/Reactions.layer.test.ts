/** The dispatcher as a layer: woken by the journal, drained on its end, none holding up another. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Logger, Option, Queue, Scope, Stream, TestClock, Tracer } from "effect"
import * as Client from "../src/Client.js"
import { TapeClient } from "../src/Client.js"
import { Unavailable } from "../src/Errors.js"
import { TaskStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Reactions from "../src/Reactions.js"
import { options, statuses, tags, tape, tasks, tasksWhen, write } from "./Reactions.fixtures.js"

const quiet = Logger.remove(Logger.defaultLogger)

/** Outcomes as they come. */
const outcomes = Effect.map(Queue.unbounded<Reactions.Outcome>(), (queue) => ({
  next: Queue.take(queue).pipe(Effect.timeout("5 seconds")),
  onOutcome: (outcome: Reactions.Outcome) => Queue.offer(queue, outcome)
}))

const running = <E, R>(dispatcher: Layer.Layer<never, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(dispatcher, scope)
    return { stop: Scope.close(scope, Exit.void) }
  })

describe("Reactions.layer", () => {
  it.live("is woken by what matches", () =>
    Effect.gen(function* () {
      const { next, onOutcome } = yield* outcomes
      const reaction = Reactions.onValueChanged("r", { namespace: "n", run: () => Effect.void })
      yield* Layer.build(Reactions.layer([reaction], { ...options, pollInterval: "1 hour", onOutcome }))
      yield* write("a")
      assert.deepInclude(yield* next, { _tag: "done", subject: "/tape/value/changed/n/a", attempt: 1 })
      yield* write("b")
      assert.deepInclude(yield* next, { _tag: "done", subject: "/tape/value/changed/n/b" })
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.live("finds by polling what it was not woken for", () =>
    Effect.gen(function* () {
      const { next, onOutcome } = yield* outcomes
      const deaf = Effect.map(TapeClient, (tape) => ({
        ...tape,
        subscribeEvents: () => Stream.never
      }))
      const reaction = Reactions.onValueChanged("r", { namespace: "n", run: () => Effect.void })
      yield* Layer.build(
        Reactions.layer([reaction], { ...options, pollInterval: "10 millis", onOutcome }).pipe(
          Layer.provide(Layer.effect(TapeClient, deaf))
        )
      )
      yield* write("a")
      assert.strictEqual((yield* next)._tag, "done")
    }).pipe(Effect.scoped, Effect.provide([tape, quiet]))
  )

  it.live("a busy reaction holds up no other", () =>
    Effect.gen(function* () {
      const { next, onOutcome } = yield* outcomes
      const started = yield* Deferred.make<void>()
      const stuck = Reactions.onValueChanged("stuck", {
        namespace: "n",
        run: () => Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)
      })
      const other = Reactions.onValueChanged("other", { namespace: "m", run: () => Effect.void })
      yield* Layer.build(Reactions.layer([stuck, other], { ...options, grace: 0, onOutcome }))
      yield* write("a")
      yield* write("b")
      yield* Deferred.await(started)
      yield* write("c", 1, "m")
      assert.deepInclude(yield* next, { _tag: "done", reaction: "other" })
    }).pipe(Effect.scoped, Effect.provide([tape, quiet]))
  )

  it.live("goes on when the tape is back, having said so once", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => lines.push(String(message)))
      const { next, onOutcome } = yield* outcomes
      let refusals = 2
      const flaky = Effect.map(TapeClient, (tape) => ({
        ...tape,
        claimTasks: (...args: Parameters<typeof tape.claimTasks>) =>
          Effect.suspend(() => {
            refusals -= 1
            return refusals >= 0
              ? Effect.fail(new Unavailable({ rpc: "ClaimTasks", detail: "away", ids: {}, maybeApplied: false }))
              : tape.claimTasks(...args)
          })
      }))
      const reaction = Reactions.onValueChanged("r", { namespace: "n", run: () => Effect.void })
      yield* Layer.build(
        Layer.provide(Reactions.layer([reaction], { ...options, onOutcome }), Layer.effect(TapeClient, flaky))
      ).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
      yield* write("a")
      assert.strictEqual((yield* next)._tag, "done")
      assert.strictEqual(lines.filter((line) => line.includes("cannot be claimed")).length, 1)
      assert.strictEqual(lines.filter((line) => line.includes("can be claimed again")).length, 1)
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.live("two dispatchers of one reaction run each task once", () =>
    Effect.gen(function* () {
      const { next, onOutcome } = yield* outcomes
      const seen: Array<string> = []
      const reaction = Reactions.onValueChanged("r", {
        namespace: "n",
        maxConcurrency: 4,
        run: ({ key }) =>
          Effect.zipRight(
            Effect.yieldNow(),
            Effect.sync(() => void seen.push(key))
          )
      })
      yield* Layer.build(Reactions.layer([reaction], { app: "test", owner: "one", onOutcome }))
      yield* Layer.build(Reactions.layer([reaction], { app: "test", owner: "two", onOutcome }))
      const keys = Array.from({ length: 40 }, (_, index) => `k${index}`)
      yield* Effect.forEach(keys, (key) => write(key), { concurrency: 8, discard: true })
      yield* Effect.forEach(keys, () => next, { discard: true })
      assert.sameMembers(seen, keys)
      assert.strictEqual(seen.length, keys.length)
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.live("the handler's span is a child of the call that caused the entry, and runs once", () =>
    Effect.gen(function* () {
      const { next, onOutcome } = yield* outcomes
      const spans: Array<Tracer.Span> = []
      let runs = 0
      const tracer = Tracer.make({
        context: (run) => run(),
        span: (name, parent, context, links, startTime, kind) => {
          const span: Tracer.Span = {
            _tag: "Span",
            name,
            parent,
            context,
            links,
            kind,
            spanId: "b".repeat(16),
            traceId: Option.match(parent, { onNone: () => "c".repeat(32), onSome: ({ traceId }) => traceId }),
            sampled: true,
            attributes: new Map(),
            status: { _tag: "Started", startTime },
            end: () => undefined,
            attribute: () => undefined,
            event: () => undefined,
            addLinks: () => undefined
          }
          spans.push(span)
          return span
        }
      })
      const reaction = Reactions.onValueChanged("r", {
        namespace: "n",
        retries: 0,
        run: () =>
          Effect.zipRight(
            Effect.sync(() => runs++),
            Effect.fail("no")
          )
      })
      yield* Layer.build(Reactions.layer([reaction], { ...options, onOutcome })).pipe(Effect.withTracer(tracer))
      const [traceId, spanId] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"]
      yield* Client.withMetadata(write("a"), { traceparent: `00-${traceId}-${spanId}-01` })
      assert.strictEqual((yield* next)._tag, "dead-letter")
      assert.strictEqual(runs, 1)
      const [span, ...others] = spans.filter(({ name }) => name === "tape.task")
      assert.deepStrictEqual(others, [])
      assert.strictEqual(span?.traceId, traceId)
      assert.strictEqual(Option.getOrUndefined(span?.parent ?? Option.none())?.spanId, spanId)
    }).pipe(Effect.scoped, Effect.provide([tape, quiet]))
  )

  it.effect("refuses an empty set at once", () =>
    Effect.gen(function* () {
      const empty = yield* Effect.flip(Effect.scoped(Layer.build(Reactions.layer([], options))))
      assert.strictEqual(empty._tag, "ReactionMisconfigured")
    }).pipe(Effect.provide(tape))
  )
})

describe("when the dispatcher is stopped", () => {
  it.scoped("what runs is acknowledged first, and nothing new is claimed", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const reaction = Reactions.onValueChanged("r", {
        namespace: "n",
        run: () => Effect.zipRight(Deferred.succeed(started, undefined), Deferred.await(go))
      })
      yield* Reactions.register([reaction], options)
      yield* write("a")
      yield* tasksWhen("r", 1)
      const { stop } = yield* running(Reactions.layer([reaction], options))
      yield* Deferred.await(started)
      const stopping = yield* Effect.fork(stop)
      yield* write("b")
      yield* tasksWhen("r", 2)
      yield* TestClock.adjust("9 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.poll(stopping)))
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(stopping)
      assert.deepStrictEqual(yield* statuses("r"), [TaskStatus.DONE, TaskStatus.PENDING])
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.live("what has not ended when the grace is over is interrupted and given back", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>()
      const { next, onOutcome } = yield* outcomes
      const reaction = Reactions.onValueChanged("r", {
        namespace: "n",
        run: () => Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)
      })
      yield* Reactions.register([reaction], options)
      yield* write("a")
      yield* tasksWhen("r", 1)
      const { stop } = yield* running(Reactions.layer([reaction], { ...options, grace: "20 millis", onOutcome }))
      yield* Deferred.await(started)
      yield* stop
      assert.strictEqual((yield* next)._tag, "retry-scheduled")
      const [task] = yield* tasks("r")
      assert.deepInclude(task, { status: TaskStatus.PENDING, leaseOwner: "" })
      assert.match(task?.lastError ?? "", /dispatcher was stopped/)
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.live("what waits for the end of its window runs at once", () =>
    Effect.gen(function* () {
      const claimed = yield* Deferred.make<void>()
      const seen: Array<string> = []
      const watched = Effect.map(TapeClient, (tape) => ({
        ...tape,
        claimTasks: (...args: Parameters<typeof tape.claimTasks>) =>
          Effect.tap(tape.claimTasks(...args), ({ tasks }) =>
            tasks.length > 0 ? Deferred.succeed(claimed, undefined) : Effect.void
          )
      }))
      const reaction = Reactions.onValueChanged("r", {
        namespace: "n",
        debounce: "1 hour",
        run: ({ key }) => Effect.sync(() => void seen.push(key))
      })
      yield* Reactions.register([reaction], options)
      yield* write("a")
      yield* tasksWhen("r", 1)
      const { stop } = yield* running(
        Layer.provide(Reactions.layer([reaction], options), Layer.effect(TapeClient, watched))
      )
      yield* Deferred.await(claimed)
      yield* stop
      assert.deepStrictEqual(seen, ["a"])
      assert.deepStrictEqual(yield* statuses("r"), [TaskStatus.DONE])
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.live("under load nothing is lost, and nothing done twice", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const reaction = Reactions.onValueChanged("r", {
        namespace: "n",
        maxConcurrency: 8,
        run: ({ key }) =>
          Effect.zipRight(
            Effect.sleep("5 millis"),
            Effect.sync(() => void seen.push(key))
          )
      })
      yield* Reactions.register([reaction], options)
      const keys = Array.from({ length: 60 }, (_, index) => `k${index}`)
      yield* Effect.forEach(keys, (key) => write(key), { concurrency: 16, discard: true })
      yield* tasksWhen("r", 60)
      const { next, onOutcome } = yield* outcomes
      const { stop } = yield* running(Reactions.layer([reaction], { ...options, onOutcome }))
      yield* Effect.repeatN(next, 9)
      yield* stop
      const all = yield* tasks("r")
      assert.deepStrictEqual(
        all.filter(({ status }) => status === TaskStatus.CLAIMED),
        []
      )
      assert.strictEqual(all.filter(({ status }) => status === TaskStatus.DONE).length, seen.length)
      const rest = yield* Reactions.dispatchOnce([reaction], options)
      assert.strictEqual(new Set(tags(rest)).size <= 1, true)
      assert.sameMembers(seen, keys)
      assert.strictEqual(seen.length, 60)
    }).pipe(Effect.provide([tape, quiet]))
  )
})
