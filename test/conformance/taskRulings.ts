/** What is ruled about tasks. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { TaskStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { record } from "./Fixtures.js"
import { reaction } from "./reacting.js"
import { treasury } from "./reactions.js"
import { type Scenario, scenario } from "./Scenario.js"
import { withTasks } from "./tasks.js"

export const taskRulings: ReadonlyArray<Scenario> = [
  scenario(
    "RUL-TASK-1",
    "P0",
    "a claimer that died costs an attempt; the last one sends the task to the DLQ",
    function* (w) {
      const one = yield* withTasks(w, 1, { dlqAfterN: 2 })
      const start = yield* w.now
      const first = record((yield* one.claim("A", 0, { leaseMs: 1000n, nowMs: start }))[0])
      assert.equal(first.leaseExpiresAtMs, start + 1000n)
      assert.deepEqual(yield* one.claim("B", 0, { nowMs: first.leaseExpiresAtMs }), [], "alive to its last millisecond")
      const second = record((yield* one.claim("B", 0, { leaseMs: 1000n, nowMs: first.leaseExpiresAtMs + 1n }))[0])
      assert.deepEqual([second.taskId, second.attempts, second.leaseOwner], [first.taskId, 2, "B"])
      yield* refused(one.nack(first.taskId, "A"), "PreconditionFailed")
      assert.deepEqual(yield* one.claim("C", 0, { nowMs: second.leaseExpiresAtMs + 1n }), [])
      const [dead] = yield* one.tasks()
      assert.deepEqual([dead?.status, dead?.attempts], [TaskStatus.DLQ, 2])
      assert.equal(dead?.lastError, "lease expired after attempt 2, last owner B")
    }
  ),

  scenario("RUL-TASK-2", "P0", "completing again is the same answer, for its owner only", function* (w) {
    const one = yield* withTasks(w, 1)
    const { taskId } = record((yield* one.claim("A"))[0])
    const done = yield* one.complete(taskId, "A")
    assert.deepEqual(yield* one.complete(taskId, "A"), done)
    yield* refused(one.complete(taskId, "B"), "PreconditionFailed")
    yield* refused(one.nack(taskId, "B"), "PreconditionFailed")
    yield* refused(one.nack(taskId, "A"), "PreconditionFailed")
    assert.equal((yield* one.tasks(TaskStatus.DONE)).length, 1)
  }),

  scenario(
    "RUL-TASK-3",
    "P1",
    "a lease that ran out and was not taken still completes, and still nacks",
    function* (w) {
      const one = yield* withTasks(w, 2, { retryBackoffMs: 1000 })
      const [first, second] = yield* one.claim("A", 2, { leaseMs: 1n })
      yield* Effect.sleep("10 millis")
      assert.equal((yield* one.complete(record(first).taskId, "A"))?.status, TaskStatus.DONE)
      assert.equal((yield* one.nack(record(second).taskId, "A"))?.status, TaskStatus.PENDING)
    }
  ),

  scenario(
    "RUL-TASK-4",
    "P0",
    "tasks of a deregistered reaction are not handed out; a claimed one is finished",
    function* (w) {
      const one = yield* withTasks(w, 3)
      const [first, second] = yield* one.claim("A", 2)
      yield* w.tape.deregisterReaction({ reactionId: one.id })
      assert.deepEqual(yield* one.claim("B"), [])
      assert.equal((yield* one.complete(record(first).taskId, "A"))?.status, TaskStatus.DONE)
      assert.equal((yield* one.nack(record(second).taskId, "A"))?.status, TaskStatus.PENDING)
      assert.deepEqual(yield* one.claim("B", 0, { nowMs: (yield* w.now) + 86_400_000n }), [])
      assert.equal((yield* one.tasks()).length, 3, "they are still listed")
      yield* one.write("missed")
      yield* reaction(w, { ...one.registered, bootstrapFromHead: true })
      const tasks = yield* one.whenTasks(4)
      assert.ok(tasks.at(-1)?.subject.endsWith("/missed"), "what it missed comes when it is back")
      assert.equal((yield* one.claim("B", 0, { nowMs: (yield* w.now) + 86_400_000n })).length, 3)
    }
  ),

  scenario("RUL-TASK-5", "P0", "within a shard fresh tasks go out in the order of their entries", function* (w) {
    const one = yield* withTasks(w, 40)
    const expected = (yield* one.tasks()).map((task) => task.taskId)
    const claimed: Array<string> = []
    for (let n = 0; n < 8; n++) claimed.push(...(yield* one.claim("A", 5)).map((task) => task.taskId))
    assert.deepEqual(claimed, expected)
  }),

  scenario("RUL-TASK-6", "P0", "debounced: one task of a burst, with the last entry's payload", function* (w) {
    const { subjectPattern, write } = treasury(w)
    const one = yield* reaction(w, { subjectPattern, debounceMs: 60_000 })
    const from = yield* w.position
    for (const text of ["1", "2", "3"]) yield* write("a", text)
    yield* write("b", "4")
    const burst = yield* w.bySubject(subjectPattern, from, (entry) => entry.subject.endsWith("/b"))
    const [a, b] = yield* one.whenTasks(2)
    const last = (task: typeof a) => JSON.parse(record(task).payloadJson).value.value_json
    assert.deepEqual([last(a), last(b)], ["3", "4"])
    assert.equal(a?.sourceGlobalSeq, burst[2]?.globalSeq, "it shows the entry whose payload it has")
    const claimed = yield* one.claim("A", 1)
    assert.equal(claimed[0]?.taskId, a?.taskId, "it could be claimed from the start")
    yield* write("a", "5")
    const [kept, fresh] = (yield* one.whenTasks(3)).filter((task) => task.subject === a?.subject)
    assert.deepEqual(
      [last(kept), kept?.status, last(fresh)],
      ["3", TaskStatus.CLAIMED, "5"],
      "a claimed one is left alone"
    )
  }),

  scenario("RUL-TASK-7", "P1", "without debounce each entry is a task, however quick", function* (w) {
    const { subjectPattern, write } = treasury(w)
    const one = yield* reaction(w, { subjectPattern })
    for (let n = 0; n < 10; n++) yield* write("a", `${n}`)
    const tasks = yield* one.whenTasks(10)
    assert.deepEqual(
      tasks.map((task) => JSON.parse(task.payloadJson).value.value_json),
      Array.from({ length: 10 }, (_, n) => `${n}`)
    )
  }),

  scenario("RUL-TASK-8", "P0", "of 16 racing settlements of one claim one stands", function* (w) {
    const one = yield* withTasks(w, 1, { retryBackoffMs: 1000 })
    const { taskId } = record((yield* one.claim("A"))[0])
    const outcomes = yield* w.race(16, (n) => (n % 2 === 0 ? one.complete(taskId, "A") : one.nack(taskId, "A", `${n}`)))
    const statuses = outcomes.filter(Either.isRight).map((outcome) => outcome.right?.status)
    assert.equal(new Set(statuses).size, 1)
    const nacks = outcomes.filter((outcome, n) => n % 2 === 1 && Either.isRight(outcome)).length
    assert.ok(nacks <= 1, "a nack is no answer to a nack")
    const [task] = yield* one.tasks()
    assert.equal(task?.status, statuses[0])
  })
]
