import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { Client, TapeClient } from "effect-tape"
import { Engine, Retention } from "effect-tape/engine"
import { EffectStatus, HandlerKind, RunStatus } from "effect-tape/proto"
import * as Postgres from "../../support/Postgres.js"
import { continuation, invalidContinuations } from "../continuations.js"
import { eventually } from "../ledgerFixtures.js"
import * as LongKeys from "../longKeys.js"

const tape = Client.layerHandlers(Engine.Engine).pipe(
  Layer.provideMerge(
    Layer.unwrapEffect(
      Effect.map(
        Effect.flatMap(Postgres.Postgres, ({ freshDatabase }) => freshDatabase),
        (url) => Engine.layerUrl(url)
      )
    )
  ),
  Layer.provide(Postgres.layer())
)

layer(tape, { excludeTestServices: true })("values, sessions and retention on PostgreSQL", (it) => {
  it.effect("a watched value arrives version by version", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const key = { namespace: "n", key: "k" }
      const watching = yield* tape.watchValue(key).pipe(Stream.take(50), Stream.runCollect, Effect.fork)
      for (let version = 0n; version < 50n; version++) {
        yield* tape.writeValue({ ...key, valueJson: `${version}`, ifVersion: version })
      }
      const events = yield* watching
      assert.deepStrictEqual(
        Array.from(events, ({ prevVersion, value }) => [value?.version, prevVersion]),
        Array.from({ length: 50 }, (_, index) => [BigInt(index + 1), BigInt(index)])
      )
    })
  )

  it.effect("the longest keys work, longer ones are refused, as on every store", () =>
    Effect.flatMap(TapeClient, (tape) => Effect.zipRight(LongKeys.refused(tape), LongKeys.work(tape)))
  )

  it.effect("prunes, remembers, snapshots, archives, continues", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const retention = yield* Retention.Retention
      const session = { appName: "app", userId: "u", sessionId: "s" }
      const act = (runId: string, customKey: string, businessKey: string) =>
        Effect.zipRight(
          tape.beginEffect({ runId, toolName: "t", customKey, connector: "bank", businessKey }),
          tape.completeEffect({ runId, idempotencyKey: customKey, status: EffectStatus.CONFIRMED, responseJson: "1" })
        )
      yield* tape.registerReaction({ reactionId: "r", subjectPattern: "/tape/run/**", handlerKind: HandlerKind.TASK })
      const { runId } = yield* tape.beginRun({ ...session, invocationId: "1" })
      const { runId: open } = yield* tape.beginRun({ ...session, invocationId: "2" })
      yield* Effect.forEach(["a", "b", "c"], (key) => act(runId, key, key))
      yield* Effect.forEach(["d", "e"], (key) => act(open, key, key))
      yield* tape.endRun({ runId, status: RunStatus.TERMINAL })
      yield* tape.setTimer({ runId: open, timerId: "t", fireAtMs: 1n })
      yield* tape.listDueTimers({ claim: true })
      const { tasks } = yield* eventually(
        tape.claimTasks({ reactionId: "r", owner: "o", shard: -1, max: 1 }),
        ({ tasks }) => tasks.length > 0
      )
      yield* tape.completeTask({ taskId: tasks[0]?.taskId ?? "", owner: "o" })
      yield* Effect.sleep("20 millis")
      assert.deepInclude(yield* retention.snapshot({ runId: open }), { taken: 2, held: 0 })
      const policy = { effects: 0, tasks: 0, timers: 0 }
      const pruned = { runs: 2, effects: 5, obligations: 0, businessKeys: 5, tasks: 1, timers: 1, requestIds: 0 }
      assert.deepInclude(yield* retention.prune(policy), pruned)
      assert.deepInclude(yield* retention.prune(policy), { runs: 0, effects: 0, tasks: 0, timers: 0 })
      assert.strictEqual((yield* tape.beginEffect({ runId: open, toolName: "t", customKey: "d" })).responseJson, "1")
      const paid = yield* tape.beginEffect({ runId: open, toolName: "t", connector: "bank", businessKey: "a" })
      assert.strictEqual(paid.status, EffectStatus.CONFIRMED)
      const again = tape.beginEffect({ runId, toolName: "t", customKey: "a" })
      assert.strictEqual((yield* Effect.flip(again))._tag, "PreconditionFailed")
      yield* Effect.forEach(["1", "2", "3"], (id) =>
        tape.appendEvent({ ...session, event: { id, timestampMs: 5n }, stateDeltaJson: `{"${id}":1.0}` })
      )
      assert.deepInclude(yield* retention.archiveSessions({ idleFor: "1 day", archive: () => Effect.void }), {
        archived: 1,
        events: 3
      })
      yield* act(open, "f", "f")
      const continued = { ...session, invocationId: "2", newInvocationId: "3", stateJson: "{}" }
      assert.deepInclude(yield* retention.continueAsNew(continued), { pruned: 1, kept: 0, version: 1n })
      yield* tape.endRun({ runId: open, status: RunStatus.FAILED })
      yield* Effect.sleep("20 millis")
      assert.deepInclude(yield* retention.prune({ snapshots: 0 }), { snapshots: 3 })
      assert.deepInclude(yield* retention.prune({ snapshots: 0 }), { snapshots: 0 })
      const forgotten = tape.beginEffect({ runId: open, toolName: "t", customKey: "d" })
      assert.strictEqual((yield* Effect.flip(forgotten))._tag, "PreconditionFailed")
      assert.strictEqual((yield* Effect.flip(retention.snapshot({ runId: "\u0000" })))._tag, "RunNotFound")
    })
  )

  it.effect("a continuation that no store could keep is refused", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const continued = { ...continuation, appName: "continued" }
      const { runId } = yield* tape.beginRun(continued)
      yield* tape.beginEffect({ runId, toolName: "t", customKey: "a" })
      yield* tape.completeEffect({ runId, idempotencyKey: "a", status: EffectStatus.CONFIRMED, responseJson: '"a"' })
      yield* invalidContinuations(continued, runId)
    })
  )

  it.effect("a call that names itself is applied once, also when its repeats arrive together", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "charged" })
      const charge = tape.chargeBudget({ runId, tokens: 5n }, { metadata: { "tape-request-id": "one" } })
      yield* Effect.all(
        Array.from({ length: 20 }, () => charge),
        { concurrency: "unbounded" }
      )
      assert.strictEqual((yield* tape.admitBudget({ runId })).budget?.tokensSpent, 5n)
    })
  )
})
