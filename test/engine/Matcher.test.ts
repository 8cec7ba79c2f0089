import { assert, describe, it } from "@effect/vitest"
import { Effect, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { Store } from "effect-tape/engine"
import { HandlerKind, RunStatus, TaskStatus } from "effect-tape/proto"
import { shardOf } from "../../src/engine/matcher/shard.js"
import { Reactions } from "../../src/engine/store/tables.js"
import { collect } from "../conformance/Fixtures.js"
import {
  claim,
  react,
  settled,
  sources,
  tapeWith,
  tasks,
  tasksWhen,
  upTo,
  write,
  writeMany
} from "../fixtures/matcher-tape.js"
import { eventually, tapeOverStore as tape } from "./ledgerFixtures.js"

const confirm = (toolName: string) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { runId } = yield* tape.beginRun({ appName: "app", invocationId: toolName })
    const { idempotencyKey } = yield* tape.beginEffect({ runId, toolName })
    yield* tape.completeEffect({ runId, idempotencyKey, status: 2 })
  })

describe("a reaction", () => {
  it.effect("finds what its pattern and its predicate select, once each", () =>
    Effect.gen(function* () {
      yield* react({ subjectPattern: "/tape/effect/confirmed/**", predicateCel: 'payload.tool == "execute_sweep"' })
      yield* confirm("read_balance")
      yield* confirm("execute_sweep")
      yield* settled
      const found = yield* tasksWhen(1)
      assert.lengthOf(found, 1)
      assert.match(found[0]!.subject, /^\/tape\/effect\/confirmed\/execute_sweep\//)
      assert.deepInclude(JSON.parse(found[0]!.payloadJson), { tool: "execute_sweep", status: "confirmed" })
      assert.deepInclude(found[0]!, { status: TaskStatus.PENDING, attempts: 0, nextAttemptAtMs: 0n })
    }).pipe(Effect.provide(tape))
  )

  it.effect("starts at the beginning, or at the head when asked", () =>
    Effect.gen(function* () {
      yield* writeMany(300)
      yield* react({ reactionId: "all" })
      yield* react({ reactionId: "new", bootstrapFromHead: true })
      yield* write("another")
      assert.deepStrictEqual(sources(yield* tasksWhen(301, "all")), upTo(301))
      assert.deepStrictEqual(sources(yield* tasksWhen(1, "new")), [301])
    }).pipe(Effect.provide(tape))
  )

  it.effect("keeps the trace of the entry", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
      yield* react({ subjectPattern: "/tape/run/**" })
      yield* tape.beginRun({ appName: "app" }, { metadata: { traceparent: `00-${trace}-00f067aa0ba902b7-01` } })
      assert.deepInclude((yield* tasksWhen(1))[0]!, { traceId: trace, parentSpanId: "00f067aa0ba902b7" })
    }).pipe(Effect.provide(tape))
  )

  it.live("can be changed at any time without losing or doubling an entry", () =>
    Effect.gen(function* () {
      yield* react()
      const changing = Effect.forEach(upTo(20), (shards) => react({ numShards: shards, name: `${shards}` }))
      yield* Effect.all([writeMany(400), changing], { concurrency: "unbounded" })
      assert.deepStrictEqual(sources(yield* tasksWhen(400)), upTo(400))
      yield* settled
      assert.lengthOf(yield* tasks(), 400)
    }).pipe(Effect.provide(tape))
  )

  it.effect("that is gone finds nothing more", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react()
      yield* write("a")
      yield* tasksWhen(1)
      yield* tape.deregisterReaction({ reactionId: "r" })
      yield* write("b")
      yield* settled
      assert.lengthOf(yield* tasks(), 1)
    }).pipe(Effect.provide(tape))
  )

  it.effect("writes its cursor at most once a second while nothing matches", () => {
    let writes = 0
    const counting = tapeWith((store) => ({
      ...store,
      write: (call) => {
        writes += 1
        return store.write(call)
      }
    }))
    return Effect.gen(function* () {
      const store = yield* Store.Store
      const cursor = store
        .read((snapshot) => snapshot.get(Reactions, { reactionId: "r" }))
        .pipe(Effect.map((row) => Number(row?.matchedUpTo)))
      yield* react({ subjectPattern: "/tape/nothing" })
      yield* writeMany(100)
      yield* settled
      assert.strictEqual(yield* cursor, 0)
      const before = writes
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* eventually(cursor, (at) => at > 0), 101)
      assert.strictEqual(writes, before + 1)
    }).pipe(Effect.provide(counting))
  })
})

describe("an agent's reaction", () => {
  const agent = { handlerKind: HandlerKind.AGENT, agentApp: "followup" }
  const runs = Effect.flatMap(TapeClient, (tape) => tape.listRunsToRecover({ limit: 1000n })).pipe(
    Effect.map(({ runs }) => runs.filter(({ appName }) => appName === "followup"))
  )

  it.effect("begins a run for whoever recovers runs, and no task", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react(agent)
      yield* write("k")
      const [run] = yield* eventually(runs, (found) => found.length > 0)
      assert.deepInclude(run!, {
        status: RunStatus.RUNNABLE,
        leaseOwner: "",
        userId: "",
        sessionId: "",
        invocationId: "react-r-1",
        labels: { "tape.reaction_id": "r", "tape.source_global_seq": "1" }
      })
      const [first] = yield* collect(tape.subscribeRun({ runId: run!.runId }), () => true)
      assert.deepInclude(first!, { seq: 1n, kind: "run", subject: `/tape/run/running/followup/_/_/${run!.runId}` })
      assert.deepStrictEqual(yield* tasks(), [])
      const resumed = yield* tape.resumeRun({ runId: run!.runId, leaseOwner: "worker" })
      assert.strictEqual(resumed.run?.status, RunStatus.RUNNING)
    }).pipe(Effect.provide(tape))
  )

  it.effect("does not react to what its own runs do, but to everything else", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react({ ...agent, subjectPattern: "/tape/**" })
      yield* write("k")
      const [run] = yield* eventually(runs, (found) => found.length > 0)
      yield* tape.recordDecision({ runId: run!.runId, model: "m" })
      const other = yield* tape.beginRun({ appName: "other", labels: { "tape.reaction_id": "r" } })
      yield* write("end")
      const found = yield* eventually(runs, (found) => found.length >= 3)
      yield* settled
      const own = new Set((yield* runs).map(({ runId }) => runId))
      const entries = yield* collect(tape.subscribeBySubject({}), ({ subject }) => subject.includes("/mark/"))
      const sourceRuns = found.map(
        ({ labels }) => entries.find(({ globalSeq }) => `${globalSeq}` === labels["tape.source_global_seq"])?.runId
      )
      assert.sameMembers(sourceRuns, ["", other.runId, ""])
      assert.isFalse(sourceRuns.some((runId) => own.has(runId!)))
    }).pipe(Effect.provide(tape))
  )

  it.effect("leaves a run alone that is there already", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "followup", invocationId: "react-r-2", leaseOwner: "driver" })
      yield* tape.endRun({ runId, status: RunStatus.FAILED })
      yield* react({ ...agent, subjectPattern: "/tape/run/failed/**" })
      yield* settled
      assert.deepStrictEqual(yield* runs, [])
      assert.strictEqual((yield* tape.getRun({ runId })).status, RunStatus.FAILED)
    }).pipe(Effect.provide(tape))
  )
})

describe("debouncing", () => {
  it.effect("replaces what a task of the same subject is about, while nobody has it and it is young", () =>
    Effect.gen(function* () {
      yield* react({ debounceMs: 500 })
      yield* write("a", "1")
      yield* write("a", "2")
      yield* write("b", "3")
      yield* write("a", "4")
      yield* settled
      const [a, b] = yield* tasksWhen(2)
      assert.lengthOf(yield* tasks(), 2)
      assert.deepInclude(a!, { subject: "/tape/value/changed/n/a", sourceGlobalSeq: 4n, status: TaskStatus.PENDING })
      assert.strictEqual(JSON.parse(a!.payloadJson).value.value_json, "4")
      assert.deepInclude(b!, { subject: "/tape/value/changed/n/b", sourceGlobalSeq: 3n })

      const [mine] = yield* claim("A", { max: 1 })
      assert.strictEqual(mine?.taskId, b?.taskId)
      yield* write("b", "5")
      const [, held, third] = yield* tasksWhen(3)
      assert.deepStrictEqual(held, mine)
      assert.deepInclude(third!, { subject: "/tape/value/changed/n/b", status: TaskStatus.PENDING })

      yield* TestClock.adjust("500 millis")
      yield* write("a", "6")
      const fourth = (yield* tasksWhen(4)).at(-1)
      assert.deepInclude(fourth!, { subject: "/tape/value/changed/n/a", status: TaskStatus.PENDING })
      assert.deepInclude((yield* tasks())[0]!, { taskId: a!.taskId, sourceGlobalSeq: 4n })
    }).pipe(Effect.provide(tape))
  )
})

it("shards are those of FNV-1a", () => {
  const expected: ReadonlyArray<readonly [string, number, number]> = [
    ["", 2_166_136_261, 5],
    ["a", 3_826_002_220, 12],
    ["r1", 206_831_020, 12],
    ["run-1", 1_016_944_636, 12],
    ["3f2504e0-4f89-41d3-9a0c-0305e82c3301", 3_905_166_385, 1]
  ]
  for (const [runId, hash, of16] of expected) {
    assert.strictEqual(shardOf(runId, 2 ** 32), hash)
    assert.strictEqual(shardOf(runId, 16), of16)
  }
})
