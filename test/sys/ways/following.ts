/** Reactions and relays. */
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { assert } from "@effect/vitest"
import { Effect, Option, type Scope } from "effect"
import { Reactions, Sinks, TapeClient } from "effect-tape"
import { TaskStatus } from "effect-tape/proto"
import { eventually } from "../../conformance/Expect.js"
import { temporaryDirectory } from "../../support/Harness.js"
import { runOf, type Scenario, tags, write } from "./Ways.js"

const options = { app: "ways", owner: "test" } as const

const tasksOf = (name: string) =>
  Effect.flatMap(TapeClient, (tape) =>
    Effect.map(tape.listTasks({ reactionId: Reactions.idOf(options.app, name), limit: 10_000 }), ({ tasks }) => tasks)
  )

const keys = (count: number) => Array.from({ length: count }, (_, index) => `k${index}`)

const allDone = (name: string) =>
  eventually("every task is done", tasksOf(name), (tasks) => tasks.every(({ status }) => status === TaskStatus.DONE))

export const following: ReadonlyArray<Scenario<TapeClient | Scope.Scope>> = [
  {
    title: "RCT-21: of quick writes the last one is handled, once in a window, and none is a dead letter",
    run: Effect.gen(function* () {
      const seen: Array<unknown> = []
      const reaction = Reactions.onValueChanged("debounced", {
        namespace: "debounced",
        debounce: "300 millis",
        run: ({ value }) => Effect.sync(() => seen.push(value))
      })
      yield* Reactions.register([reaction], options)
      for (const value of [1, 2, 3]) yield* write("debounced", "k", value)
      yield* eventually(
        "the last value is seen",
        Effect.zipRight(
          Reactions.dispatchOnce([reaction], options),
          Effect.sync(() => seen)
        ),
        (seen) => seen.includes(3)
      )
      assert.deepStrictEqual(seen, [3])
      yield* allDone("debounced")
    })
  },
  {
    title: "RCT-23, RCT-24: no more handlers than allowed run at a time; each gets its task, subject and payload",
    run: Effect.gen(function* () {
      let running = 0
      let peak = 0
      const seen: Array<unknown> = []
      const reaction = Reactions.onValueChanged("slots", {
        namespace: "slots",
        maxConcurrency: 2,
        run: ({ key, namespace, subject, task, value }) =>
          Effect.gen(function* () {
            running += 1
            peak = Math.max(peak, running)
            seen.push([namespace, key, value, subject, task.status])
            yield* Effect.sleep("20 millis")
            running -= 1
          })
      })
      yield* Reactions.register([reaction], options)
      yield* Effect.forEach(keys(10), (key, index) => write("slots", key, { index }))
      yield* eventually("ten tasks", tasksOf("slots"), (tasks) => tasks.length === 10)
      const outcomes = yield* Reactions.dispatchOnce([reaction], options)
      assert.deepStrictEqual(
        tags(outcomes),
        keys(10).map(() => "done")
      )
      assert.strictEqual(peak, 2)
      assert.sameDeepMembers(
        seen,
        keys(10).map((key, index) => ["slots", key, { index }, `/tape/value/changed/slots/${key}`, TaskStatus.CLAIMED])
      )
      yield* allDone("slots")
    })
  },
  {
    title: "RCT-28: a dispatcher that says nothing of shards drains all four; one that says 0 drains that one",
    run: Effect.gen(function* () {
      const reaction = Reactions.on("sharded", {
        pattern: "/tape/run/running/sharded/**",
        shards: 4,
        run: () => Effect.void
      })
      yield* Reactions.register([reaction], options)
      yield* Effect.forEach(keys(20), () => runOf("sharded"), { concurrency: 8 })
      const tasks = yield* eventually("twenty tasks", tasksOf("sharded"), (tasks) => tasks.length === 20)
      const zero = tasks.filter(({ shard }) => shard === 0).length
      assert.lengthOf(yield* Reactions.dispatchOnce([reaction], { ...options, shard: 0 }), zero)
      assert.lengthOf(yield* Reactions.dispatchOnce([reaction], options), 20 - zero)
      yield* allDone("sharded")
    })
  },
  {
    title: "tasks of a dispatcher that vanished, or whose handler failed, are handled again",
    run: Effect.gen(function* () {
      const seen: Array<string> = []
      const reaction = Reactions.onValueChanged("again", {
        namespace: "again",
        backoff: "10 millis",
        run: ({ attempt, key }) =>
          Effect.suspend(() => {
            seen.push(`${key}/${attempt}`)
            return key === "k1" && attempt === 1 ? Effect.fail("not yet") : Effect.void
          })
      })
      yield* Reactions.register([reaction], options)
      yield* write("again", "k0")
      yield* eventually("a task", tasksOf("again"), (tasks) => tasks.length === 1)
      const reactionId = Reactions.idOf(options.app, "again")
      assert.lengthOf(yield* Reactions.claim({ reactionId, owner: "gone", lease: "50 millis" }), 1)
      yield* write("again", "k1")
      yield* eventually(
        "both are handled",
        Effect.zipRight(Reactions.dispatchOnce([reaction], options), tasksOf("again")),
        (tasks) => tasks.length === 2 && tasks.every(({ status }) => status === TaskStatus.DONE)
      )
      assert.sameMembers(seen, ["k0/2", "k1/1", "k1/2"])
    })
  },
  {
    title: "EVT-10: a relay with a cursor in a file publishes everything once, and goes on where it was",
    run: Effect.gen(function* () {
      const path = join(yield* temporaryDirectory, "cursor")
      const published: Array<string> = []
      const sink = Sinks.fromFunction((entry) => Effect.sync(() => published.push(entry.subject)))
      const tick = Sinks.relayOnce(
        { name: "evt-10", pattern: "/tape/value/changed/evt-10/*", cursor: Sinks.cursorFile({ path }) },
        sink
      )
      for (const key of keys(3)) yield* write("evt-10", key)
      assert.strictEqual((yield* tick).published, 3)
      const text = yield* Effect.promise(() => readFile(path, "utf8"))
      const stored: unknown = JSON.parse(text)
      assert.deepStrictEqual(Object.keys(Object(stored)), ["last_global_seq"])
      assert.isAbove(Number(Reflect.get(Object(stored), "last_global_seq")), 0)
      assert.strictEqual((yield* tick).published, 0)
      yield* write("evt-10", "k3")
      assert.strictEqual((yield* tick).published, 1)
      assert.deepStrictEqual(
        published,
        keys(4).map((key) => `/tape/value/changed/evt-10/${key}`)
      )
    })
  },
  {
    title: "EVT-11: a relay that dies between publishing and storing its cursor repeats, and leaves nothing out",
    run: Effect.gen(function* () {
      const published: Array<string> = []
      const sink = Sinks.fromFunction((entry) => Effect.sync(() => published.push(Sinks.eventIdOf(entry))))
      let lives = 0
      const cursor: Sinks.CursorStore<never, TapeClient> = {
        open: (name) =>
          Effect.map(Sinks.cursorValue.open(name), (opened) => {
            lives += 1
            return lives > 1 ? opened : { position: Option.none(), save: () => Effect.dieMessage("power cut") }
          })
      }
      const tick = Sinks.relayOnce({ name: "evt-11", pattern: "/tape/value/changed/evt-11/*", cursor }, sink)
      for (const key of keys(3)) yield* write("evt-11", key)
      yield* Effect.exit(tick)
      assert.lengthOf(published, 3)
      yield* write("evt-11", "k3")
      assert.strictEqual((yield* tick).published, 4)
      assert.deepStrictEqual(published.slice(3, 6), published.slice(0, 3))
      assert.strictEqual(new Set(published).size, 4)
      assert.strictEqual((yield* tick).published, 0)
    })
  }
]
