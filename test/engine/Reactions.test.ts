import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TapeClient } from "effect-tape"
import { HandlerKind } from "effect-tape/proto"
import { react, tasksWhen, write } from "../fixtures/matcher-tape.js"
import { tapeOverStore as tape } from "./ledgerFixtures.js"

const unknownKind: number = 9

describe("registering a reaction", () => {
  it.effect("mints an id when none is given; the same id again updates it and keeps its age", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const first = yield* react({ reactionId: "", name: "first", createdAtMs: 5n })
      assert.match(first.reactionId, /^[0-9a-f-]{36}$/)
      const second = yield* react({ reactionId: first.reactionId, name: "second", createdAtMs: 9n })
      assert.strictEqual(second.createdAtMs, 5n)
      const { reactions } = yield* tape.listReactions({})
      assert.deepStrictEqual(
        reactions.map(({ name }) => name),
        ["second"]
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("fills in defaults, and keeps what has none", () =>
    Effect.gen(function* () {
      const stored = yield* react({ bootstrapFromHead: true, publishTarget: "topic", rateLimitPerS: -1 })
      assert.deepInclude(stored, {
        maxConcurrency: 1,
        numShards: 1,
        retryMax: 5,
        dlqAfterN: 5,
        retryBackoffMs: 1000,
        rateLimitPerS: -1,
        debounceMs: 0,
        publishTarget: "topic",
        deleted: false,
        bootstrapFromHead: false
      })
    }).pipe(Effect.provide(tape))
  )

  const refused = (what: string, settings: Parameters<typeof react>[0], words: RegExp) =>
    it.effect(`refuses ${what}`, () =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        const error = yield* Effect.flip(react(settings))
        assert.strictEqual(error._tag, "InvalidRequest")
        assert.match(error.detail, words)
        assert.lengthOf((yield* tape.listReactions({})).reactions, 0)
      }).pipe(Effect.provide(tape))
    )

  refused("a pattern that has ** elsewhere than at its end", { subjectPattern: "/tape/**/x" }, /\*\* is only allowed/)
  refused("no kind", { handlerKind: 0 }, /handler_kind 0 is not one of 1 \(AGENT\)/)
  refused("an unknown kind", { handlerKind: unknownKind }, /handler_kind 9/)
  refused("an agent without an app", { handlerKind: HandlerKind.AGENT }, /agent_app is required/)
  refused("CEL that does not parse", { predicateCel: "payload.a ==" }, /predicate_cel: does not parse/)
  refused("a name that no predicate knows", { predicateCel: "paylod.a == 1" }, /unknown name "paylod"; .*payload/)

  it.effect("lists the active ones, the oldest first, or those of exactly one pattern", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react({ reactionId: "b", createdAtMs: 2n, subjectPattern: "/tape/run/**" })
      yield* react({ reactionId: "c", createdAtMs: 3n, subjectPattern: "/tape/effect/**" })
      yield* react({ reactionId: "a", createdAtMs: 1n, subjectPattern: "/tape/run/**" })
      const ids = (subjectPattern: string) =>
        Effect.map(tape.listReactions({ subjectPattern }), ({ reactions }) => reactions.map((one) => one.reactionId))
      assert.deepStrictEqual(yield* ids(""), ["a", "b", "c"])
      assert.deepStrictEqual(yield* ids("/tape/run/**"), ["a", "b"])
      assert.deepStrictEqual(yield* ids("/tape/run/*"), [])
      assert.isTrue((yield* tape.deregisterReaction({ reactionId: "b" })).deregistered)
      assert.isTrue((yield* tape.deregisterReaction({ reactionId: "b" })).deregistered)
      assert.isFalse((yield* tape.deregisterReaction({ reactionId: "x" })).deregistered)
      assert.deepStrictEqual(yield* ids(""), ["a", "c"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("one that comes back goes on where it was, whatever it says of the head", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react()
      yield* write("one")
      yield* tasksWhen(1)
      yield* tape.deregisterReaction({ reactionId: "r" })
      yield* write("two")
      yield* react({ bootstrapFromHead: true })
      const found = yield* tasksWhen(2)
      assert.deepStrictEqual(
        found.map(({ subject }) => subject),
        ["/tape/value/changed/n/one", "/tape/value/changed/n/two"]
      )
    }).pipe(Effect.provide(tape))
  )
})
