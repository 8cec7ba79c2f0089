/** The root fiber is interrupted while everything is at work. */
import { assert } from "@effect/vitest"
import { Clock, Deferred, type Duration, Effect, Fiber, Layer, Schema, type Scope } from "effect"
import { Connectors, Durable, Outbox, Reactions, Reactors, Sinks, TapeClient } from "effect-tape"
import { EffectStatus, RunStatus, TaskStatus } from "effect-tape/proto"
import { eventually, within } from "../../conformance/Expect.js"
import { ids, killedAt } from "../../Durable.fixtures.js"
import * as Bank from "../../support/Bank.js"
import { addresses, intend, overdue, runOf, type Scenario, tags, write } from "./Ways.js"

/** Half of it limits a call, which is more than the grace: what is cut is cut by the interruption. */
const claimTtl = 20_000
const lease = (leaseTtl: Duration.DurationInput) => Durable.layerSettings({ leaseTtl })
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

/** What was begun and what was ended of one kind of work. */
const tally = () => {
  const begun = new Set<string>()
  const ended = new Set<string>()
  const work = (key: string) =>
    Effect.sync(() => begun.add(key)).pipe(
      Effect.zipRight(Effect.sleep("60 millis")),
      Effect.zipRight(Effect.sync(() => ended.add(key)))
    )
  return { begun, ended, work }
}

/** Runs of an app that were begun and lost their process; whoever takes one up stays in it until it may go on. */
const lostRuns = Effect.gen(function* () {
  const tape = yield* TapeClient
  const go = yield* Deferred.make<void>()
  const app = Durable.app("interrupted", {
    input: Schema.String,
    output: Schema.String,
    *run(what) {
      yield* Durable.decide({ model: "m", request: what, response: Schema.String }, Effect.succeed(what))
      yield* Deferred.await(go)
      return what
    }
  })
  for (const n of numbers(3)) {
    yield* killedAt({ rpc: "recordDecision", at: "before" }, app.start(ids(`interrupted-${n}`), `${n}`))
  }
  const mine = Effect.map(tape.listRunsToRecover({ nowMs: BigInt(Date.now() + 3_600_000), limit: 1000n }), ({ runs }) =>
    runs.filter(({ appName }) => appName === app.name)
  )
  yield* Effect.forEach(yield* mine, overdue)
  return { app, go, mine }
}).pipe(Effect.provide(lease("300 millis")))

const run = Effect.gen(function* () {
  const tape = yield* TapeClient
  const bank = yield* Bank.make
  yield* bank.pace(() => ({ toBook: 20, toAnswer: 40 }))
  const wires = yield* intend(
    "interrupted",
    numbers(120).map((n) => `interrupted:${n}`)
  )
  const { runId } = yield* runOf("acc")
  const tasks = tally()
  const timers = tally()
  const reaction = Reactions.onValueChanged("interrupted", {
    namespace: "interrupted",
    maxConcurrency: 4,
    run: ({ key }) => tasks.work(key)
  })
  const stuck = Reactions.onValueChanged("stuck", { namespace: "stuck", run: () => Effect.never })
  yield* Reactions.register([reaction, stuck], { app: "ways" })
  yield* write("stuck", "k")
  yield* Effect.forEach(
    numbers(120),
    (n) =>
      Effect.zip(
        write("interrupted", `k${n}`),
        tape.setTimer({ runId, timerId: `t${n}`, kind: "remind", fireAtMs: BigInt(n + 1) })
      ),
    { concurrency: 8, discard: true }
  )
  const lost = yield* lostRuns
  const received: Array<bigint> = []
  const asked = yield* Deferred.make<void>()

  const dispatcher = { claimTtl, parallelism: 4, pollInterval: "100 millis", grace: "1 second" } as const
  const root = Layer.mergeAll(
    Outbox.layer({ ...dispatcher, connectors: ["interrupted", "silent"] }),
    Reactions.layer([reaction, stuck], { app: "ways", grace: "1 second" }),
    Reactors.layer({
      apps: [lost.app],
      timers: { parallelism: 4 },
      onTimer: ({ timerId }) => timers.work(timerId)
    }),
    Sinks.layerRelay(
      { name: "interrupted", pattern: "/tape/value/changed/interrupted/*" },
      Sinks.fromFunction(({ globalSeq }) =>
        Effect.delay(
          Effect.sync(() => received.push(globalSeq)),
          "20 millis"
        )
      )
    )
  ).pipe(
    Layer.provide(Connectors.http("interrupted", addresses(bank))),
    Layer.provide(
      Connectors.make("silent", { dispatch: () => Effect.zipRight(Deferred.succeed(asked, undefined), Effect.never) })
    )
  )
  const fiber = yield* Effect.forkDaemon(Effect.provide(Layer.launch(root), lease("1 minute")))
  const driven = Effect.map(lost.mine, (runs) => runs.filter((run) => Number(run.leaseExpiresAtMs) > Date.now()).length)
  yield* eventually(
    "everything is at work",
    Effect.all([Effect.map(bank.ledger, (ledger) => ledger.length), driven]),
    ([booked, driven]) => Math.min(booked, tasks.ended.size, timers.ended.size, received.length) > 4 && driven === 3
  )
  const silent = yield* intend("silent", ["silent:1"])
  yield* Deferred.await(asked)
  yield* within("the root fiber ends", Fiber.interrupt(fiber), "8 seconds")

  // What the bank has is CONFIRMED; the rest is nobody's.
  const now = yield* Clock.currentTimeMillis
  const booked = new Set((yield* bank.ledger).map(({ businessKey }) => businessKey))
  const rows = yield* wires.rows
  assert.isAbove(booked.size, 4)
  assert.isBelow(booked.size, rows.length, "there was work left")
  for (const row of rows) {
    assert.strictEqual(row.status, booked.has(row.businessKey) ? EffectStatus.CONFIRMED : EffectStatus.PENDING)
    assert.strictEqual(row.dispatchClaimedBy, "")
  }
  // A call that never answers was cut: its row is left to its claim, which is no longer than it was made for.
  const [cut] = yield* silent.rows
  assert.strictEqual(cut?.status, EffectStatus.PENDING)
  assert.notStrictEqual(cut?.dispatchClaimedBy, "")
  assert.isAtMost(Number(cut?.dispatchClaimExpiresAtMs), now + claimTtl)

  // A handler that ended is acknowledged; no task is claimed by anybody.
  const listed = yield* tape.listTasks({ reactionId: Reactions.idOf("ways", "interrupted"), limit: 1000 })
  const inStatus = (wanted: TaskStatus) =>
    listed.tasks.flatMap(({ status, subject }) => (status === wanted ? [subject.split("/").at(-1)] : [])).toSorted()
  assert.deepStrictEqual(inStatus(TaskStatus.DONE), [...tasks.ended].toSorted())
  assert.deepStrictEqual(inStatus(TaskStatus.CLAIMED), [])
  assert.isBelow(tasks.ended.size, listed.tasks.length, "there was work left")
  // One that was interrupted has given its task back.
  const [back] = (yield* tape.listTasks({ reactionId: Reactions.idOf("ways", "stuck") })).tasks
  assert.deepInclude(back, { status: TaskStatus.PENDING, attempts: 1, leaseOwner: "" })

  // So is a timer whose callback ended.
  const due = yield* tape.listDueTimers({ limit: 1000n })
  const left = due.timers.flatMap((timer) => (timer.runId === runId ? [timer.timerId] : []))
  assert.deepStrictEqual(
    [...left, ...timers.ended].toSorted(),
    numbers(120)
      .map((n) => `t${n}`)
      .toSorted()
  )
  assert.isAbove(left.length, 0, "there was work left")

  // The cursor stands behind what the sink has received.
  const { value } = yield* tape.getValue({ namespace: "tape:relay", key: "interrupted" })
  assert.strictEqual(JSON.parse(value?.valueJson ?? "{}").last_global_seq, Number(received.at(-1)))
  assert.isBelow(received.length, 120, "there was work left")

  // Runs can be taken up at once.
  const runs = yield* lost.mine
  for (const run of runs) {
    assert.strictEqual(run.status, RunStatus.RUNNING)
    assert.isAtMost(Number(run.leaseExpiresAtMs), now + 5)
  }
  yield* Effect.forEach(runs, overdue)
  yield* Deferred.succeed(lost.go, undefined)
  assert.deepStrictEqual(
    tags(yield* Reactors.recoverOnce({ apps: [lost.app] })),
    runs.map(() => "finished")
  )

  for (const { timerId } of due.timers) yield* tape.cancelTimer({ runId, timerId })
})

export const interruption: ReadonlyArray<Scenario<TapeClient | Scope.Scope>> = [
  { title: "an interrupted root fiber ends what it began, within its grace, and leaves no claim behind", run }
]
