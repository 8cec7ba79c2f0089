/** What goes wrong at Pub/Sub, and what connector and sink make of it. */

import { assert, describe, it } from "@effect/vitest"
import { status } from "@grpc/grpc-js"
import { Cause, Deferred, Effect, Fiber, Layer, Logger } from "effect"
import { PubSub } from "../src/gcp/index.js"
import * as Outbox from "../src/Outbox.js"
import * as Sinks from "../src/Sinks.js"
import { connectorOf, google, obligation, quiet, request } from "./gcp.fixtures.js"
import { options as dispatching, intend, statusOf } from "./Outbox.dispatcher.fixtures.js"
import { tape } from "./Reactions.fixtures.js"
import { begin, entry, until, write } from "./Sinks.fixtures.js"

const wires = "projects/test/topics/wires"
const data = (messages: ReadonlyArray<{ readonly data: string }>) => messages.map(({ data }) => data)

describe("publishing", () => {
  it.scopedLive("a call is made once, and its key goes on after a failure", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const client = yield* Effect.provide(PubSub.PubSubClient, yield* Layer.build(fake.pubSub))
      fake.troubles.Publish.push({ code: status.UNAVAILABLE }, { code: status.INTERNAL, books: true })
      const publish = (data: string) => client.publish(wires, [{ data, orderingKey: "run-1" }])
      const lost = yield* Effect.flip(publish("1"))
      assert.deepInclude(lost, { _tag: "GoogleError", code: "UNAVAILABLE", refusal: "unknown" })
      assert.strictEqual(lost.message, `Publish to ${wires}: UNAVAILABLE: as the test wants it`)
      yield* Effect.flip(publish("2"))
      assert.deepStrictEqual(yield* publish("3"), ["2"])
      assert.deepStrictEqual(data(fake.wires), ["2", "3"])
      assert.strictEqual(fake.count("Publish"), 3)
    })
  )

  it.scopedLive("messages of one key wait for each other, those of others for nothing", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const client = yield* Effect.provide(PubSub.PubSubClient, yield* Layer.build(fake.pubSub))
      const hold = yield* Deferred.make<void>()
      fake.troubles.Publish.push({ code: status.UNAVAILABLE, books: true, hold })
      const first = yield* Effect.fork(client.publish(wires, [{ data: "a1", orderingKey: "a" }]))
      yield* until("the first is on its way", () => fake.count("Publish") === 1)
      // Whoever goes away does not let the next one overtake what it has sent.
      yield* Fiber.interrupt(first)
      const second = yield* Effect.fork(client.publish(wires, [{ data: "a2", orderingKey: "a" }]))
      const [id] = yield* client.publish(wires, [{ data: "b1", orderingKey: "b" }])
      assert.strictEqual(id, "1")
      assert.strictEqual(fake.count("Publish"), 2)
      yield* Deferred.succeed(hold, undefined)
      assert.deepStrictEqual(yield* Fiber.join(second), ["3"])
      assert.deepStrictEqual(data(fake.wires), ["b1", "a1", "a2"])
    })
  )

  it.scopedLive("ids come in the order of the messages; each call carries one key and no more than may be", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const client = yield* Effect.provide(PubSub.PubSubClient, yield* Layer.build(fake.pubSub))
      const messages = Array.from({ length: 1002 }, (_, index) => ({
        data: String(index),
        orderingKey: index % 501 === 500 ? "rare" : "often"
      }))
      const ids = yield* client.publish(wires, messages)
      assert.deepStrictEqual(
        ids.map((id) => fake.wires[Number(id) - 1]?.data),
        messages.map(({ data }) => data)
      )
      assert.strictEqual(fake.count("Publish"), 2)
      const large = "x".repeat(4_000_000)
      yield* client.publish(wires, [{ data: large }, { data: large }, { data: large }])
      assert.strictEqual(fake.count("Publish"), 4)
    })
  )

  it.scopedLive("a layer that cannot be set up says why", () =>
    Effect.gen(function* () {
      const error = yield* Layer.build(
        PubSub.layer({ projectId: "test", google: { keyFilename: "/nowhere/key.json" } })
      ).pipe(Effect.flip)
      assert.strictEqual(error._tag, "SetupFailed")
      assert.match(error.message, /^@google-cloud\/pubsub cannot be used: .*\/nowhere\/key\.json/)
    })
  )
})

describe("the Pub/Sub connector", () => {
  const made = Effect.gen(function* () {
    const fake = yield* google("200 millis")
    const layer = PubSub.connector("bank.wire", { topic: "wires", compensateTopic: wires })
    return { fake, connector: yield* connectorOf(Layer.provide(layer, fake.pubSub)) }
  })

  const refusals = [
    [status.INVALID_ARGUMENT, { _tag: "failed", final: true }],
    [status.NOT_FOUND, { _tag: "failed", final: true }],
    [status.PERMISSION_DENIED, { _tag: "failed", final: true }],
    [status.RESOURCE_EXHAUSTED, { _tag: "failed", final: false }],
    [status.UNAVAILABLE, { _tag: "unknown" }],
    [status.INTERNAL, { _tag: "unknown" }],
    [status.ABORTED, { _tag: "unknown" }]
  ] as const
  it.scopedLive("tells what did not happen from what may have", () =>
    Effect.gen(function* () {
      const { connector, fake } = yield* made
      for (const [code, expected] of refusals) {
        fake.troubles.Publish.push({ code })
        assert.deepInclude(yield* connector.dispatch(request), expected, status[code])
      }
    })
  )

  it.scopedLive("no answer in time is unknown", () =>
    Effect.gen(function* () {
      const { connector, fake } = yield* made
      const hold = yield* Deferred.make<void>()
      fake.troubles.Publish.push({ code: status.OK, hold })
      const answer = yield* connector.dispatch(request)
      assert.deepInclude(answer, { _tag: "unknown" })
      assert.match("error" in answer ? answer.error : "", /DEADLINE_EXCEEDED/)
      yield* Deferred.succeed(hold, undefined)
    })
  )

  it.scopedLive("cannot observe by itself; a compensation in doubt is tried again, a refused one too", () =>
    Effect.gen(function* () {
      const { connector, fake } = yield* made
      assert.deepInclude(yield* connector.observe(request), { _tag: "unknown" })
      fake.troubles.Publish.push({ code: status.UNAVAILABLE }, { code: status.PERMISSION_DENIED })
      assert.deepInclude(yield* connector.compensate(obligation), { _tag: "pending" })
      assert.deepInclude(yield* connector.compensate(obligation), { _tag: "failed" })
      const without = yield* connectorOf(Layer.provide(PubSub.connector("bank.wire", { topic: "wires" }), fake.pubSub))
      assert.deepInclude(yield* without.compensate(obligation), { _tag: "stuck" })
    })
  )

  it.scopedLive("a lost answer leaves an effect unknown, never sent again by itself", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      yield* Effect.gen(function* () {
        const intent = yield* intend("bk-1")
        fake.troubles.Publish.push({ code: status.UNAVAILABLE, books: true })
        const [first] = yield* Outbox.dispatchOnce(dispatching)
        assert.strictEqual(first?._tag, "unknown")
        assert.deepStrictEqual(yield* Outbox.dispatchOnce(dispatching), [])
        assert.strictEqual(yield* statusOf(intent), "UNKNOWN")
        assert.strictEqual(fake.wires.length, 1)
      }).pipe(Effect.provide([tape, Layer.provide(PubSub.connector("bank.wire", { topic: "wires" }), fake.pubSub)]))
    }).pipe(Effect.provide(quiet))
  )

  it.scopedLive("with doneWhen observed a published effect is pending until it is seen", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const connector = yield* connectorOf(
        PubSub.connector("bank.wire", {
          topic: "wires",
          doneWhen: "observed",
          observe: ({ idempotencyKey }) => Effect.succeed({ _tag: "confirmed", externalRef: `seen ${idempotencyKey}` })
        }).pipe(Layer.provide(fake.pubSub))
      )
      assert.deepStrictEqual(yield* connector.dispatch(request), { _tag: "pending", externalRef: "1" })
      assert.deepInclude(yield* connector.observe(request), { externalRef: `seen ${request.idempotencyKey}` })
    })
  )

  it.scopedLive("refuses options that cannot work", () =>
    Effect.gen(function* () {
      const { pubSub } = yield* google()
      const refused = (options: PubSub.ConnectorOptions) =>
        Layer.build(PubSub.connector("bank.wire", options)).pipe(
          Effect.provide(pubSub),
          Effect.flip,
          Effect.map(String)
        )
      assert.match(yield* refused({ topic: "wires", doneWhen: "observed" }), /give observe/)
      assert.match(yield* refused({ topic: "a/b" }), /"a\/b" is not a topic/)
      assert.match(yield* refused({ topic: "wires", compensateTopic: "" }), /compensateTopic/)
    })
  )
})

describe("the Pub/Sub sink", () => {
  const opened = Effect.gen(function* () {
    const fake = yield* google()
    const publish = yield* Effect.provide(PubSub.sink({ topic: "wires" }).make, yield* Layer.build(fake.pubSub))
    return { fake, publish }
  })

  it.scopedLive("says whether the entry, the topic or the moment is at fault", () =>
    Effect.gen(function* () {
      const { fake, publish } = yield* opened
      const about = { sink: "pubsub", eventId: "run-1/7" }
      fake.troubles.Publish.push(
        { code: status.INVALID_ARGUMENT },
        { code: status.NOT_FOUND },
        { code: status.UNAVAILABLE, books: true },
        { code: status.UNAUTHENTICATED }
      )
      assert.deepInclude(yield* Effect.flip(publish([entry])), { ...about, _tag: "Rejected", fault: "entry" })
      assert.deepInclude(yield* Effect.flip(publish([entry])), { ...about, _tag: "Rejected", fault: "receiver" })
      assert.deepInclude(yield* Effect.flip(publish([entry])), { ...about, _tag: "Undelivered" })
      assert.deepInclude(yield* Effect.flip(publish([entry])), { ...about, _tag: "Undelivered" })
      yield* publish([entry])
      assert.strictEqual(fake.wires.length, 2)
    })
  )

  it.scopedLive("a subject too long for an attribute, or for a key, does not stop the journal", () =>
    Effect.gen(function* () {
      const { fake, publish } = yield* opened
      const subject = `/tape/value/changed/n/${"k".repeat(2000)}`
      yield* publish([{ ...entry, runId: "", subject }])
      const [message] = fake.wires
      assert.match(message?.orderingKey ?? "", /^[0-9a-f]{64}$/)
      assert.notProperty(message?.attributes, "tape-subject")
      assert.include(message?.data, subject)
    })
  )

  it.scopedLive(
    "after a failure the relay brings the same entries again, in their order, and the cursor had not moved",
    () =>
      Effect.gen(function* () {
        const fake = yield* google()
        yield* Effect.gen(function* () {
          yield* begin("a")
          yield* write("fx", "1")
          yield* write("fx", "2")
          yield* write("fx", "3")
          const relay = Sinks.relayOnce(
            { name: "r", pattern: "/tape/value/**" },
            PubSub.sink({ topic: "wires", batchSize: 2 })
          )
          fake.troubles.Publish.push({ code: status.UNAVAILABLE, books: true })
          const lost = yield* Effect.flip(relay)
          assert.strictEqual(lost._tag, "Undelivered")
          assert.strictEqual((yield* relay).published, 3)
          const ids = fake.wires.map(({ attributes }) => attributes["tape-global-seq"])
          const [first, second, ...rest] = ids
          assert.deepStrictEqual(rest.slice(0, 2), [first, second])
          assert.deepStrictEqual([ids.length, new Set(ids).size], [5, 3])
          assert.strictEqual((yield* relay).published, 0)
        }).pipe(Effect.provide([tape, fake.pubSub]))
      })
  )

  it.scopedLive("works as the sink of a relay that stays", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const lines: Array<string> = []
      const logger = Logger.replace(
        Logger.defaultLogger,
        Logger.make(({ cause, message }) => lines.push(`${message}${Cause.pretty(cause)}`))
      )
      fake.troubles.Publish.push({ code: status.UNAVAILABLE })
      yield* Effect.gen(function* () {
        yield* Layer.build(
          Sinks.layerRelay(
            { name: "r", pattern: "/tape/value/**", backOff: "10 millis" },
            PubSub.sink({ topic: "wires" })
          )
        )
        yield* write("fx", "1")
        yield* until("it is there", () => fake.wires.length > 0)
        assert.include(lines.join("\n"), "UNAVAILABLE")
      }).pipe(Effect.provide([tape, fake.pubSub, logger]))
    })
  )
})
