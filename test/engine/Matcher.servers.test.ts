import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Client, TapeClient } from "effect-tape"
import { Engine, Store, StoreError } from "effect-tape/engine"
import { HandlerKind } from "effect-tape/proto"
import * as SqliteStore from "../../src/engine/store/sqlite/SqliteStore.js"
import {
  anotherServer,
  react,
  serverOn,
  settled,
  sources,
  tapeWith,
  tasks,
  tasksWhen,
  upTo,
  write,
  writeMany
} from "../fixtures/matcher-tape.js"
import { temporaryDirectory } from "../support/Harness.js"
import { eventually, tapeOverStore as tape } from "./ledgerFixtures.js"

describe("several servers on one store", () => {
  it.live("find every entry once between them, and never get into each other's way", () => {
    let failed = 0
    const watched = tapeWith((store) => ({
      ...store,
      write: (call) => Effect.tapErrorTag(store.write(call), "StoreError", () => Effect.sync(() => (failed += 1)))
    }))
    return Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react()
      yield* react({ reactionId: "agent", handlerKind: HandlerKind.AGENT, agentApp: "followup" })
      yield* anotherServer
      yield* anotherServer
      yield* writeMany(500)
      yield* tasksWhen(500)
      yield* settled
      const found = sources(yield* tasks())
      assert.lengthOf(found, 500)
      assert.strictEqual(new Set(found).size, 500)
      const { runs } = yield* eventually(tape.listRunsToRecover({ limit: 1000n }), ({ runs }) => runs.length >= 500)
      assert.lengthOf(runs, 500)
      assert.strictEqual(new Set(runs.map(({ invocationId }) => invocationId)).size, 500)
      assert.strictEqual(failed, 0)
    }).pipe(Effect.scoped, Effect.provide(watched))
  })

  it.live("do what another one has left undone", () =>
    Effect.gen(function* () {
      const store = yield* Store.Store
      const [hasRead, hasWritten] = yield* Effect.all([Effect.makeLatch(), Effect.makeLatch()])
      let writes = 0
      // The first server writes 100 values and registers; then it gets one transaction of the matcher done, no more.
      const first = yield* serverOn({
        ...store,
        write: (call) => {
          writes += 1
          return writes < 102
            ? store.write(call)
            : writes === 102
              ? hasRead.whenOpen(Effect.zipLeft(store.write(call), hasWritten.open))
              : Effect.never
        }
      })
      yield* Effect.provideService(Effect.zipRight(writeMany(100), react()), TapeClient, first)
      // The second one has read the same entries by then.
      const second = yield* serverOn({
        ...store,
        tail: {
          after: (cursor, limit) =>
            store.tail
              .after(cursor, limit)
              .pipe(Effect.zipLeft(hasRead.open), (page) => Effect.zipLeft(page, hasWritten.await))
        }
      })
      const found = yield* Effect.provideService(tasksWhen(100), TapeClient, second)
      assert.deepStrictEqual(sources(found), upTo(100))
    }).pipe(Effect.scoped, Effect.provide(SqliteStore.layer({ url: "memory:" })))
  )

  it.live("do not act on what was registered before, noticed or not", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react()
      // On a private store nobody looks for changes through other servers: this one will not notice.
      const other = yield* anotherServer
      yield* write("a")
      yield* tasksWhen(1)
      yield* react({ subjectPattern: "/tape/run/**" })
      yield* other.writeValue({ namespace: "n", key: "b", valueJson: "1", ifVersion: -1n })
      yield* tape.beginRun({ appName: "app" })
      yield* tasksWhen(2)
      yield* settled
      const kinds = (yield* tasks()).map(({ subject }) => subject.split("/")[2])
      assert.deepStrictEqual(kinds, ["value", "run"])
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.live("notice a reaction that was registered through another one", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      yield* Effect.gen(function* () {
        // This server registers, and is gone before anything is written.
        yield* Effect.scoped(
          Effect.flatMap(anotherServer, (other) =>
            other.registerReaction({ reactionId: "r", subjectPattern: "/tape/value/**", handlerKind: HandlerKind.TASK })
          )
        )
        yield* write("k")
        assert.lengthOf(yield* tasksWhen(1), 1)
      }).pipe(
        Effect.provide(
          Client.layerHandlers(Engine.Engine).pipe(
            Layer.provide(Engine.layer()),
            Layer.provideMerge(SqliteStore.layer({ url: `sqlite:${directory}/tape.db` }))
          )
        )
      )
    }).pipe(Effect.scoped)
  )
})

describe("trouble", () => {
  it.live("a task that cannot be created is created later, and nothing is left out", () => {
    let writes = 0
    // Three values and the registration are written; what comes after is the matcher's.
    const failing = tapeWith((store) => ({
      ...store,
      write: (call) =>
        Effect.suspend(() => {
          writes += 1
          return writes > 4 && writes <= 7
            ? Effect.fail(new StoreError({ reason: "Unavailable", url: store.url, detail: "no" }))
            : store.write(call)
        })
    }))
    return Effect.gen(function* () {
      yield* writeMany(3)
      yield* react()
      assert.deepStrictEqual(sources(yield* tasksWhen(3)), [1, 2, 3])
      assert.strictEqual(writes, 8)
    }).pipe(Effect.provide(failing))
  })

  it.live("a reaction that is far behind holds no other back", () => {
    const stuck = tapeWith((store) => ({
      ...store,
      tail: { after: (cursor, limit) => (cursor < 100n ? Effect.never : store.tail.after(cursor, limit)) }
    }))
    return Effect.gen(function* () {
      yield* writeMany(100)
      yield* react({ reactionId: "behind" })
      yield* react({ reactionId: "ahead", bootstrapFromHead: true })
      yield* write("new")
      assert.deepStrictEqual(sources(yield* tasksWhen(1, "ahead")), [101])
      assert.deepStrictEqual(yield* tasks("behind"), [])
    }).pipe(Effect.provide(stuck))
  })
})
