/** What a run owes is undone, the newest first. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option, TestClock } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Connectors from "../src/Connectors.js"
import { EffectDispatchMode, EffectStatus, ObligationStatus, RunStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Reactors from "../src/Reactors.js"
import { Drainer } from "../src/reactors/drainer.js"
import { killedAt, until } from "./Durable.fixtures.js"
import { tags, tape } from "./Outbox.dispatcher.fixtures.js"

/** A run with confirmed effects 1 to n, whose compensations are registered, that is to be undone. */
const undoing = (n: number, { maxAttempts = 5, status = RunStatus.COMPENSATING, name = "r" } = {}) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const ids = { appName: "acc", userId: "u", sessionId: name, invocationId: name }
    const { runId } = yield* tape.beginRun({ ...ids, leaseOwner: "drv", leaseTtlMs: 60_000n })
    for (let i = 1; i <= n; i++) {
      const { idempotencyKey } = yield* tape.beginEffect({ runId, toolName: "book", requestJson: "{}", callIndex: i })
      yield* tape.completeEffect({ runId, idempotencyKey, status: EffectStatus.CONFIRMED, responseJson: `{"n":${i}}` })
      yield* tape.registerCompensation({
        runId,
        effectKey: idempotencyKey,
        kind: "undo",
        payloadJson: `{"n":${i}}`,
        maxAttempts
      })
    }
    if (status !== RunStatus.RUNNING) yield* tape.endRun({ runId, status })
    return runId
  })

const stateOf = (runId: string) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { obligations } = yield* tape.listObligations({ runId })
    const run = yield* tape.getRun({ runId })
    return {
      run: RunStatus[run.status],
      // Oldest first: 1, 2, 3.
      obligations: obligations.toReversed().map(({ status }) => ObligationStatus[status]),
      errors: obligations.toReversed().map(({ lastError }) => lastError)
    }
  })

const numberOf = (payload: unknown): number => Number(Reflect.get(Object(payload), "n"))

/** A compensator that notes the order of its calls, and fails for some. */
const undoer = (fails: (n: number) => boolean = () => false) => {
  const order: Array<number> = []
  const undo = (payload: unknown) =>
    Effect.suspend(() => {
      const n = numberOf(payload)
      order.push(n)
      return fails(n) ? Effect.fail(`cannot undo ${n}`) : Effect.succeed({ undone: n })
    })
  return { order, options: { compensators: { undo }, claimer: "test", jitter: false } as const }
}

describe("Reactors.drainOnce", () => {
  it.effect("OBL-12: undoes the newest first, then ends the run", () =>
    Effect.gen(function* () {
      const runId = yield* undoing(3)
      const { options, order } = undoer()
      const reports = yield* Reactors.drainOnce(options)
      assert.deepStrictEqual(order, [3, 2, 1])
      assert.deepStrictEqual(tags(reports), ["compensated", "compensated", "compensated", "ended"])
      assert.deepStrictEqual(yield* stateOf(runId), {
        run: "FAILED",
        obligations: ["COMPENSATED", "COMPENSATED", "COMPENSATED"],
        errors: ["", "", ""]
      })
      const { obligations } = yield* Effect.flatMap(TapeClient, (tape) => tape.listObligations({ runId }))
      assert.strictEqual(obligations[0]?.resultJson, '{"undone":3}')
      assert.deepStrictEqual(yield* Reactors.drainOnce(options), [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("OBL-13: what cannot be undone holds older ones back until it is STUCK, and the run ends STUCK", () =>
    Effect.gen(function* () {
      const runId = yield* undoing(3, { maxAttempts: 2 })
      const { options, order } = undoer((n) => n === 2)
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce(options)), ["compensated", "scheduled"])
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce(options)), ["skipped"])
      assert.deepStrictEqual(order, [3, 2])
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce(options)), ["skipped"], "1 second after the first failure")
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce(options)), ["stuck", "compensated", "ended"])
      assert.deepStrictEqual(order, [3, 2, 2, 1])
      assert.deepStrictEqual(yield* stateOf(runId), {
        run: "STUCK",
        obligations: ["COMPENSATED", "STUCK", "COMPENSATED"],
        errors: ["", "cannot undo 2", ""]
      })
    }).pipe(Effect.provide(tape))
  )

  it.effect("tries again after 1, 2, 4 … seconds, at most 5 minutes", () =>
    Effect.gen(function* () {
      yield* undoing(1, { maxAttempts: 12 })
      const { options } = undoer(() => true)
      const waits: Array<number> = []
      for (let i = 0; i < 11; i++) {
        const [report] = yield* Reactors.drainOnce(options)
        if (report?._tag !== "scheduled") return assert.fail(report?._tag)
        const wait = report.nextAt.epochMillis - (yield* TestClock.currentTimeMillis)
        waits.push(wait / 1000)
        yield* TestClock.adjust(wait)
      }
      assert.deepStrictEqual(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])
    }).pipe(Effect.provide(tape))
  )

  it.effect(
    "leaves what is registered by runs that nobody undoes, and undoes the second of an effect that happened twice",
    () =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        const { options, order } = undoer()
        const finished = yield* undoing(1, { status: RunStatus.TERMINAL, name: "a" })
        const running = yield* undoing(1, { status: RunStatus.RUNNING, name: "b" })
        assert.deepStrictEqual(yield* Reactors.drainOnce(options), [])
        yield* tape.registerCompensation({
          runId: running,
          effectKey: "twice",
          kind: "undo",
          payloadJson: '{"n":7,"reason":"duplicate-observed"}'
        })
        assert.deepStrictEqual(tags(yield* Reactors.drainOnce(options)), ["compensated"])
        assert.deepStrictEqual(order, [7])
        assert.deepStrictEqual((yield* stateOf(finished)).obligations, ["PENDING"])
        assert.deepStrictEqual(tags(yield* Reactors.drainOnce({ ...options, which: "all" })), [
          "compensated",
          "compensated"
        ])
      }).pipe(Effect.provide(tape))
  )

  it.effect("leaves a run to the process that undoes it, until its lease runs out", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { options } = undoer()
      const runId = yield* undoing(1)
      yield* tape.resumeRun({ runId, leaseOwner: "agent", leaseTtlMs: 60_000n })
      const [report] = yield* Reactors.drainOnce(options)
      assert.deepInclude(report, { _tag: "skipped", reason: "driven" })
      yield* TestClock.adjust("61 seconds")
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce(options)), ["compensated", "ended"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("by several at once undoes everything once, in order", () =>
    Effect.gen(function* () {
      const runId = yield* undoing(5)
      const { options, order } = undoer()
      const drains = ["a", "b", "c"].map((claimer) => Reactors.drainOnce({ ...options, claimer }))
      const reports = (yield* Effect.all(drains, { concurrency: "unbounded" })).flat()
      if ((yield* stateOf(runId)).run !== "FAILED") yield* Reactors.drainOnce(options)
      assert.deepStrictEqual(order, [5, 4, 3, 2, 1])
      assert.isFalse(tags(reports).includes("error"))
      assert.strictEqual((yield* stateOf(runId)).run, "FAILED")
    }).pipe(Effect.provide(tape))
  )

  it.effect("what nothing undoes is STUCK at once, unless its run is of a foreign app", () =>
    Effect.gen(function* () {
      const runId = yield* undoing(2)
      const foreign = { name: "other", tools: [], redrive: () => Effect.void }
      const [left] = yield* Reactors.drainOnce({ apps: [foreign] })
      assert.deepInclude(left, { _tag: "skipped", reason: "no-compensator" })
      assert.deepStrictEqual((yield* stateOf(runId)).obligations, ["PENDING", "PENDING"])
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce()), ["stuck", "stuck", "ended"])
      const state = yield* stateOf(runId)
      assert.strictEqual(state.run, "STUCK")
      assert.match(state.errors[0] ?? "", /^no-compensator: nothing undoes the kind "undo"/)
    }).pipe(Effect.provide(tape))
  )

  it.effect("a compensator that says so is not tried again; one that takes half the claim's time has failed", () =>
    Effect.gen(function* () {
      const runId = yield* undoing(2)
      const undo = (payload: unknown) =>
        numberOf(payload) === 2 ? Effect.never : Effect.fail(new Reactors.CannotCompensate({ reason: "gone for good" }))
      const fiber = yield* Effect.fork(
        Reactors.drainOnce({ compensators: { undo }, jitter: false, claimTtl: "20 seconds" })
      )
      yield* TestClock.adjust("10 seconds")
      const [late] = yield* fiber
      assert.deepInclude(late, { _tag: "scheduled", error: "no answer within 10s", attempts: 1 })
      yield* TestClock.adjust("1 seconds")
      const stuck = { undo: () => Effect.fail(new Reactors.CannotCompensate({ reason: "gone for good" })) }
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce({ compensators: stuck })), ["stuck", "stuck", "ended"])
      assert.deepStrictEqual((yield* stateOf(runId)).errors, ["gone for good", "gone for good"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("asks the connector of the effect, and imports a foreign reference only if its module is allowed", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const asked: Array<Connectors.Obligation> = []
      const bank = Connectors.make("bank.wire", {
        dispatch: () => Effect.dieMessage("must not be sent"),
        compensate: (obligation) => {
          asked.push(obligation)
          return Effect.succeed({ _tag: "compensated", response: { reversed: true } })
        }
      })
      const ids = { appName: "acc", userId: "u", sessionId: "s", invocationId: "i" }
      const { runId } = yield* tape.beginRun({ ...ids, leaseOwner: "drv", leaseTtlMs: 60_000n })
      const { idempotencyKey: effectKey } = yield* tape.beginEffect({
        runId,
        toolName: "wire",
        connector: "bank.wire",
        dispatchMode: EffectDispatchMode.OUTBOX
      })
      yield* tape.completeEffect({ runId, idempotencyKey: effectKey, status: EffectStatus.CONFIRMED })
      yield* tape.registerCompensation({ runId, effectKey, kind: "reverse", payloadJson: '{"id":1}' })
      const compensatorRef = "node:path:basename"
      yield* tape.registerCompensation({ runId, effectKey: "x", kind: "foreign", payloadJson: '"a/b"', compensatorRef })
      yield* tape.endRun({ runId, status: RunStatus.COMPENSATING })
      const reports = yield* Effect.provide(Reactors.drainOnce({ connectors: ["bank.wire"] }), bank)
      assert.deepStrictEqual(tags(reports), ["stuck", "compensated", "ended"])
      assert.match((yield* stateOf(runId)).errors[1] ?? "", /node:path:basename is not allowed/)
      assert.deepStrictEqual(
        asked.map(({ attempt, kind, payload }) => ({ attempt, kind, payload })),
        [{ attempt: 1, kind: "reverse", payload: { id: 1 } }]
      )
      const again = yield* undoing(0, { status: RunStatus.RUNNING, name: "again" })
      yield* tape.registerCompensation({
        runId: again,
        effectKey: "x",
        kind: "foreign",
        payloadJson: '"a/b"',
        compensatorRef: "node:path:normalize"
      })
      yield* tape.endRun({ runId: again, status: RunStatus.COMPENSATING })
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce({ modules: ["node:path"] })), ["compensated", "ended"])
    }).pipe(Effect.provide(tape))
  )
})

describe("Reactors.drainOnce, killed", () => {
  it.effect("between undoing and recording: the next one undoes it again after the claim, with the same key", () =>
    Effect.gen(function* () {
      const runId = yield* undoing(2)
      const { options, order } = undoer()
      yield* killedAt({ rpc: "resolveObligation", at: "before" }, Reactors.drainOnce({ ...options, grace: 0 }))
      assert.deepStrictEqual(order, [2])
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce(options)), ["skipped"])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(tags(yield* Reactors.drainOnce(options)), ["compensated", "compensated", "ended"])
      assert.deepStrictEqual(order, [2, 2, 1])
      assert.strictEqual((yield* stateOf(runId)).run, "FAILED")
    }).pipe(Effect.provide(tape))
  )

  it.effect("interrupted in the middle: what is being undone is recorded", () =>
    Effect.gen(function* () {
      const runId = yield* undoing(2)
      const reached = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const undo = () => Effect.zipRight(Deferred.succeed(reached, undefined), Deferred.await(go))
      const fiber = yield* Effect.fork(Reactors.drainOnce({ compensators: { undo } }))
      yield* Deferred.await(reached)
      const stopped = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(go, undefined)
      yield* stopped
      assert.deepStrictEqual((yield* stateOf(runId)).obligations, ["PENDING", "COMPENSATED"])
    }).pipe(Effect.provide(tape))
  )
})

describe("Reactors.layerObligations", () => {
  const ended = (runId: string) =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      return yield* until(
        tape.getRun({ runId }).pipe(
          Effect.orDie,
          Effect.map(({ status }) =>
            status === RunStatus.COMPENSATING ? Option.none() : Option.some(RunStatus[status])
          )
        )
      )
    })

  it.effect("is woken by the journal, and ends a run whose drainer died before it could", () =>
    Effect.gen(function* () {
      const { options, order } = undoer()
      const half = yield* undoing(1, { name: "half" })
      yield* killedAt({ rpc: "endRun", at: "before" }, Reactors.drainOnce(options))
      yield* Effect.fork(Layer.launch(Reactors.layerObligations(options)))
      // The clock stands still: only the journal can tell.
      assert.strictEqual(yield* ended(half), "FAILED")
      assert.strictEqual(yield* ended(yield* undoing(3, { name: "late" })), "FAILED")
      assert.deepStrictEqual(order, [1, 3, 2, 1])
    }).pipe(Effect.scoped, Effect.provide(tape))
  )

  it.effect("news of a run that is not there does not keep it busy", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const drainer = new Drainer()
      yield* drainer.heard("gone")
      assert.isTrue(drainer.isBusy)
      yield* drainer.unread("gone", yield* Effect.flip(tape.getRun({ runId: "gone" })))
      assert.isFalse(drainer.isBusy)
      assert.deepStrictEqual(drainer.owing([], 0), [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("registers the compensations that a killed dispatcher left out, from where the last follower stopped", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const WireMoney = { name: "wire", connector: "bank.wire", compensation: { kind: "reverse" } } as const
      const ids = { appName: "acc", userId: "u", sessionId: "s", invocationId: "i" }
      const { runId } = yield* tape.beginRun({ ...ids, leaseOwner: "drv", leaseTtlMs: 60_000n })
      const { idempotencyKey } = yield* tape.beginEffect({
        runId,
        toolName: "wire",
        connector: "bank.wire",
        dispatchMode: EffectDispatchMode.OUTBOX
      })
      yield* tape.completeEffect({
        runId,
        idempotencyKey,
        status: EffectStatus.CONFIRMED,
        responseJson: '{"id":"W-1"}'
      })
      const bank = Connectors.make("bank.wire", { dispatch: () => Effect.dieMessage("must not be sent") })
      yield* Effect.fork(Layer.launch(Layer.provide(Reactors.layerObligations({ tools: [WireMoney] }), bank)))
      const found = yield* until(
        tape.listObligations({ runId }).pipe(
          Effect.orDie,
          Effect.map(({ obligations }) => Option.fromNullable(obligations[0]))
        )
      )
      assert.deepInclude(found, { kind: "reverse", effectKey: idempotencyKey, payloadJson: '{"id":"W-1"}' })
      yield* TestClock.adjust("2 seconds")
      const saved = yield* until(
        tape.getValue({ namespace: "tape:reactors", key: "compensations" }).pipe(
          Effect.orDie,
          Effect.map(({ value }) => Option.fromNullable(value))
        )
      )
      assert.match(saved.valueJson, /^\{"last_global_seq":\d+\}$/)
    }).pipe(Effect.scoped, Effect.provide(tape))
  )
})
