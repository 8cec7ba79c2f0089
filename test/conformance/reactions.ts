/** Section K: reactions, and what matches them. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { HandlerKind, RunStatus, TaskStatus } from "effect-tape/proto"
import { eventually } from "./Expect.js"
import { record, type World } from "./Fixtures.js"
import { reaction } from "./reacting.js"
import { type Scenario, scenario } from "./Scenario.js"
import { valueOf } from "./values.js"

/** A pattern on the values of a namespace of the scenario's own. */
export const treasury = (w: World) => {
  const namespace = `treasury-${w.id}`
  return {
    subjectPattern: `/tape/value/changed/${namespace}/**`,
    write: (key: string, valueJson = "1") => valueOf(w, key, namespace).write(valueJson)
  }
}

/** The runs that an AGENT reaction began for an app, once there are as many. */
export const runsOf = (w: World, app: string, count: number) =>
  eventually(
    `${count} runs of ${app}`,
    Effect.map(w.tape.listRunsToRecover({ limit: 10_000n }), ({ runs }) => runs.filter((run) => run.appName === app)),
    (runs) => runs.length >= count
  )

export const reactions: ReadonlyArray<Scenario> = [
  scenario("RCT-01", "P0", "an id is minted and echoed; registering it again changes its row", function* (w) {
    const { subjectPattern } = treasury(w)
    const { id, registered } = yield* reaction(w, { name: "one", subjectPattern, numShards: 2 })
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    const changed = yield* w.tape.registerReaction({
      reactionId: id,
      name: "two",
      subjectPattern,
      handlerKind: HandlerKind.PUBLISH,
      publishTarget: "topic",
      debounceMs: 7,
      retryMax: 9
    })
    const { reactions } = yield* w.tape.listReactions({ subjectPattern })
    assert.deepEqual(reactions, [changed])
    assert.deepEqual(
      [
        changed.name,
        changed.handlerKind,
        changed.publishTarget,
        changed.numShards,
        changed.debounceMs,
        changed.retryMax
      ],
      ["two", HandlerKind.PUBLISH, "topic", 1, 7, 9]
    )
    assert.equal(changed.createdAtMs, registered.createdAtMs, "it was created once")
  }),

  scenario("RCT-02", "P1", "zeros are defaults", function* (w) {
    const { registered } = yield* reaction(w, { subjectPattern: treasury(w).subjectPattern })
    const { deleted, bootstrapFromHead, debounceMs, dlqAfterN, maxConcurrency, numShards, rateLimitPerS } = registered
    assert.deepEqual(
      [maxConcurrency, numShards, registered.retryMax, registered.retryBackoffMs, dlqAfterN, rateLimitPerS, debounceMs],
      [1, 1, 5, 1000, 5, 0, 0]
    )
    assert.deepEqual([deleted, bootstrapFromHead], [false, false])
    assert.ok(registered.createdAtMs > 0n)
    const given = yield* reaction(w, {
      subjectPattern: "/x",
      reactionId: `given-${w.id}`,
      createdAtMs: 77n,
      maxConcurrency: -1,
      rateLimitPerS: 3
    })
    assert.deepEqual([given.id, given.registered.createdAtMs], [`given-${w.id}`, 77n])
    assert.deepEqual([given.registered.maxConcurrency, given.registered.rateLimitPerS], [1, 3])
  }),

  scenario("RCT-03", "P0", "one matching entry is one task", function* (w) {
    const from = yield* w.position
    const { subjectPattern, write } = treasury(w)
    const { id, whenTasks, tasks } = yield* reaction(w, { subjectPattern })
    yield* valueOf(w, "x", `other-${w.id}`).write("1")
    yield* write("rate", '{"n":1.0}')
    yield* valueOf(w, "x", `other-${w.id}`).write("2")
    const [task] = yield* whenTasks(1)
    const [entry] = yield* w.bySubject(subjectPattern, from, () => true)
    const { $typeName: _, taskId, createdAtMs, ...rest } = record(task)
    assert.notEqual(taskId, "")
    assert.ok(createdAtMs > 0n)
    assert.deepEqual(rest, {
      reactionId: id,
      shard: 0,
      sourceRunId: "",
      sourceGlobalSeq: record(entry).globalSeq,
      subject: record(entry).subject,
      payloadJson: record(entry).payloadJson,
      status: TaskStatus.PENDING,
      attempts: 0,
      nextAttemptAtMs: 0n,
      leaseOwner: "",
      leaseExpiresAtMs: 0n,
      lastError: "",
      traceId: "",
      parentSpanId: ""
    })
    yield* Effect.sleep("50 millis")
    assert.equal((yield* tasks()).length, 1)
  }),

  scenario("RCT-04", "P0", "a predicate narrows a reaction", function* (w) {
    const runId = yield* w.run("a")
    const subjectPattern = `/tape/effect/confirmed/*/${runId}`
    const sweeps = yield* reaction(w, { subjectPattern, predicateCel: 'payload.tool == "execute_sweep"' })
    const all = yield* reaction(w, { subjectPattern, predicateCel: "payload.missing == 1 || true" })
    for (const tool of ["execute_sweep", "other"]) {
      yield* w.confirm(runId, (yield* w.effect(runId, 0, tool, 0)).idempotencyKey)
    }
    yield* all.whenTasks(2)
    const tasks = yield* sweeps.whenTasks(1)
    assert.deepEqual(
      tasks.map((task) => [task.subject, task.sourceRunId]),
      [[`/tape/effect/confirmed/execute_sweep/${runId}`, runId]]
    )
  }),

  scenario("RCT-06", "P0", "from the head only what is new, else all of history", function* (w) {
    const { subjectPattern, write } = treasury(w)
    for (const key of ["1", "2", "3"]) yield* write(key)
    const head = yield* reaction(w, { subjectPattern, bootstrapFromHead: true })
    const history = yield* reaction(w, { subjectPattern, bootstrapFromHead: false })
    yield* history.whenTasks(3)
    assert.deepEqual(yield* head.tasks(), [])
    yield* write("4")
    const tasks = yield* head.whenTasks(1)
    assert.deepEqual(
      tasks.map((task) => task.subject.split("/").at(-1)),
      ["4"]
    )
    assert.deepEqual(
      (yield* history.whenTasks(4)).map((task) => task.subject.split("/").at(-1)),
      ["1", "2", "3", "4"]
    )
  }),

  scenario("RCT-07", "P0", "listing by the exact pattern; deregistering", function* (w) {
    const { subjectPattern } = treasury(w)
    const one = yield* reaction(w, { subjectPattern, createdAtMs: 1n })
    const two = yield* reaction(w, { subjectPattern, createdAtMs: 2n })
    const listed = (pattern: string) =>
      Effect.map(w.tape.listReactions({ subjectPattern: pattern }), ({ reactions }) =>
        reactions.map((reaction) => reaction.reactionId)
      )
    assert.deepEqual(yield* listed(subjectPattern), [one.id, two.id], "oldest first")
    assert.deepEqual(yield* listed(subjectPattern.replace("**", "*")), [])
    assert.deepEqual(
      (yield* listed("")).filter((id) => id === one.id || id === two.id),
      [one.id, two.id]
    )
    assert.equal((yield* w.tape.deregisterReaction({ reactionId: one.id })).deregistered, true)
    assert.deepEqual(yield* listed(subjectPattern), [two.id])
    assert.equal((yield* w.tape.deregisterReaction({ reactionId: one.id })).deregistered, true, "it is known")
    assert.equal((yield* w.tape.deregisterReaction({ reactionId: `no-such-${w.id}` })).deregistered, false)
  }),

  scenario(
    "RCT-10",
    "P0",
    "an AGENT reaction begins a run that a worker can recover, and makes no task",
    function* (w) {
      const { subjectPattern, write } = treasury(w)
      const agentApp = `followup-${w.id}`
      const { id, tasks } = yield* reaction(w, { subjectPattern, handlerKind: HandlerKind.AGENT, agentApp })
      const from = yield* w.position
      yield* write("rate")
      const [entry] = yield* w.bySubject(subjectPattern, from, () => true)
      const source = record(entry).globalSeq
      const [run] = yield* runsOf(w, agentApp, 1)
      const { invocationId, labels, runId, sessionId, status, userId } = record(run)
      assert.deepEqual([userId, sessionId, invocationId], ["", "", `react-${id}-${source}`])
      assert.equal(status, RunStatus.RUNNABLE)
      assert.deepEqual({ ...labels }, { "tape.reaction_id": id, "tape.source_global_seq": `${source}` })
      const [first] = yield* w.journal(runId)
      assert.deepEqual([first?.seq, first?.subject], [1n, `/tape/run/running/${agentApp}/_/_/${runId}`])
      assert.deepEqual(yield* tasks(), [])
      const taken = yield* w.resume(runId, "worker")
      assert.deepEqual([taken.status, taken.leaseOwner], [RunStatus.RUNNING, "worker"])
    }
  ),

  scenario("RCT-11", "P1", "a PUBLISH reaction makes a task that can be claimed, and no run", function* (w) {
    const { subjectPattern, write } = treasury(w)
    const one = yield* reaction(w, {
      subjectPattern,
      handlerKind: HandlerKind.PUBLISH,
      publishTarget: "topic",
      agentApp: `unused-${w.id}`
    })
    yield* write("rate")
    yield* one.whenTasks(1)
    assert.equal((yield* one.claim("A")).length, 1)
    const { runs } = yield* w.tape.listRunsToRecover({ limit: 10_000n })
    assert.deepEqual(
      runs.filter((run) => run.appName === `unused-${w.id}`),
      []
    )
  })
]
