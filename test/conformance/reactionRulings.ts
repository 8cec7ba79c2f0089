/** What is ruled about reactions and the matcher. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { HandlerKind, RunStatus } from "effect-tape/proto"
import { eventually, refused } from "./Expect.js"
import { record } from "./Fixtures.js"
import { reaction } from "./reacting.js"
import { runsOf, treasury } from "./reactions.js"
import { type Scenario, scenario } from "./Scenario.js"
import { fnv1a } from "./tasks.js"

export const reactionRulings: ReadonlyArray<Scenario> = [
  scenario("RUL-RCT-1", "P0", "what cannot work is refused when it is registered", function* (w) {
    const subjectPattern = `/never/${w.id}`
    const { registerReaction } = w.tape
    const { AGENT, TASK, UNSPECIFIED } = HandlerKind
    yield* refused(
      registerReaction({ subjectPattern: `${subjectPattern}/**/x`, handlerKind: TASK }),
      "InvalidRequest",
      "**"
    )
    yield* refused(registerReaction({ subjectPattern, handlerKind: UNSPECIFIED }), "InvalidRequest", "handler_kind")
    yield* refused(registerReaction({ subjectPattern, handlerKind: 9 as number }), "InvalidRequest", "handler_kind")
    yield* refused(registerReaction({ subjectPattern, handlerKind: AGENT }), "InvalidRequest", "agent_app")
    yield* refused(registerReaction({ subjectPattern, handlerKind: TASK, predicateCel: "1 +" }), "InvalidRequest")
    assert.deepEqual((yield* w.tape.listReactions({ subjectPattern })).reactions, [])
    const kept = yield* reaction(w, { subjectPattern, handlerKind: TASK, name: "kept" })
    yield* refused(
      registerReaction({ reactionId: kept.id, subjectPattern, handlerKind: TASK, predicateCel: ")" }),
      "InvalidRequest"
    )
    const { reactions } = yield* w.tape.listReactions({ subjectPattern })
    assert.deepEqual(reactions, [kept.registered], "the row is as it was")
  }),

  scenario("RUL-RCT-2", "P0", "registering again goes on where it was, whatever it asks of the head", function* (w) {
    const { subjectPattern, write } = treasury(w)
    const one = yield* reaction(w, { subjectPattern })
    yield* write("1")
    yield* one.whenTasks(1)
    for (const bootstrapFromHead of [false, true]) {
      yield* w.tape.registerReaction({ ...one.registered, bootstrapFromHead, name: `${bootstrapFromHead}` })
    }
    yield* write("2")
    const tasks = yield* one.whenTasks(2)
    yield* Effect.sleep("50 millis")
    assert.equal((yield* one.tasks()).length, 2)
    assert.ok(tasks.at(-1)?.subject.endsWith("/2"))
  }),

  scenario("RUL-RCT-3", "P0", "other shard counts make no entry a task twice, and lose none", function* (w) {
    const app = yield* w.run("first")
    const version = `v-${w.id}`
    const one = yield* reaction(w, {
      subjectPattern: "/tape/decision/recorded/**",
      predicateCel: `payload.policy_version == "${version}"`,
      numShards: 2
    })
    const runIds = [app, ...(yield* Effect.forEach(["a", "b", "c", "d"], (name) => w.run(name)))]
    let written = 0
    for (const numShards of [2, 7, 1, 4]) {
      yield* w.tape.registerReaction({ ...one.registered, numShards })
      yield* Effect.forEach(
        Array.from({ length: 25 }, (_, n) => n),
        (n) => w.decide(runIds[n % 5] ?? "", written + n, { policyVersion: version }),
        { concurrency: 8 }
      )
      written += 25
      const tasks = yield* one.whenTasks(written)
      for (const task of tasks.slice(-25)) assert.ok(task.shard < 7)
    }
    yield* Effect.sleep("50 millis")
    const tasks = yield* one.tasks()
    assert.deepEqual([tasks.length, new Set(tasks.map((task) => task.sourceGlobalSeq)).size], [100, 100])
    for (const task of tasks.slice(-25)) assert.equal(task.shard, fnv1a(task.sourceRunId) % 4)
  }),

  scenario("RUL-RCT-4", "P0", "a reaction does not react to the runs it began", function* (w) {
    const agentApp = `echo-${w.id}`
    const subjectPattern = `/tape/run/*/${agentApp}/**`
    const one = yield* reaction(w, { subjectPattern, handlerKind: HandlerKind.AGENT, agentApp })
    const { runId } = yield* w.tape.beginRun({ appName: agentApp, invocationId: "by hand", leaseTtlMs: 1n })
    const mine = (runs: ReadonlyArray<{ readonly invocationId: string }>) =>
      runs.filter((run) => run.invocationId.startsWith(`react-${one.id}-`))
    const runs = yield* eventually("a run", runsOf(w, agentApp, 1), (runs) => mine(runs).length === 1)
    const echo = record(runs.find((run) => run.invocationId !== "by hand"))
    yield* w.endRun(echo.runId, RunStatus.FAILED)
    const watcher = yield* reaction(w, { subjectPattern: `/tape/run/failed/${agentApp}/**`, bootstrapFromHead: false })
    yield* watcher.whenTasks(1)
    yield* w.endRun(runId, RunStatus.COMPENSATING)
    yield* eventually("the second run", runsOf(w, agentApp, 1), (runs) => mine(runs).length === 1)
    const begun = yield* w.bySubject(
      `/tape/run/running/${agentApp}/**`,
      0n,
      (entry) => entry.payloadJson.includes(`react-${one.id}-`) && entry.runId !== echo.runId
    )
    assert.deepEqual(begun.length, 3, "one by hand, one for its begin, one for its end")
  }),

  scenario("RUL-RCT-5", "P0", "one reaction far behind holds no other back", function* (w) {
    const { subjectPattern, write } = treasury(w)
    const runId = yield* w.run("a")
    yield* Effect.forEach(
      Array.from({ length: 600 }, (_, n) => n),
      (n) => w.decide(runId, n),
      { concurrency: 32 }
    )
    const behind = yield* reaction(w, {
      subjectPattern: `/tape/decision/recorded/${runId}/*`,
      bootstrapFromHead: false
    })
    const fresh = yield* reaction(w, { subjectPattern })
    yield* write("x")
    yield* fresh.whenTasks(1)
    yield* behind.whenTasks(600)
    assert.equal(new Set((yield* behind.tasks()).map((task) => task.sourceGlobalSeq)).size, 600)
  }),

  scenario("RUL-RCT-6", "P1", "a task follows its entry within half a second", function* (w) {
    const { subjectPattern, write } = treasury(w)
    const one = yield* reaction(w, { subjectPattern })
    const quick = Effect.gen(function* () {
      const before = (yield* one.tasks()).length
      yield* write("x")
      const start = Date.now()
      yield* one.whenTasks(before + 1)
      return Date.now() - start
    })
    yield* eventually("a task within half a second", quick, (waited) => waited <= 500)
  }),

  scenario("RUL-RCT-7", "P0", "`X/**` matches X, and non-ASCII patterns match, as on a stream", function* (w) {
    const namespace = `bücher-${w.id}`
    const exact = yield* reaction(w, { subjectPattern: `/tape/value/changed/${namespace}/日本/**` })
    const star = yield* reaction(w, { subjectPattern: `/tape/*/changed/${namespace}/*` })
    yield* w.tape.writeValue({ namespace, key: "日本", valueJson: "1", ifVersion: -1n })
    for (const one of [exact, star]) {
      const tasks = yield* one.whenTasks(1)
      assert.equal(tasks[0]?.subject, `/tape/value/changed/${namespace}/日本`)
    }
  })
]
