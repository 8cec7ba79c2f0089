/** All reactors together, and compaction. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Metric, Option, Schema, TestClock } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Durable from "../src/Durable.js"
import { EffectStatus, RunStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Reactors from "../src/Reactors.js"
import { dedupingBank, firstRun, ids, keyed, killedAt, leaseRunsOut, until } from "./Durable.fixtures.js"
import { tags, tape } from "./Outbox.dispatcher.fixtures.js"

const booking = () => {
  const bank = dedupingBank()
  const cancelled: Array<string> = []
  const Book = Durable.tool("book", {
    input: Schema.String,
    output: Schema.String,
    run: (what, call) => bank.book(call.idempotencyKey, what),
    statusCheck: (call) => Effect.sync(() => Option.fromNullable(bank.rows.get(call.idempotencyKey))),
    compensate: (_, ref) => Effect.sync(() => cancelled.push(ref))
  })
  const app = Durable.app("booking", { input: Schema.String, tools: [Book], run: (what) => Book(what) })
  return { app, bank, cancelled, kind: Book.compensation?.kind ?? "" }
}

/** Something for each reactor: an abandoned run, a doubtful effect, a due timer, a run to be undone. */
const trouble = ({ app, bank, kind }: ReturnType<typeof booking>) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const begin = (name: string) =>
      Effect.map(
        tape.beginRun({ appName: "booking", userId: "u", sessionId: name, invocationId: name, leaseOwner: "drv" }),
        ({ runId }) => runId
      )
    const book = (runId: string, status: EffectStatus) =>
      Effect.gen(function* () {
        const { idempotencyKey } = yield* tape.beginEffect({ runId, toolName: "book", requestJson: '"x"' })
        const responseJson = JSON.stringify(yield* bank.book(idempotencyKey, "x"))
        yield* tape.completeEffect({ runId, idempotencyKey, status, responseJson })
        return idempotencyKey
      })
    yield* killedAt({ rpc: "completeEffect", at: "before", matching: keyed("book/0") }, app.start(ids("i"), "truck"))
    const abandoned = (yield* firstRun).runId
    yield* leaseRunsOut
    const doubtful = yield* begin("doubtful")
    yield* book(doubtful, EffectStatus.UNKNOWN)
    yield* tape.setTimer({ runId: doubtful, timerId: "gate/g", kind: "gate_timeout", payloadJson: '{"gate":"g"}' })
    const undone = yield* begin("undone")
    const effectKey = yield* book(undone, EffectStatus.CONFIRMED)
    yield* tape.registerCompensation({ runId: undone, effectKey, kind })
    yield* tape.endRun({ runId: undone, status: RunStatus.COMPENSATING })
    return { abandoned, doubtful, undone }
  })

describe("Reactors", () => {
  it.effect("run: works until it is interrupted, then no more", () =>
    Effect.gen(function* () {
      const { app } = booking()
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "chimes", userId: "u", sessionId: "s", invocationId: "i" })
      const setTimer = (timerId: string) => tape.setTimer({ runId, timerId, kind: "chime", payloadJson: "{}" })
      const chimes: Array<string> = []
      const onTimer = ({ timerId }: Reactors.DueTimer) => Effect.sync(() => chimes.push(timerId))
      yield* setTimer("one")
      const running = yield* Effect.fork(Reactors.run({ apps: [app], onTimer }))
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(chimes, ["one"])
      yield* Fiber.interrupt(running)
      yield* setTimer("two")
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(chimes, ["one"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("once: one pass of each, from the apps alone", () =>
    Effect.gen(function* () {
      const world = booking()
      const runs = yield* trouble(world)
      const { cancelled, app } = world
      const seen = yield* Reactors.once({ apps: [app] })
      assert.deepStrictEqual(seen.recovered, [{ _tag: "finished", runId: runs.abandoned, app: "booking" }])
      assert.deepStrictEqual(tags(seen.reconciled), ["confirmed"])
      assert.deepStrictEqual(tags(seen.fired), ["signalled"])
      assert.deepStrictEqual(tags(seen.drained), ["compensated", "ended"])
      assert.deepStrictEqual([seen.compacted, seen.failures], [[], []])
      assert.strictEqual(cancelled.length, 1)
      assert.deepStrictEqual(yield* Reactors.once({ apps: [app] }), {
        recovered: [],
        reconciled: [],
        fired: [],
        drained: [],
        compacted: [],
        failures: []
      })
    }).pipe(Effect.provide(tape))
  )

  it.effect("once: leaves out what is switched off, and tells what failed as a whole", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const world = booking()
      yield* trouble(world)
      const seen = yield* Reactors.once({ apps: [world.app], recover: false, obligations: false, timers: false }).pipe(
        Effect.provideService(TapeClient, {
          ...tape,
          listPendingEffects: () => tape.getRun({ runId: "absent" }) as never
        })
      )
      assert.deepStrictEqual([seen.recovered, seen.fired, seen.drained], [[], [], []])
      assert.deepStrictEqual(
        seen.failures.map(({ error, reactor }) => [reactor, error._tag]),
        [["reconcile", "NotFound"]]
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("layer: each on its own, until the scope closes", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const world = booking()
      const runs = yield* trouble(world)
      yield* Effect.fork(Layer.launch(Reactors.layer({ apps: [world.app] })))
      yield* until(
        Effect.gen(function* () {
          const abandoned = yield* tape.getRun({ runId: runs.abandoned })
          const undone = yield* tape.getRun({ runId: runs.undone })
          const { timers } = yield* tape.listDueTimers({})
          const { effects } = yield* tape.listPendingEffects({ includeUnknown: true })
          const isDone =
            abandoned.status === RunStatus.TERMINAL &&
            undone.status === RunStatus.FAILED &&
            timers.length + effects.length === 0
          return isDone ? Option.some(isDone) : Option.none()
        }).pipe(Effect.orDie)
      )
      const lag = yield* Metric.value(Metric.tagged(Metric.gauge("tape.reactors.lag"), "reactor", "recover"))
      assert.isAtLeast(lag.value, 0)
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.effect("a run that went to be undone, and owed nothing when its process died, is ended", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({
        appName: "a",
        userId: "u",
        sessionId: "s",
        invocationId: "i",
        leaseOwner: "drv",
        leaseTtlMs: 60_000n
      })
      yield* tape.endRun({ runId, status: RunStatus.COMPENSATING })
      const reports: Array<Reactors.Drained> = []
      const onReport = (report: Reactors.Drained) => Effect.sync(() => reports.push(report))
      yield* Effect.fork(Layer.launch(Reactors.layerObligations({ onReport })))
      yield* TestClock.adjust("50 seconds")
      assert.deepStrictEqual(reports, [])
      const over = Effect.sync(() => (reports.length > 0 ? Option.some(reports) : Option.none()))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(tags(yield* until(over)), ["ended"])
    }).pipe(Effect.scoped, Effect.provide(tape))
  )
})

describe("Reactors.compactOnce", () => {
  it.effect("one run that is not settled never stops the batch", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const over = (name: string, status: EffectStatus) =>
        Effect.gen(function* () {
          const ids = { appName: "a", userId: "u", sessionId: name, invocationId: name, leaseOwner: "drv" }
          const { runId } = yield* tape.beginRun(ids)
          const { idempotencyKey } = yield* tape.beginEffect({ runId, toolName: "t", requestJson: '{"a":1}' })
          yield* tape.completeEffect({ runId, idempotencyKey, status, responseJson: '{"b":2}' })
          yield* tape.endRun({ runId, status: RunStatus.TERMINAL })
          return runId
        })
      yield* TestClock.adjust("1 second")
      const open = yield* over("1", EffectStatus.UNKNOWN)
      const settled = yield* over("2", EffectStatus.CONFIRMED)
      const options = { olderThan: "1 day" } as const
      assert.deepStrictEqual(yield* Reactors.compactOnce(options), [])
      yield* TestClock.adjust("25 hours")
      const [refused, compacted, ...rest] = yield* Reactors.compactOnce(options)
      assert.deepInclude(refused, { _tag: "refused", runId: open })
      assert.match(refused?._tag === "refused" ? refused.reason : "", /not settled/)
      assert.deepInclude(compacted, { _tag: "compacted", runId: settled })
      assert.deepStrictEqual(rest, [])
    }).pipe(Effect.provide(tape))
  )
})
