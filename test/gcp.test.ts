/** Pub/Sub as it is: the same suite against the fake everywhere, and against Google's emulator where there is one. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Connectors from "../src/Connectors.js"
import { PubSub } from "../src/gcp/index.js"
import * as Outbox from "../src/Outbox.js"
import * as Reactions from "../src/Reactions.js"
import * as Sinks from "../src/Sinks.js"
import { options as dispatching, intend, read } from "./Outbox.dispatcher.fixtures.js"
import { options, tags, tape, tasksWhen } from "./Reactions.fixtures.js"
import { begin, write } from "./Sinks.fixtures.js"
import { Broker, layerEmulator, layerFake } from "./support/googleBroker.js"
import { isInstalled } from "./support/googleEmulator.js"

// Google's clients look for a machine of Google's otherwise.
process.env["METADATA_SERVER_DETECTION"] = "none"

const ways = isInstalled
  ? [["the fake", layerFake] as const, ["the emulator", layerEmulator] as const]
  : [["the fake", layerFake] as const]

process.stdout.write(`Pub/Sub is tested against ${ways.map(([name]) => name).join(" and ")}\n`)

const decode = Schema.decodeUnknownSync(Schema.parseJson(Sinks.Entry))

for (const [name, broker] of ways) {
  describe(`Pub/Sub, ${name}`, () => {
    layer(broker, { excludeTestServices: true, timeout: "30 seconds" })((it) => {
      it.effect("an effect of the outbox is a message, and confirmed with its id", () =>
        Effect.gen(function* () {
          const { received, topic } = yield* Broker
          yield* topic("wires")
          const intent = yield* intend("bk-1")
          const [outcome] = yield* Outbox.dispatchOnce(dispatching)
          const row = yield* read(intent)
          assert.strictEqual(outcome?._tag, "confirmed")
          assert.match(row.responseJson, /^\{"external_ref":"(\d+)","message_id":"\1"\}$/)
          assert.deepStrictEqual(yield* received("wires", 1), [
            {
              data: '{"amount":100}',
              orderingKey: intent.runId,
              attributes: {
                tape_idempotency_key: intent.idempotencyKey,
                tape_run_id: intent.runId,
                tape_business_key: "bk-1",
                tape_tool: "wire_money",
                tape_attempt: "1",
                tape_connector: "bank.wire",
                tape_semantics: "non_idempotent"
              }
            }
          ])
        }).pipe(Effect.provide([tape, PubSub.connector("bank.wire", { topic: "wires" })]))
      )

      it.effect("a topic that is not there is a final failure", () =>
        Effect.gen(function* () {
          yield* intend("bk-1")
          const [outcome] = yield* Outbox.dispatchOnce(dispatching)
          assert.deepInclude(outcome, { _tag: "failed", attempts: 1 })
          assert.match(
            outcome?._tag === "failed" ? outcome.error : "",
            /^Publish to projects\/test\/topics\/nowhere: NOT_FOUND/
          )
        }).pipe(Effect.provide([tape, PubSub.connector("bank.wire", { topic: "nowhere" })]))
      )

      it.effect("a compensation is a message to its own topic", () =>
        Effect.gen(function* () {
          const { received, topic } = yield* Broker
          yield* topic("undo")
          const { compensate } = yield* Connectors.Tag("bank.wire")
          const obligation = { runId: "r", effectKey: "k", kind: "reverse_wire", attempt: 1, payload: { id: 7 } }
          const answer = yield* compensate?.(new Connectors.Obligation(obligation)) ?? Effect.dieMessage("none")
          assert.deepInclude(answer, { _tag: "compensated" })
          assert.deepStrictEqual(yield* received("undo", 1), [
            {
              data: '{"id":7}',
              orderingKey: "r",
              attributes: { tape_obligation_kind: "reverse_wire", tape_effect_key: "k", tape_run_id: "r" }
            }
          ])
        }).pipe(Effect.provide(PubSub.connector("bank.wire", { topic: "wires", compensateTopic: "undo" })))
      )

      it.effect("a relay's entries arrive whole, and in the order of each run and of each value", () =>
        Effect.gen(function* () {
          const { received, topic } = yield* Broker
          yield* topic("journal")
          const runs = yield* Effect.forEach(["a", "b"], begin)
          for (const version of [1, 2, 3]) {
            yield* write("fx", String(version))
            yield* write("gold", String(version))
          }
          const relayed = yield* Sinks.relayOnce({ name: "r" }, PubSub.sink({ topic: "journal", batchSize: 5 }))
          assert.isAtLeast(relayed.published, 8)
          const messages = yield* received("journal", relayed.published)
          const entries = messages.map(({ data }) => decode(data))
          for (const [index, { attributes, orderingKey }] of messages.entries()) {
            const entry = entries[index]
            if (entry === undefined) return assert.fail("no entry")
            assert.strictEqual(orderingKey, entry.runId === "" ? entry.subject : entry.runId)
            assert.deepStrictEqual(attributes, {
              "tape-event-id": Sinks.eventIdOf(entry),
              kind: entry.kind,
              "tape-global-seq": String(entry.globalSeq),
              "tape-subject": entry.subject
            })
          }
          for (const key of new Set(messages.map(({ orderingKey }) => orderingKey))) {
            const order = entries
              .filter((_, index) => messages[index]?.orderingKey === key)
              .map(({ globalSeq }) => globalSeq)
            assert.deepStrictEqual(order, order.toSorted(), key)
          }
          assert.includeMembers(
            messages.map(({ orderingKey }) => orderingKey),
            [...runs, "/tape/value/changed/treasury/fx"]
          )
          assert.strictEqual((yield* Sinks.relayOnce({ name: "r" }, PubSub.sink({ topic: "journal" }))).published, 0)
        }).pipe(Effect.provide(tape))
      )

      it.effect("the bridge publishes to each reaction's own target", () =>
        Effect.gen(function* () {
          const { received, topic } = yield* Broker
          yield* Effect.forEach(["full", "bare"], topic)
          const full = Reactions.onValueChanged("f", {
            namespace: "treasury",
            key: "fx",
            publish: "projects/test/topics/full"
          })
          const bare = Reactions.onValueChanged("b", { namespace: "treasury", key: "gold", publish: "bare" })
          yield* Reactions.register([full, bare], options)
          yield* write("fx", "1.1")
          yield* write("gold", "2")
          const [task] = yield* tasksWhen("f", 1)
          yield* tasksWhen("b", 1)
          const outcomes = yield* PubSub.bridgeOnce({ ...options, reactions: [full, bare] })
          assert.deepStrictEqual(tags(outcomes), ["done", "done"])
          assert.deepStrictEqual(yield* received("full", 1), [
            {
              data: task?.payloadJson ?? "",
              orderingKey: "/tape/value/changed/treasury/fx",
              attributes: {
                "tape-task-id": task?.taskId ?? "",
                "tape-reaction-id": task?.reactionId ?? "",
                "tape-subject": "/tape/value/changed/treasury/fx",
                "tape-global-seq": String(task?.sourceGlobalSeq)
              }
            }
          ])
          assert.strictEqual((yield* received("bare", 1)).length, 1)
        }).pipe(Effect.provide(tape))
      )
    })
  })
}
