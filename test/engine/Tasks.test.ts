import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, TestClock } from "effect"
import { type Errors, TapeClient } from "effect-tape"
import { HandlerKind, TaskStatus } from "effect-tape/proto"
import { claim, react, settled, tasks, tasksWhen, write, writeMany } from "../fixtures/matcher-tape.js"
import { eventually, tapeOverStore as tape } from "./ledgerFixtures.js"

const subjects = (found: ReadonlyArray<{ readonly subject: string }>) =>
  found.map(({ subject }) => subject.replace("/tape/value/changed/n/", ""))

describe("claiming tasks", () => {
  it.effect("hands out fresh tasks in the order of their sources, under a lease", () =>
    Effect.gen(function* () {
      yield* react()
      yield* writeMany(20)
      yield* tasksWhen(20)
      const claimed = yield* claim("A")
      assert.deepStrictEqual(
        subjects(claimed),
        Array.from({ length: 16 }, (_, index) => `k${index}`)
      )
      for (const task of claimed) {
        assert.deepInclude(task, {
          status: TaskStatus.CLAIMED,
          leaseOwner: "A",
          leaseExpiresAtMs: 60_000n,
          attempts: 1
        })
      }
      assert.deepStrictEqual(subjects(yield* claim("B", { max: 100 })), ["k16", "k17", "k18", "k19"])
      assert.deepStrictEqual(yield* claim("C"), [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("shard 0 is shard 0, a negative one is any; a shard is the hash of the run's id", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react({ subjectPattern: "/tape/run/running/**", numShards: 4 })
      for (let index = 0; index < 40; index++) {
        yield* tape.beginRun({ appName: "app", invocationId: `${index}` })
      }
      const found = yield* tasksWhen(40)
      assert.isAbove(new Set(found.map(({ shard }) => shard)).size, 1)
      for (const shard of [0, 1, 2, 3]) {
        const mine = found.filter((task) => task.shard === shard).map(({ taskId }) => taskId)
        const { tasks } = yield* tape.claimTasks({ reactionId: "r", shard, owner: "A", max: 100 })
        assert.deepStrictEqual(
          tasks.map(({ taskId }) => taskId),
          mine
        )
      }
      yield* react({ subjectPattern: "/tape/value/**", numShards: 4 })
      yield* write("k")
      // FNV-1a of the empty text is 2166136261.
      assert.strictEqual((yield* tasksWhen(41)).at(-1)?.shard, 1)
    }).pipe(Effect.provide(tape))
  )

  it.effect("an owner is required, and an unknown reaction has no tasks", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const calls: ReadonlyArray<Effect.Effect<unknown, Errors.TapeError>> = [
        tape.claimTasks({ reactionId: "r" }),
        tape.completeTask({ taskId: "t" }),
        tape.nackTask({ taskId: "t" })
      ]
      for (const call of calls) {
        const error = yield* Effect.flip(call)
        assert.deepInclude(error, { _tag: "InvalidRequest", detail: "owner is required" })
      }
      assert.deepStrictEqual(yield* claim("A"), [])
      assert.deepStrictEqual(yield* tasks(), [])
      const error = yield* Effect.flip(tape.completeTask({ taskId: "t", owner: "A" }))
      assert.strictEqual(error._tag, "NotFound")
    }).pipe(Effect.provide(tape))
  )

  it.effect("an answer holds as many as fit, and at least one", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react()
      const large = JSON.stringify("x".repeat(1_500_000))
      yield* Effect.forEach(["a", "b", "c"], (key) => write(key, large))
      yield* newestTaskWhen(3n)
      assert.deepStrictEqual(subjects(yield* claim("A")), ["a", "b"])
      const { tasks: rest } = yield* tape.claimTasks({ reactionId: "r", shard: -1, owner: "B" })
      assert.deepStrictEqual(subjects(rest), ["c"])
    }).pipe(Effect.provide(tape))
  )
})

/** As `tasksWhen`, where a list of all would be larger than an answer may be. */
const newestTaskWhen = (globalSeq: bigint) =>
  Effect.flatMap(TapeClient, (tape) =>
    eventually(tape.listTasks({ reactionId: "r", limit: 1 }), ({ tasks }) => tasks[0]?.sourceGlobalSeq === globalSeq)
  )

describe("a lease that runs out", () => {
  it.effect("lets another owner in, and its last one sends the task to the dead letters", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react({ dlqAfterN: 2 })
      yield* write("k")
      yield* tasksWhen(1)
      const [first] = yield* claim("A")
      yield* TestClock.adjust("60 seconds")
      assert.deepStrictEqual(yield* claim("B"), [])
      yield* TestClock.adjust("1 millis")
      const [second] = yield* claim("B")
      assert.deepInclude(second!, { taskId: first!.taskId, attempts: 2, leaseOwner: "B" })
      const late = yield* Effect.flip(tape.completeTask({ taskId: second!.taskId, owner: "A" }))
      assert.strictEqual(late._tag, "PreconditionFailed")
      yield* TestClock.adjust("61 seconds")
      assert.deepStrictEqual(yield* claim("C"), [])
      assert.deepInclude((yield* tasks())[0], {
        status: TaskStatus.DLQ,
        attempts: 2,
        lastError: "lease expired after attempt 2, last owner B",
        leaseOwner: "",
        payloadJson: second!.payloadJson
      })
      assert.deepStrictEqual(yield* claim("C"), [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("still counts while nobody else has the task", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react()
      yield* write("k")
      yield* tasksWhen(1)
      const [mine] = yield* claim("A")
      yield* TestClock.adjust("1 hour")
      const { task } = yield* tape.completeTask({ taskId: mine!.taskId, owner: "A" })
      assert.deepInclude(task, { status: TaskStatus.DONE, leaseOwner: "", leaseExpiresAtMs: 0n })
    }).pipe(Effect.provide(tape))
  )
})

describe("finishing a task", () => {
  it.effect("a repeat by its owner is answered alike, anybody else is refused", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react()
      yield* write("k")
      yield* tasksWhen(1)
      const [{ taskId } = { taskId: "" }] = yield* claim("A")
      const calls: ReadonlyArray<Effect.Effect<unknown, Errors.TapeError>> = [
        tape.completeTask({ taskId, owner: "B" }),
        tape.nackTask({ taskId, owner: "B" })
      ]
      for (const call of calls) {
        const error = yield* Effect.flip(call)
        assert.deepInclude(error, { _tag: "PreconditionFailed", detail: 'the task is claimed by "A", not by "B"' })
      }
      const first = yield* tape.completeTask({ taskId, owner: "A" })
      const again = yield* tape.completeTask({ taskId, owner: "A" })
      assert.deepStrictEqual(again.task, first.task)
      const other = yield* Effect.flip(tape.completeTask({ taskId, owner: "B" }))
      assert.deepInclude(other, { _tag: "PreconditionFailed", detail: 'the task is DONE, not claimed by "B"' })
    }).pipe(Effect.provide(tape))
  )

  it.effect("a task that is given back waits longer each time, then goes to the dead letters", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react({ dlqAfterN: 4 })
      yield* write("k")
      yield* tasksWhen(1)
      for (const delay of [1000n, 2000n, 4000n]) {
        const [mine] = yield* claim("A")
        const { task } = yield* tape.nackTask({ taskId: mine!.taskId, owner: "A", error: `after ${delay}` })
        const nowMs = BigInt(yield* Clock.currentTimeMillis)
        assert.deepInclude(task, {
          status: TaskStatus.PENDING,
          attempts: mine!.attempts,
          nextAttemptAtMs: nowMs + delay,
          lastError: `after ${delay}`,
          leaseOwner: "",
          leaseExpiresAtMs: 0n
        })
        assert.deepStrictEqual(yield* claim("A"), [])
        yield* TestClock.adjust(Number(delay) - 1)
        assert.deepStrictEqual(yield* claim("A"), [])
        yield* TestClock.adjust(1)
      }
      const [last] = yield* claim("A")
      const { task } = yield* tape.nackTask({ taskId: last!.taskId, owner: "A", error: "no" })
      assert.deepInclude(task, { status: TaskStatus.DLQ, attempts: 4, lastError: "no" })
      assert.deepStrictEqual(yield* claim("A", { nowMs: 10_000_000n }), [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("a hopeless one goes there at once, and no wait is longer than an hour", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react({ retryBackoffMs: 2_000_000_000 })
      yield* writeMany(2)
      yield* tasksWhen(2)
      const [first, second] = yield* claim("A")
      const hopeless = yield* tape.nackTask({ taskId: first!.taskId, owner: "A", permanent: true })
      assert.strictEqual(hopeless.task?.status, TaskStatus.DLQ)
      const waiting = yield* tape.nackTask({ taskId: second!.taskId, owner: "A" })
      assert.strictEqual(waiting.task?.nextAttemptAtMs, 3_600_000n)
      assert.lengthOf(yield* claim("A", { nowMs: 3_600_000n }), 1)
    }).pipe(Effect.provide(tape))
  )

  it.effect("of a reaction that is gone, nothing more is handed out, but what is out may be finished", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react()
      yield* writeMany(3)
      yield* tasksWhen(3)
      const [first, second] = yield* claim("A", { max: 2 })
      yield* tape.deregisterReaction({ reactionId: "r" })
      assert.deepStrictEqual(yield* claim("A"), [])
      const done = yield* tape.completeTask({ taskId: first!.taskId, owner: "A" })
      assert.strictEqual(done.task?.status, TaskStatus.DONE)
      const back = yield* tape.nackTask({ taskId: second!.taskId, owner: "A" })
      assert.strictEqual(back.task?.status, TaskStatus.PENDING)
      assert.deepStrictEqual(yield* claim("A", { nowMs: 10_000n }), [])
      yield* react()
      assert.deepStrictEqual(subjects(yield* claim("A", { nowMs: 10_000n })), ["k2", "k1"])
    }).pipe(Effect.provide(tape))
  )
})

describe("listing tasks", () => {
  it.effect("the newest first, by status, as many as asked", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* react({ handlerKind: HandlerKind.PUBLISH })
      yield* writeMany(5)
      yield* tasksWhen(5)
      const [first] = yield* claim("A", { max: 1 })
      yield* tape.nackTask({ taskId: first!.taskId, owner: "A", error: "no", permanent: true })
      const list = (status: TaskStatus, limit = 0) =>
        Effect.map(tape.listTasks({ reactionId: "r", status, limit }), ({ tasks }) => subjects(tasks))
      assert.deepStrictEqual(yield* list(TaskStatus.UNSPECIFIED), ["k4", "k3", "k2", "k1", "k0"])
      assert.deepStrictEqual(yield* list(TaskStatus.UNSPECIFIED, 2), ["k4", "k3"])
      assert.deepStrictEqual(yield* list(TaskStatus.PENDING), ["k4", "k3", "k2", "k1"])
      assert.deepStrictEqual(yield* list(TaskStatus.DLQ), ["k0"])
      assert.deepStrictEqual(yield* list(TaskStatus.DONE), [])
      yield* settled
    }).pipe(Effect.provide(tape))
  )
})
