/** Section K: tasks. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { TaskStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { record, type World } from "./Fixtures.js"
import { bySource, reaction } from "./reacting.js"
import { treasury } from "./reactions.js"
import { type Scenario, scenario } from "./Scenario.js"

type Settings = Parameters<typeof reaction>[1]

/** A reaction with `count` tasks of as many keys. */
export const withTasks = (w: World, count: number, settings: Settings = {}) =>
  Effect.gen(function* () {
    const { subjectPattern, write } = treasury(w)
    const one = yield* reaction(w, { subjectPattern, ...settings })
    yield* Effect.forEach(
      Array.from({ length: count }, (_, n) => n),
      (n) => write(`k${n}`, `${n}`),
      { concurrency: 16 }
    )
    yield* one.whenTasks(count)
    return { ...one, write }
  })

/** FNV-1a with 32 bits, of the UTF-8 form. */
export const fnv1a = (text: string): number => {
  let hash = 2_166_136_261
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 16_777_619) >>> 0
  return hash
}

export const tasks: ReadonlyArray<Scenario> = [
  scenario("RCT-12", "P0", "a claim leases tasks, at most as many as asked for", function* (w) {
    const one = yield* withTasks(w, 30)
    const before = yield* w.now
    const claimed = yield* one.claim("A", 10, { leaseMs: 60_000n })
    const after = yield* w.now
    assert.equal(claimed.length, 10)
    for (const task of claimed) {
      assert.deepEqual([task.status, task.leaseOwner, task.attempts], [TaskStatus.CLAIMED, "A", 1])
      assert.ok(task.leaseExpiresAtMs >= before + 60_000n && task.leaseExpiresAtMs <= after + 60_000n)
      const payload = JSON.parse(task.payloadJson)
      assert.equal(`k${payload.value.value_json}`, payload.key)
    }
    const defaults = yield* one.claim("B", 0, { leaseMs: 0n })
    assert.equal(defaults.length, 16)
    assert.ok(record(defaults[0]).leaseExpiresAtMs >= before + 60_000n)
    const rest = yield* one.claim("C", -1, { leaseMs: -5n, shard: -7 })
    assert.equal(rest.length, 4)
    assert.deepEqual(yield* one.claim("D"), [], "none is no failure")
    const ids = [...claimed, ...defaults, ...rest].map((task) => task.taskId)
    assert.equal(new Set(ids).size, 30)
    yield* refused(one.claim(""), "InvalidRequest", "owner is required")
    assert.deepEqual((yield* w.tape.claimTasks({ reactionId: "", owner: "A", shard: -1 })).tasks, [])
  }),

  scenario("RCT-13", "P0", "8 owners that claim in a loop get every one of 200 tasks once", function* (w) {
    const one = yield* withTasks(w, 200)
    const owners = Array.from({ length: 8 }, (_, n) => `o${n}`)
    const loop = (owner: string) =>
      Effect.gen(function* () {
        const mine: Array<string> = []
        for (;;) {
          const claimed = yield* one.claim(owner, 7)
          if (claimed.length === 0) return mine
          for (const task of claimed) {
            assert.equal(task.leaseOwner, owner)
            mine.push(task.taskId)
          }
        }
      })
    // one that finds none may have met the others in the middle of theirs
    const twice = (owner: string) => Effect.zipWith(loop(owner), loop(owner), (a, b) => [...a, ...b])
    const all = (yield* Effect.forEach(owners, twice, { concurrency: "unbounded" })).flat()
    assert.deepEqual([all.length, new Set(all).size], [200, 200])
    for (const task of yield* one.tasks()) assert.equal(task.attempts, 1)
  }),

  scenario("RCT-14", "P0", "only its owner settles a task", function* (w) {
    const one = yield* withTasks(w, 1)
    const { taskId } = record((yield* one.claim("A"))[0])
    yield* refused(one.complete(taskId, "B"), "PreconditionFailed")
    yield* refused(one.nack(taskId, "B"), "PreconditionFailed")
    const [task] = yield* one.tasks()
    assert.deepEqual([task?.status, task?.leaseOwner, task?.attempts], [TaskStatus.CLAIMED, "A", 1])
    for (const call of [one.complete(taskId, ""), one.nack(taskId, "")]) {
      yield* refused(Effect.asVoid(call), "InvalidRequest", "owner is required")
    }
    for (const call of [one.complete(`no-such-${w.id}`, "A"), one.nack(`no-such-${w.id}`, "A")]) {
      yield* refused(Effect.asVoid(call), "NotFound")
    }
    const done = record(yield* one.complete(taskId, "A"))
    assert.deepEqual([done.status, done.leaseOwner, done.leaseExpiresAtMs], [TaskStatus.DONE, "", 0n])
    assert.deepEqual(yield* one.claim("A", 0, { nowMs: (yield* w.now) + 86_400_000n }), [])
  }),

  scenario("RCT-16", "P0", "a task that failed waits, twice as long each time", function* (w) {
    const one = yield* withTasks(w, 1, { retryBackoffMs: 2000, dlqAfterN: 10 })
    let nowMs = yield* w.now
    for (const [attempts, wait] of [
      [1, 2000n],
      [2, 4000n],
      [3, 8000n]
    ] as const) {
      const { taskId, ...claimed } = record((yield* one.claim("A", 0, { nowMs }))[0])
      assert.equal(claimed.attempts, attempts)
      const before = yield* w.now
      const task = record(yield* one.nack(taskId, "A", `error ${attempts}`))
      const after = yield* w.now
      assert.deepEqual(
        [task.status, task.attempts, task.lastError, task.leaseOwner, task.leaseExpiresAtMs],
        [TaskStatus.PENDING, attempts, `error ${attempts}`, "", 0n]
      )
      assert.ok(task.nextAttemptAtMs >= before + wait && task.nextAttemptAtMs <= after + wait)
      assert.deepEqual(yield* one.claim("A", 0, { nowMs: task.nextAttemptAtMs - 1n }), [])
      nowMs = task.nextAttemptAtMs
    }
    assert.equal((yield* one.claim("A", 0, { nowMs })).length, 1)
  }),

  scenario("RCT-17", "P0", "a task that keeps failing ends in the DLQ, and stays there", function* (w) {
    const one = yield* withTasks(w, 2, { dlqAfterN: 2, retryBackoffMs: 1 })
    const future = (yield* w.now) + 86_400_000n
    const [first, second] = yield* one.claim("A", 2)
    const dead = record(yield* one.nack(record(first).taskId, "A", "hopeless", true))
    assert.deepEqual([dead.status, dead.attempts, dead.lastError], [TaskStatus.DLQ, 1, "hopeless"])
    assert.equal((yield* one.nack(record(second).taskId, "A"))?.status, TaskStatus.PENDING)
    assert.equal((yield* one.claim("A", 0, { nowMs: future })).length, 1)
    const last = record(yield* one.nack(record(second).taskId, "A", "again"))
    assert.deepEqual([last.status, last.attempts, last.lastError], [TaskStatus.DLQ, 2, "again"])
    assert.deepEqual(yield* one.claim("A", 0, { nowMs: future + future }), [])
    yield* refused(one.complete(last.taskId, "A"), "PreconditionFailed")
    yield* refused(one.nack(last.taskId, "A"), "PreconditionFailed")
    assert.equal((yield* one.tasks(TaskStatus.DLQ)).length, 2)
  }),

  scenario("RCT-19", "P1", "all tasks of a run share the shard that its id hashes to", function* (w) {
    assert.deepEqual(
      ["", "a", "r1", "run-1", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"].map(fnv1a),
      [2_166_136_261, 3_826_002_220, 206_831_020, 1_016_944_636, 3_905_166_385],
      "the table of the contract"
    )
    const session = `s-${w.id}`
    const runIds: Array<string> = []
    const one = yield* reaction(w, {
      subjectPattern: "/tape/decision/recorded/*/*",
      predicateCel: `payload.policy_version == "${session}"`,
      numShards: 4
    })
    for (let n = 0; n < 40; n++) runIds.push(yield* w.run(`${n}`))
    yield* Effect.forEach([...runIds, ...runIds], (runId, n) => w.decide(runId, n, { policyVersion: session }), {
      concurrency: 8
    })
    const tasks = yield* one.whenTasks(80)
    for (const task of tasks) assert.equal(task.shard, fnv1a(task.sourceRunId) % 4, task.sourceRunId)
    const shards = [...new Set(tasks.map((task) => task.shard))].toSorted()
    assert.ok(shards.length > 1)
    for (const shard of shards) {
      const claimed = yield* one.claim("A", 3, { shard })
      assert.ok(claimed.length > 0 && claimed.every((task) => task.shard === shard))
    }
    const rest = yield* one.claim("A", 100)
    assert.ok(new Set(rest.map((task) => task.shard)).size > 1, "-1 is any")
    const plain = yield* w.tape.claimTasks({ reactionId: one.id, owner: "A" })
    assert.deepEqual(plain.tasks, [], "0 is shard 0, and all of it is claimed")
  }),

  scenario("RCT-19-VALUES", "P1", "entries without a run hash the empty id", function* (w) {
    for (const [numShards, shard] of [
      [2, 1],
      [3, 1],
      [4, 1],
      [16, 5]
    ] as const) {
      const { write, subjectPattern } = treasury(w)
      const one = yield* reaction(w, { subjectPattern, numShards })
      yield* write("x")
      const [task] = yield* one.whenTasks(1)
      assert.equal(task?.shard, shard, `${numShards} shards`)
    }
  }),

  scenario("RCT-26-WIRE", "P1", "a task carries the trace of its entry", function* (w) {
    const runId = yield* w.run("a")
    const one = yield* reaction(w, { subjectPattern: `/tape/decision/recorded/${runId}/*` })
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    yield* w.tape.recordDecision({ runId, decisionIndex: 0n }, { metadata: { traceparent } })
    const [task] = yield* one.whenTasks(1)
    assert.deepEqual([task?.traceId, task?.parentSpanId], ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"])
  }),

  scenario("RCT-29", "P1", "tasks are listed by status, the newest first, as many as asked for", function* (w) {
    const one = yield* withTasks(w, 6, { dlqAfterN: 1 })
    const claimed = yield* one.claim("A", 3)
    yield* one.complete(record(claimed[0]).taskId, "A")
    yield* one.nack(record(claimed[1]).taskId, "A", "boom")
    const count = (status: TaskStatus) => Effect.map(one.tasks(status), (tasks) => tasks.length)
    const { CLAIMED, DLQ, DONE, FAILED, PENDING, UNSPECIFIED } = TaskStatus
    const counts = yield* Effect.forEach([UNSPECIFIED, PENDING, CLAIMED, DONE, FAILED, DLQ], count)
    assert.deepEqual(counts, [6, 3, 1, 1, 0, 1])
    const [dead] = yield* one.tasks(DLQ)
    assert.deepEqual([dead?.lastError, dead?.payloadJson], ["boom", claimed[1]?.payloadJson])
    const { tasks } = yield* w.tape.listTasks({ reactionId: one.id, limit: 4 })
    assert.equal(tasks.length, 4)
    const created = tasks.map((task) => task.createdAtMs)
    assert.deepEqual(
      created,
      created.toSorted((a, b) => Number(b - a))
    )
    assert.equal(bySource(tasks).length, 4)
    assert.deepEqual((yield* w.tape.listTasks({ reactionId: `no-such-${w.id}` })).tasks, [])
  })
]
