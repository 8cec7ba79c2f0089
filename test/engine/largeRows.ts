import { type DescMessage, type Message, toBinary } from "@bufbuild/protobuf"
import { assert } from "@effect/vitest"
import { type Context, Effect, Option, Stream } from "effect"
import type { TapeClient } from "effect-tape"
import type { Store } from "effect-tape/engine"
import { HandlerKind, ListDueTimersResponseSchema, ListTasksResponseSchema } from "effect-tape/proto"
import { eventually } from "./ledgerFixtures.js"

type Tape = Context.Tag.Service<TapeClient>

/** What the tapes of these tests may answer at most. */
export const maxMessageBytes = 100_000

const fits = (schema: DescMessage, message: Message): void =>
  assert.isAtMost(toBinary(schema, message).length, maxMessageBytes)

/** Lists answer what there is room for; nothing that was claimed is lost. */
export const lists = (tape: Tape) =>
  Effect.gen(function* () {
    const { runId } = yield* tape.beginRun({ appName: "large" })
    yield* tape.registerReaction({
      reactionId: "large",
      subjectPattern: "/tape/value/changed/large/*",
      handlerKind: HandlerKind.TASK
    })
    const keys = Array.from({ length: 9 }, (_, index) => `${index}`)
    const text = "é".repeat(15_000)
    yield* Effect.forEach(keys, (key) => tape.writeValue({ namespace: "large", key, valueJson: JSON.stringify(text) }))
    const all = { reactionId: "large", limit: 100 }
    const { tasks } = yield* eventually(tape.listTasks(all), ({ tasks }) => tasks[0]?.subject.endsWith("/8") === true)
    fits(ListTasksResponseSchema, yield* tape.listTasks(all))
    assert.deepStrictEqual(
      tasks.map(({ subject }) => subject.slice(-1)),
      ["8", "7", "6"]
    )
    const claimed: Array<string> = []
    for (let turn = 0; turn < 3; turn++) {
      const answer = yield* tape.claimTasks({ ...all, max: 10_000, shard: -1, owner: "o" })
      claimed.push(...answer.tasks.map(({ subject }) => subject.slice(-1)))
    }
    assert.deepStrictEqual(claimed, keys)

    yield* Effect.forEach(keys, (timerId) => tape.setTimer({ runId, timerId, fireAtMs: 1n, payloadJson: text }))
    assert.lengthOf((yield* tape.listDueTimers({ nowMs: 10n, limit: 100n })).timers, 3)
    const fired: Array<string> = []
    for (let turn = 0; turn < 3; turn++) {
      const answer = yield* tape.listDueTimers({ nowMs: 10n, limit: 100n, claim: true })
      fits(ListDueTimersResponseSchema, answer)
      fired.push(...answer.timers.map(({ timerId }) => timerId))
    }
    assert.deepStrictEqual(fired.toSorted(), keys)

    yield* Effect.forEach(keys, (customKey) =>
      tape.beginEffect({ runId, toolName: "t", customKey, requestJson: text, connector: "large", dispatchMode: 2 })
    )
    assert.lengthOf((yield* tape.listEffectsToDispatch({ connector: "large" })).effects, 3)
    assert.lengthOf((yield* tape.listPendingEffects({ limit: 9n })).effects, 3)

    // Whoever undoes a run must see all that is to be undone, or be told that this is not all.
    yield* Effect.forEach(keys, (effectKey) =>
      tape.registerCompensation({ runId, effectKey, kind: "undo", payloadJson: text })
    )
    const error = yield* Effect.flip(tape.listObligations({ runId }))
    assert.strictEqual(error._tag, "ResourceExhausted")
    assert.match(error.message, /more than 100000 bytes: ask for only_unresolved, or one status_filter/)
    assert.lengthOf((yield* tape.listObligations({ runId, statusFilter: 3 })).obligations, 0)
    assert.isAtLeast((yield* tape.listUnresolvedObligations({})).obligations.length, 3)

    const session = { appName: "large", userId: "u", sessionId: "s" }
    yield* Effect.forEach(keys, (id) => tape.appendEvent({ ...session, event: { id, contentJson: text } }))
    assert.strictEqual((yield* Effect.flip(tape.getSession(session)))._tag, "ResourceExhausted")
    const { session: found } = yield* tape.getSession({ ...session, maxEvents: 2n })
    assert.deepStrictEqual(
      found?.events.map(({ id }) => id),
      ["7", "8"]
    )
  })

/** What no message could carry is refused when it is written, or says so where it is read, and how to go on. */
export const messages = (tape: Tape) =>
  Effect.gen(function* () {
    const key = { namespace: "n", key: "k" }
    // Written as JSON in the journal's entry, each quote takes two bytes.
    const escaped = yield* Effect.flip(tape.writeValue({ ...key, valueJson: '"'.repeat(60_000) }))
    assert.strictEqual(escaped._tag, "ResourceExhausted")
    assert.match(escaped.message, /journal entry would take 12\d{4} bytes.*limit is 100000/)
    assert.isFalse((yield* tape.getValue(key)).found)

    const session = { sessionId: "grows" }
    const merge = (stateDeltaJson: string) => tape.appendEvent({ ...session, event: {}, stateDeltaJson })
    const text = JSON.stringify("x".repeat(40_000))
    yield* Effect.forEach(["a", "b"], (name) => merge(`{"${name}":${text}}`))
    const grown = yield* Effect.flip(merge(`{"c":${text}}`))
    assert.strictEqual(grown._tag, "ResourceExhausted")
    assert.match(grown.message, /state would take 12\d{4} bytes.*limit is 100000/)
    yield* merge(`{"c":${text},"a":null}`)
    const { session: found } = yield* tape.getSession(session)
    assert.deepStrictEqual(Object.keys(JSON.parse(found?.stateJson ?? "")), ["b", "c"])

    const write = (length: number, ifVersion: bigint) =>
      tape.writeValue({ ...key, valueJson: "x".repeat(length), ifVersion })
    for (const [version, length] of [40_000, 30_000, 60_000, 70_000, 10].entries()) {
      yield* write(length, BigInt(version))
    }
    const watch = (fromVersion: bigint) => tape.watchValue({ ...key, fromVersion })
    const seen: Array<bigint> = []
    const error = yield* Effect.flip(
      Stream.runForEach(watch(1n), ({ value }) => Effect.sync(() => seen.push(value?.version ?? 0n)))
    )
    assert.deepStrictEqual(seen, [2n, 3n])
    assert.strictEqual(error._tag, "ResourceExhausted")
    assert.match(error.message, /version 4 and the one before it take 130\d\d\d bytes.*watch on from version 4/)
    const next = Option.getOrThrow(yield* Stream.runHead(watch(4n)))
    assert.deepStrictEqual([next.value?.version, next.prevValueJson.length], [5n, 70_000])
    const entries = yield* tape.subscribeEvents({ kind: "value" }).pipe(Stream.take(5), Stream.runCollect)
    assert.lengthOf(entries, 5)
  })

/** A page of the journal is bounded in bytes, whether it comes from memory or from the store. */
export const pages = (writer: Context.Tag.Service<Store.Store>, reader: Context.Tag.Service<Store.Store>) =>
  Effect.gen(function* () {
    const draft = {
      runId: "r",
      kind: "value",
      subject: "/s",
      schemaVersion: 1,
      traceId: "",
      spanId: "",
      parentSpanId: ""
    }
    const append = (seq: number) =>
      writer.write((tx) =>
        Effect.sync(() =>
          tx.append({ ...draft, seq: BigInt(seq), tsMs: tx.nowMs, payloadJson: `"${"x".repeat(400_000)}"` })
        )
      )
    yield* Effect.forEach(
      Array.from({ length: 24 }, (_, index) => index + 1),
      append,
      { discard: true }
    )
    let cursor = 0n
    const seqs: Array<bigint> = []
    while (cursor < 24n) {
      const { entries, upTo } = yield* reader.tail.after(cursor, 512)
      assert.isAtMost(entries.length, 2)
      seqs.push(...entries.map(({ seq }) => seq))
      cursor = upTo
    }
    assert.deepStrictEqual(
      seqs,
      Array.from({ length: 24 }, (_, index) => BigInt(index + 1))
    )
  })
