/** Tasks reach their handlers: slots, rate, debouncing, failures. */
import { create } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Data, Effect, Fiber, Logger, Schema, TestClock } from "effect"
import { TapeClient } from "../src/Client.js"
import { Unavailable } from "../src/Errors.js"
import { TaskSchema, TaskStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Reactions from "../src/Reactions.js"
import { Leading } from "../src/reactions/debounce.js"
import { idOf, options, statuses, tags, tape, tasks, tasksWhen, write } from "./Reactions.fixtures.js"

const quiet = Logger.remove(Logger.defaultLogger)
const keys = (count: number) => Array.from({ length: count }, (_, index) => `k${index}`)

/** A reaction on values of "n" that has as many tasks. */
const withTasks = <R extends Reactions.Reaction<unknown>>(reaction: R, count: number) =>
  Effect.gen(function* () {
    yield* Reactions.register([reaction], options)
    yield* Effect.forEach(keys(count), (key, index) => write(key, index), { discard: true })
    yield* tasksWhen(reaction.name, count)
    return reaction
  })

describe("slots", () => {
  it.live("no more handlers than allowed run at a time, and all tasks are done", () =>
    Effect.gen(function* () {
      let running = 0
      let peak = 0
      const reaction = yield* withTasks(
        Reactions.onValueChanged("r", {
          namespace: "n",
          maxConcurrency: 2,
          run: () =>
            Effect.acquireUseRelease(
              Effect.sync(() => {
                running += 1
                peak = Math.max(peak, running)
              }),
              () => Effect.sleep("20 millis"),
              () => Effect.sync(() => void (running -= 1))
            )
        }),
        10
      )
      const outcomes = yield* Reactions.dispatchOnce([reaction], options)
      assert.deepStrictEqual(
        tags(outcomes),
        keys(10).map(() => "done")
      )
      assert.strictEqual(peak, 2)
      assert.deepStrictEqual(
        yield* statuses("r"),
        keys(10).map(() => TaskStatus.DONE)
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("no more is claimed than can start", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const reaction = yield* withTasks(
        Reactions.onValueChanged("r", {
          namespace: "n",
          maxConcurrency: 3,
          run: () =>
            Effect.map(statuses("r"), (all) => {
              seen.push(all.filter((status) => status === TaskStatus.CLAIMED).length)
            })
        }),
        9
      )
      yield* Reactions.dispatchOnce([reaction], options)
      assert.strictEqual(seen.length, 9)
      assert.isAtMost(Math.max(...seen), 3)
    }).pipe(Effect.provide(tape))
  )

  it.effect("all shards are drained without a word about shards", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const reaction = Reactions.onRun("r", { status: "running", shards: 4, run: () => Effect.void })
      yield* Reactions.register([reaction], options)
      yield* Effect.forEach(keys(20), (invocationId) => tape.beginRun({ appName: "a", invocationId }))
      const all = yield* tasksWhen("r", 20)
      assert.isAbove(new Set(all.map(({ shard }) => shard)).size, 1)
      const zero = all.filter(({ shard }) => shard === 0).length
      assert.strictEqual((yield* Reactions.dispatchOnce([reaction], { ...options, shard: 0 })).length, zero)
      assert.strictEqual((yield* Reactions.dispatchOnce([reaction], options)).length, 20 - zero)
    }).pipe(Effect.provide(tape))
  )
})

describe("rate", () => {
  it.effect("starts are spaced", () =>
    Effect.gen(function* () {
      const starts: Array<number> = []
      const reaction = yield* withTasks(
        Reactions.onValueChanged("r", {
          namespace: "n",
          maxConcurrency: 8,
          rateLimit: 5,
          run: () => Effect.map(Clock.currentTimeMillis, (now) => void starts.push(now))
        }),
        8
      )
      const pass = yield* Effect.fork(Reactions.dispatchOnce([reaction], options))
      while ((yield* Fiber.status(pass))._tag !== "Done") {
        yield* TestClock.adjust("10 millis")
        yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
      }
      assert.strictEqual(starts.length, 8)
      starts.slice(1).forEach((start, index) => assert.isAtLeast(start - starts[index]!, 200))
    }).pipe(Effect.provide(tape))
  )
})

describe("debounce", () => {
  const burst = (
    name: string,
    debounceEdge: "leading" | "trailing",
    run: (event: Reactions.ValueChanged<number>) => Effect.Effect<unknown, string>
  ) =>
    Reactions.onValueChanged(name, {
      namespace: "n",
      value: Schema.Number,
      debounce: "200 millis",
      debounceEdge,
      maxConcurrency: 4,
      backoff: "1 millis",
      run
    })

  it.live("trailing: one run in a window, of the last change; all tasks are done", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const reaction = burst("r", "trailing", ({ value }) => Effect.sync(() => seen.push(value)))
      yield* Reactions.register([reaction], options)
      yield* write("k", 1)
      yield* tasksWhen("r", 1)
      const pass = yield* Effect.fork(Reactions.dispatchOnce([reaction], options))
      yield* write("k", 2)
      yield* write("k", 3)
      yield* Fiber.join(pass)
      let left = true
      while (left) {
        yield* Reactions.dispatchOnce([reaction], options)
        const all = yield* statuses("r")
        left = all.some((status) => status !== TaskStatus.DONE) || seen.at(-1) !== 3
      }
      assert.isAtMost(seen.length, 3)
      assert.strictEqual(seen.at(-1), 3)
    }).pipe(Effect.provide(tape))
  )

  it.live("trailing: what is superseded is acknowledged, not run", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      // Registered without its debounce, so that each change is a task.
      const plain = Reactions.onValueChanged("r", { namespace: "n", run: () => Effect.void })
      const reaction = burst("r", "trailing", ({ value }) => Effect.sync(() => seen.push(value)))
      yield* Reactions.register([plain], options)
      yield* Effect.forEach([1, 2, 3], (value) => write("k", value))
      yield* write("other", 9)
      yield* tasksWhen("r", 4)
      const outcomes = yield* Reactions.dispatchOnce([reaction], { ...options, register: false })
      assert.sameMembers(tags(outcomes), ["debounced", "debounced", "done", "done"])
      assert.sameMembers(seen, [3, 9])
      assert.deepStrictEqual(new Set(yield* statuses("r")), new Set([TaskStatus.DONE]))
    }).pipe(Effect.provide(tape))
  )

  it.effect("leading: the first runs, the rest of the window is acknowledged", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const plain = Reactions.onValueChanged("r", { namespace: "n", run: () => Effect.void })
      const reaction = burst("r", "leading", ({ value }) => Effect.sync(() => seen.push(value)))
      yield* Reactions.register([plain], options)
      yield* Effect.forEach([1, 2, 3], (value) => write("k", value))
      yield* tasksWhen("r", 3)
      const outcomes = yield* Reactions.dispatchOnce([reaction], { ...options, register: false })
      assert.sameMembers(tags(outcomes), ["done", "debounced", "debounced"])
      assert.deepStrictEqual(seen, [1])
    }).pipe(Effect.provide(tape))
  )

  it.effect("remembers no subject for longer than its window", () =>
    Effect.gen(function* () {
      const leading = new Leading(1000)
      const of = (subject: string) => ({
        task: create(TaskSchema, { taskId: subject, subject }),
        expiresAt: 0,
        complete: Effect.never,
        nack: () => Effect.never
      })
      yield* Effect.forEach(keys(100), (key) => leading.admit(of(key)), { discard: true })
      assert.strictEqual(leading.size, 100)
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* leading.admit(of("late")))
      assert.strictEqual(leading.size, 1)
    })
  )

  it.live("a run that fails gives its window back, and its retry is not debounced", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const settings = { namespace: "n", backoff: "1 millis", deadLetterAfter: 9 } as const
      const plain = Reactions.onValueChanged("r", { ...settings, run: () => Effect.void })
      const reaction = Reactions.onValueChanged("r", {
        ...settings,
        value: Schema.Number,
        debounce: "1 hour",
        debounceEdge: "leading",
        run: ({ attempt, value }) => {
          seen.push(value)
          return attempt === 1 && value === 1 ? Effect.fail("not yet") : Effect.void
        }
      })
      yield* Reactions.register([plain], options)
      yield* Effect.forEach([1, 2, 3], (value) => write("k", value))
      yield* tasksWhen("r", 3)
      const done: Array<string> = []
      const pass = {
        ...options,
        register: false,
        onOutcome: ({ _tag }: Reactions.Outcome) => Effect.sync(() => void done.push(_tag))
      }
      while (done.filter((tag) => tag !== "retry-scheduled").length < 3) {
        yield* Reactions.dispatchOnce([reaction], pass)
      }
      assert.sameMembers(done, ["retry-scheduled", "done", "done", "debounced"])
      assert.sameMembers(seen, [1, 1, 2])
    }).pipe(Effect.provide([tape, quiet]))
  )
})

describe("failures", () => {
  class NoBook extends Data.TaggedError("NoBook")<{ readonly message: string }> {}

  const failing = (name: string, run: Effect.Effect<unknown, unknown>, more: Reactions.ReactionOptions = {}) =>
    withTasks(Reactions.onValueChanged(name, { namespace: "n", backoff: "1 millis", ...more, run: () => run }), 1)

  const once = (reaction: Reactions.Reaction) =>
    Effect.map(Reactions.dispatchOnce([reaction], options), ([outcome]) => outcome)

  const said = (what: string, run: Effect.Effect<unknown, unknown>, words: RegExp) =>
    it.effect(`${what} is said in the task's last error`, () =>
      Effect.gen(function* () {
        const reaction = yield* failing("r", run)
        const outcome = yield* once(reaction)
        assert.strictEqual(outcome?._tag, "retry-scheduled")
        const [task] = yield* tasks("r")
        assert.strictEqual(task?.status, TaskStatus.PENDING)
        assert.match(task?.lastError ?? "", words)
        assert.include(Reactions.describe(outcome!), task?.lastError ?? "nothing")
      }).pipe(Effect.provide([tape, quiet]))
    )

  said("a typed failure", Effect.fail(new NoBook({ message: "the book is closed" })), /^the book is closed$/)
  said("a text", Effect.fail("closed"), /^closed$/)
  said("a defect", Effect.dieMessage("a bug"), /a bug/)

  it.live("a handler that takes too long is interrupted and tried again", () =>
    Effect.gen(function* () {
      const reaction = yield* failing("r", Effect.never, { timeout: "20 millis" })
      assert.deepInclude(yield* once(reaction), {
        _tag: "retry-scheduled",
        error: "the handler took longer than 20 ms"
      })
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.live("without a timeout a handler has nine tenths of its lease", () =>
    Effect.gen(function* () {
      const reaction = yield* failing("r", Effect.never)
      const [outcome] = yield* Reactions.dispatchOnce([reaction], { ...options, lease: "300 millis" })
      assert.match(outcome?._tag === "retry-scheduled" ? outcome.error : "", /longer than 2\d\d ms/)
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.live("a task that fails too often is a dead letter, and not claimed again", () =>
    Effect.gen(function* () {
      let runs = 0
      const reaction = yield* failing(
        "r",
        Effect.zipRight(
          Effect.sync(() => runs++),
          Effect.fail("no")
        ),
        { deadLetterAfter: 2 }
      )
      const outcomes: Array<Reactions.Outcome> = []
      while (outcomes.length < 2) outcomes.push(...(yield* Reactions.dispatchOnce([reaction], options)))
      assert.deepStrictEqual(tags(outcomes), ["retry-scheduled", "dead-letter"])
      assert.strictEqual(runs, 2)
      assert.strictEqual(yield* once(reaction), undefined)
      assert.deepStrictEqual(yield* statuses("r"), [TaskStatus.DLQ])
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.live("a task that was claimed too long ago is left to its next claim, its handler not begun", () =>
    Effect.gen(function* () {
      let runs = 0
      const reaction = yield* failing(
        "r",
        Effect.sync(() => runs++)
      )
      const slow = Effect.map(TapeClient, (tape) => ({
        ...tape,
        claimTasks: (...args: Parameters<typeof tape.claimTasks>) =>
          Effect.zipLeft(tape.claimTasks(...args), Effect.sleep("60 millis"))
      }))
      const pass = Reactions.dispatchOnce([reaction], { ...options, lease: "50 millis", limit: 1 })
      assert.deepStrictEqual(tags(yield* Effect.provideServiceEffect(pass, TapeClient, slow)), ["expired"])
      assert.strictEqual(runs, 0)
      assert.deepStrictEqual(tags(yield* Reactions.dispatchOnce([reaction], options)), ["done"])
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.effect("no retries means none", () =>
    Effect.gen(function* () {
      const reaction = yield* failing("r", Effect.fail("no"), { retries: 0 })
      assert.strictEqual((yield* once(reaction))?._tag, "dead-letter")
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.live("an acknowledgement that does not get through is repeated; the handler is not", () =>
    Effect.gen(function* () {
      let runs = 0
      let refusals = 3
      const reaction = yield* failing(
        "r",
        Effect.sync(() => runs++)
      )
      const flaky = Effect.map(TapeClient, (tape) => ({
        ...tape,
        completeTask: (...args: Parameters<typeof tape.completeTask>) =>
          Effect.suspend(() => {
            refusals -= 1
            return refusals >= 0
              ? Effect.fail(new Unavailable({ rpc: "CompleteTask", detail: "away", ids: {}, maybeApplied: false }))
              : tape.completeTask(...args)
          })
      }))
      const outcome = yield* Effect.provideServiceEffect(once(reaction), TapeClient, flaky)
      assert.strictEqual(outcome?._tag, "done")
      assert.strictEqual(runs, 1)
      assert.strictEqual(refusals, -1)
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.effect("a claim that somebody else has by now is an outcome, not an error", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const reaction = yield* failing(
        "r",
        Effect.suspend(() => tape.claimTasks({ reactionId: idOf("r"), shard: -1, owner: "thief", nowMs: 9_999_999n }))
      )
      assert.strictEqual((yield* once(reaction))?._tag, "claim-lost")
      const [task] = yield* tasks("r")
      assert.deepInclude(task, { status: TaskStatus.CLAIMED, leaseOwner: "thief" })
    }).pipe(Effect.provide([tape, quiet]))
  )
})

describe("publish reactions", () => {
  it.effect("are left alone, unless there is somebody to publish", () =>
    Effect.gen(function* () {
      const reaction = yield* withTasks(
        Reactions.onValueChanged("r", { namespace: "n", publish: "projects/p/topics/t" }),
        2
      )
      assert.deepStrictEqual(yield* Reactions.dispatchOnce([reaction], options), [])
      const sent: Array<readonly [string, string]> = []
      const publish = ({ target, task }: Reactions.Publication) =>
        Effect.sync(() => sent.push([target, task.payloadJson]))
      assert.deepStrictEqual(tags(yield* Reactions.dispatchOnce([reaction], { ...options, publish })), ["done", "done"])
      assert.deepStrictEqual(
        sent,
        (yield* tasks("r")).map(({ payloadJson }) => ["projects/p/topics/t", payloadJson] as const)
      )
    }).pipe(Effect.provide([tape, quiet]))
  )

  it.effect("can be claimed and acknowledged by a bridge of one's own", () =>
    Effect.gen(function* () {
      yield* withTasks(Reactions.onValueChanged("r", { namespace: "n", shards: 4, publish: "t" }), 2)
      const claimed = yield* Reactions.claim({ reactionId: idOf("r"), owner: "bridge" })
      assert.strictEqual(claimed.length, 2)
      assert.strictEqual((yield* claimed[0]!.complete)._tag, "done")
      assert.strictEqual((yield* claimed[1]!.nack("gone", { permanent: true }))._tag, "dead-letter")
      assert.sameMembers([...(yield* statuses("r"))], [TaskStatus.DONE, TaskStatus.DLQ])
    }).pipe(Effect.provide([tape, quiet]))
  )
})
