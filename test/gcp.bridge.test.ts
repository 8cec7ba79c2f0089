/** Publish reactions, bridged: what becomes of failures, which reactions are taken, how a layer of it begins and ends. */

import { assert, describe, it } from "@effect/vitest"
import { status } from "@grpc/grpc-js"
import { Cause, Deferred, Effect, Exit, Layer, Logger, Queue, Scope } from "effect"
import { TapeClient } from "../src/Client.js"
import { PubSub } from "../src/gcp/index.js"
import { HandlerKind, TaskStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Reactions from "../src/Reactions.js"
import { google, quiet } from "./gcp.fixtures.js"
import { options, statuses, tags, tape, tasks, tasksWhen, write } from "./Reactions.fixtures.js"
import { until } from "./Sinks.fixtures.js"

const reaction = (name: string, target: string, more: Reactions.ReactionOptions = {}) =>
  Reactions.onValueChanged(name, { namespace: "n", publish: target, backoff: "1 milli", ...more })

/** A tape, Google's services, and one task of a reaction with this target. */
const withTask = (target: string, more: Reactions.ReactionOptions = {}) =>
  Effect.gen(function* () {
    const fake = yield* google()
    const wires = reaction("r", target, more)
    yield* Reactions.register([wires], options)
    yield* write("a")
    yield* tasksWhen("r", 1)
    const bridge = (more: PubSub.BridgeOnceOptions = {}) =>
      Effect.provide(PubSub.bridgeOnce({ ...options, reactions: [wires], ...more }), fake.pubSub)
    return { fake, wires, bridge }
  })

/** Another program's row, as any language may write it. */
const foreign = (reactionId: string, publishTarget: string) =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.registerReaction({
      reactionId,
      name: reactionId,
      subjectPattern: "/tape/value/changed/n/**",
      handlerKind: HandlerKind.PUBLISH,
      publishTarget
    })
  )

describe("bridgeOnce", () => {
  it.scopedLive("what may pass is tried again, and is there in the end", () =>
    Effect.gen(function* () {
      const { bridge, fake } = yield* withTask("wires")
      fake.troubles.Publish.push({ code: status.UNAVAILABLE }, { code: status.PERMISSION_DENIED })
      const [first] = yield* bridge({ limit: 1 })
      assert.deepInclude(first, { _tag: "retry-scheduled", attempt: 1 })
      assert.match(first?._tag === "retry-scheduled" ? first.error : "", /UNAVAILABLE/)
      const later: Array<Reactions.Outcome> = []
      while (later.at(-1)?._tag !== "done") later.push(...(yield* bridge()))
      assert.deepStrictEqual(tags(later), ["retry-scheduled", "done"])
      assert.deepStrictEqual(yield* statuses("r"), [TaskStatus.DONE])
      assert.strictEqual(fake.wires.length, 1)
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.scopedLive("a missing topic is tried again until the reaction's own limit makes it a dead letter", () =>
    Effect.gen(function* () {
      const { bridge } = yield* withTask("nowhere", { deadLetterAfter: 2 })
      const outcomes: Array<Reactions.Outcome> = []
      while (outcomes.at(-1)?._tag !== "dead-letter") outcomes.push(...(yield* bridge()))
      assert.deepStrictEqual(tags(outcomes), ["retry-scheduled", "dead-letter"])
      const [task] = yield* tasks("r")
      assert.strictEqual(task?.status, TaskStatus.DLQ)
      assert.match(task?.lastError ?? "", /NOT_FOUND/)
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.scopedLive("a message that is refused for what it is is a dead letter at once", () =>
    Effect.gen(function* () {
      const { bridge, fake } = yield* withTask("wires")
      fake.troubles.Publish.push({ code: status.INVALID_ARGUMENT })
      assert.deepStrictEqual(tags(yield* bridge()), ["dead-letter"])
      assert.deepStrictEqual(yield* statuses("r"), [TaskStatus.DLQ])
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.scopedLive("the trace goes along, and an entry without one has no attribute for it", () =>
    Effect.gen(function* () {
      const { bridge, fake } = yield* withTask("wires")
      const tape = yield* TapeClient
      const ids = { appName: "a", userId: "u", sessionId: "s", invocationId: "i" }
      const { runId } = yield* tape
        .beginRun({ ...ids, leaseOwner: "o", leaseTtlMs: 60_000n })
        .pipe(Effect.withSpan("a caller"))
      const onRun = Reactions.onRun("started", { status: "running", publish: "wires" })
      yield* Reactions.register([onRun], options)
      const [task] = yield* tasksWhen("started", 1)
      yield* bridge()
      yield* bridge({ reactions: [onRun] })
      const [value, run] = fake.wires
      assert.notProperty(value?.attributes, "tape-trace-id")
      assert.strictEqual(run?.orderingKey, runId)
      assert.match(task?.traceId ?? "", /^[0-9a-f]{32}$/)
      assert.strictEqual(run?.attributes["tape-trace-id"], task?.traceId)
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.scopedLive("takes the publish reactions of other programs, and leaves those whose target is no topic", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const other = fake.topic("other")
      yield* foreign("full", "projects/test/topics/other")
      yield* foreign("default", "")
      yield* foreign("kafka", "kafka:orders")
      yield* foreign("left", "wires")
      yield* write("a")
      const tape = yield* TapeClient
      const pending = (reactionId: string) =>
        Effect.map(tape.listTasks({ reactionId, limit: 10 }), ({ tasks }) => tasks.map(({ status }) => status))
      while ((yield* pending("left")).length + (yield* pending("full")).length < 2) yield* Effect.sleep("5 millis")
      const bridge = PubSub.bridgeOnce({ owner: "b", topic: "wires", where: ({ id }) => id !== "left" })
      assert.deepStrictEqual(tags(yield* Effect.provide(bridge, fake.pubSub)), ["done", "done"])
      assert.deepStrictEqual(
        [...fake.wires, ...other].map(({ attributes }) => attributes["tape-reaction-id"]),
        ["default", "full"]
      )
      assert.deepStrictEqual(
        [...(yield* pending("kafka")), ...(yield* pending("left"))],
        [1, 1].map(() => TaskStatus.PENDING)
      )
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.scopedLive("refuses what could only end in dead letters", () =>
    Effect.gen(function* () {
      const { pubSub } = yield* google()
      const refused = (options: PubSub.BridgeOptions) =>
        PubSub.bridgeOnce(options).pipe(Effect.provide(pubSub), Effect.flip, Effect.map(String))
      assert.match(yield* refused({ reactions: [reaction("r", "kafka:orders")] }), /"kafka:orders" is not a topic/)
      const task = Reactions.onValueChanged("t", { namespace: "n", run: () => Effect.void })
      assert.match(yield* refused({ reactions: [task] }), /not a publish reaction/)
      assert.match(yield* refused({ topic: "?" }), /"\?" is not a topic/)
    }).pipe(Effect.provide(tape))
  )
})

describe("Reactions.layer with PubSub.publication", () => {
  it.scopedLive("publishes beside handlers; a target that is no topic is a dead letter", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const set = [
        reaction("good", "wires"),
        reaction("bad", "kafka:orders"),
        Reactions.onValueChanged("task", { namespace: "n", run: () => Effect.void })
      ]
      yield* Reactions.register(set, options)
      yield* write("a")
      yield* Effect.forEach(["good", "bad", "task"], (name) => tasksWhen(name, 1))
      const outcomes = yield* Effect.provide(
        Reactions.dispatchOnce(set, { ...options, publish: PubSub.publication() }),
        fake.pubSub
      )
      assert.deepStrictEqual(Object.fromEntries(outcomes.map(({ _tag, reaction }) => [reaction, _tag])), {
        good: "done",
        bad: "dead-letter",
        task: "done"
      })
    }).pipe(Effect.provide([tape, quiet]))
  )
})

describe("layerBridge", () => {
  const outcomes = Effect.map(Queue.unbounded<Reactions.Outcome>(), (queue) => ({
    next: Queue.take(queue).pipe(Effect.timeout("5 seconds")),
    onOutcome: (outcome: Reactions.Outcome) => Queue.offer(queue, outcome)
  }))

  it.scopedLive("is woken by what matches, and ends what is on its way before it stops", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const { next, onOutcome } = yield* outcomes
      const scope = yield* Scope.make()
      const bridge = PubSub.layerBridge({
        ...options,
        reactions: [reaction("r", "wires")],
        pollInterval: "1 hour",
        onOutcome
      })
      yield* Layer.buildWithScope(Layer.provide(bridge, fake.pubSub), scope)
      yield* write("a")
      assert.deepInclude(yield* next, { _tag: "done", subject: "/tape/value/changed/n/a" })
      const hold = yield* Deferred.make<void>()
      fake.troubles.Publish.push({ code: status.OK, hold })
      yield* write("b")
      yield* until("it is on its way", () => fake.count("Publish") === 2)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      yield* Deferred.succeed(hold, undefined)
      yield* closing.await
      assert.deepInclude(yield* next, { _tag: "done", subject: "/tape/value/changed/n/b" })
      assert.deepStrictEqual(yield* statuses("r"), [TaskStatus.DONE, TaskStatus.DONE])
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.scopedLive("finds reactions that are registered, changed and taken away while it runs", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const tape = yield* TapeClient
      const other = fake.topic("other")
      const lines: Array<string> = []
      const log = Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ cause, message }) => lines.push(`${message} ${Cause.pretty(cause)}`))
      )
      const bridge = PubSub.layerBridge({ owner: "b", pollInterval: "20 millis", refresh: "20 millis" })
      yield* Layer.build(bridge.pipe(Layer.provide(fake.pubSub), Layer.provide(log)))
      yield* foreign("r", "wires")
      yield* write("a")
      yield* until("it is published", () => fake.wires.length === 1)
      yield* foreign("r", "other")
      yield* foreign("kafka", "kafka:orders")
      yield* until("the change is seen", () =>
        lines.some((line) => line.includes("left to others: kafka (kafka:orders)"))
      )
      yield* write("b")
      yield* until("it is published elsewhere", () => other.length === 1)
      yield* tape.deregisterReaction({ reactionId: "r" })
      yield* until("it is gone", () => lines.some((line) => line.startsWith("0 publish reactions are bridged")))
      assert.deepStrictEqual([fake.wires.length, other.length], [1, 1])
    }).pipe(Effect.provide([tape, quiet]))
  )
})
