import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Exit, Layer, Option, Queue, Schedule, Scope, Stream, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { Retention, Store, StoreError } from "effect-tape/engine"
import {
  EffectResolution,
  EffectStatus,
  HandlerKind,
  ObligationStatus,
  RunStatus,
  type Session,
  TaskStatus
} from "effect-tape/proto"
import * as Tables from "../../src/engine/store/tables.js"
import { continuation, invalidContinuations } from "./continuations.js"
import { eventually, tapeOverStore as tape } from "./ledgerFixtures.js"

const begin = (invocationId = "1") =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.beginRun({ appName: "app", userId: "u", sessionId: "s", invocationId, leaseOwner: "o" })
  ).pipe(Effect.map(({ runId }) => runId))

const end = (runId: string, status = RunStatus.TERMINAL) =>
  Effect.flatMap(TapeClient, (tape) => tape.endRun({ runId, status }))

const intend = (runId: string, customKey: string, businessKey = "") =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.beginEffect({ runId, toolName: "t", customKey, businessKey, connector: businessKey === "" ? "" : "bank" })
  )

const settle = (runId: string, idempotencyKey: string, status = EffectStatus.CONFIRMED) =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.completeEffect({ runId, idempotencyKey, status, responseJson: `"${idempotencyKey}"` })
  )

const act = (runId: string, key: string, status = EffectStatus.CONFIRMED, businessKey = "") =>
  Effect.zipRight(intend(runId, key, businessKey), settle(runId, key, status))

const found = (runId: string, ...keys: ReadonlyArray<string>) =>
  Effect.flatMap(TapeClient, (tape) =>
    Effect.filter(keys, (idempotencyKey) =>
      Effect.map(tape.getEffect({ runId, idempotencyKey }), (answer) => answer.found)
    )
  )

const prune = (policy: Retention.RetentionPolicy = { effects: "1 day" }) =>
  Effect.flatMap(Retention.Retention, (retention) => retention.prune(policy))

const snapshot = (runId: string, until?: DateTime.DateTime) =>
  Effect.flatMap(Retention.Retention, (retention) => retention.snapshot({ runId, until }))

const rows = (
  table: typeof Tables.Effects | typeof Tables.EffectSnapshots | typeof Tables.SessionEvents | typeof Tables.Obligations
) =>
  Effect.flatMap(Store.Store, (store) => store.read((snapshot) => snapshot.select(table, "", []))).pipe(
    Effect.map((rows) => rows.length)
  )

const counts = ({ businessKeys, effects, obligations, runs }: Retention.Pruned) => ({
  businessKeys,
  effects,
  obligations,
  runs
})

describe("pruning effects", () => {
  it.effect("takes what is settled and old of finished runs, and nothing else; a second time it finds nothing", () =>
    Effect.gen(function* () {
      const finished = yield* begin("finished")
      yield* act(finished, "confirmed")
      yield* act(finished, "failed", EffectStatus.FAILED)
      yield* act(finished, "unknown", EffectStatus.UNKNOWN)
      yield* intend(finished, "pending")
      const open = yield* begin("open")
      yield* act(open, "confirmed")
      yield* TestClock.adjust("2 days")
      yield* act(finished, "fresh")
      yield* end(finished)
      assert.deepStrictEqual(counts(yield* prune()), { businessKeys: 0, effects: 2, obligations: 0, runs: 1 })
      const keys = ["confirmed", "failed", "unknown", "pending", "fresh"]
      assert.deepStrictEqual(yield* found(finished, ...keys), ["unknown", "pending", "fresh"])
      assert.deepStrictEqual(yield* found(open, ...keys), ["confirmed"])
      assert.deepStrictEqual(counts(yield* prune()), { businessKeys: 0, effects: 0, obligations: 0, runs: 0 })
    }).pipe(Effect.provide(tape))
  )

  it.effect("without a policy for them nothing is pruned", () =>
    Effect.gen(function* () {
      const runId = yield* begin()
      yield* act(runId, "a")
      yield* end(runId)
      yield* TestClock.adjust("999 days")
      assert.strictEqual((yield* prune({})).effects, 0)
    }).pipe(Effect.provide(tape))
  )

  it.effect("what was done is not done again: a pruned run takes no new effect, and is not taken up again", () =>
    Effect.gen(function* () {
      for (const status of [RunStatus.TERMINAL, RunStatus.FAILED, RunStatus.STUCK, RunStatus.CANCELLED]) {
        const invocation = `${status}`
        const runId = yield* begin(invocation)
        yield* act(runId, "a")
        yield* end(runId, status)
        yield* TestClock.adjust("2 days")
        assert.strictEqual((yield* prune()).effects, 1)
        assert.strictEqual((yield* Effect.flip(intend(runId, "a")))._tag, "PreconditionFailed")
        yield* begin(invocation)
        const tape = yield* TapeClient
        assert.strictEqual((yield* tape.getRun({ runId })).status, status)
        if (status !== RunStatus.TERMINAL) {
          yield* end(runId, RunStatus.COMPENSATING)
          assert.strictEqual((yield* Effect.flip(intend(runId, "a")))._tag, "PreconditionFailed")
        }
      }
    }).pipe(Effect.provide(tape))
  )

  it.effect("a failed run that lost nothing is taken up as ever", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin()
      yield* end(runId, RunStatus.FAILED)
      yield* TestClock.adjust("2 days")
      yield* prune()
      yield* begin()
      assert.strictEqual((yield* tape.getRun({ runId })).status, RunStatus.RUNNING)
      yield* act(runId, "a")
      yield* end(runId, RunStatus.FAILED)
      yield* TestClock.adjust("2 days")
      assert.strictEqual((yield* prune()).effects, 1)
    }).pipe(Effect.provide(tape))
  )

  it.effect("a business key is remembered with its status, for every run", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin()
      yield* act(runId, "paid", EffectStatus.CONFIRMED, "invoice-1")
      yield* act(runId, "refused", EffectStatus.FAILED, "invoice-2")
      yield* end(runId)
      yield* TestClock.adjust("2 days")
      assert.strictEqual((yield* prune()).businessKeys, 2)
      const other = yield* begin("other")
      const paid = yield* intend(other, "x", "invoice-1")
      assert.deepStrictEqual([paid.status, paid.idempotencyKey], [EffectStatus.CONFIRMED, "paid"])
      assert.strictEqual((yield* intend(other, "y", "invoice-2")).status, EffectStatus.FAILED)
      assert.strictEqual((yield* intend(other, "z", "invoice-3")).status, EffectStatus.PENDING)
      assert.strictEqual((yield* tape.getRun({ runId: other })).seqCursor, 2n)
    }).pipe(Effect.provide(tape))
  )

  it.effect("an effect stays while anything open would undo it; both go once it was undone long ago", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin()
      const oblige = (effectKey: string) =>
        Effect.map(tape.registerCompensation({ runId, effectKey, kind: "undo" }), ({ seq }) => seq)
      yield* Effect.forEach(["pending", "committed", "undone", "stuck"], (key) => act(runId, key))
      yield* oblige("pending")
      yield* tape.claimObligation({ runId, obligationSeq: yield* oblige("committed"), claimer: "c" })
      const undone = yield* oblige("undone")
      const stuck = yield* oblige("stuck")
      yield* tape.resolveObligation({ runId, obligationSeq: stuck, status: ObligationStatus.STUCK })
      yield* end(runId, RunStatus.FAILED)
      yield* TestClock.adjust("2 days")
      yield* tape.resolveObligation({ runId, obligationSeq: undone, status: ObligationStatus.COMPENSATED })
      assert.deepStrictEqual(counts(yield* prune()), { businessKeys: 0, effects: 1, obligations: 0, runs: 1 })
      yield* TestClock.adjust("2 days")
      assert.deepStrictEqual(counts(yield* prune()), { businessKeys: 0, effects: 1, obligations: 1, runs: 1 })
      assert.deepStrictEqual(yield* found(runId, "pending", "committed", "undone", "stuck"), ["pending", "committed"])
      const { obligations } = yield* tape.listObligations({ runId })
      assert.deepStrictEqual(obligations.map(({ effectKey }) => effectKey).toSorted(), [
        "committed",
        "pending",
        "stuck"
      ])
      const late = tape.registerCompensation({ runId, effectKey: "undone", kind: "undo" })
      assert.strictEqual((yield* Effect.flip(late))._tag, "PreconditionFailed")
    }).pipe(Effect.provide(tape))
  )

  it.effect("what is large goes in batches of few", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin()
      const payloadJson = `"${"x".repeat(400_000)}"`
      yield* Effect.forEach(["a", "b", "c", "d", "e", "f"], (key) =>
        Effect.all([
          tape.beginEffect({ runId, toolName: "t", customKey: key, requestJson: payloadJson }),
          settle(runId, key),
          tape.setTimer({ runId, timerId: key, fireAtMs: 0n, payloadJson }),
          tape.appendEvent({ sessionId: "s", event: { id: key, contentJson: payloadJson } })
        ])
      )
      while ((yield* tape.listDueTimers({ claim: true })).timers.length > 0) {}
      yield* end(runId)
      assert.strictEqual((yield* snapshot(runId)).taken, 6)
      yield* tape.deleteSession({ sessionId: "s" })
      assert.strictEqual(yield* eventually(rows(Tables.SessionEvents), (count) => count === 0), 0)
      yield* TestClock.adjust("2 days")
      assert.deepInclude(yield* prune({ effects: "1 day", timers: "1 day", snapshots: "1 day" }), {
        effects: 6,
        timers: 6,
        snapshots: 6
      })
    }).pipe(Effect.provide(tape))
  )

  it.effect("a large run goes in batches, while writers go on", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin()
      const keys = Array.from({ length: 900 }, (_, index) => `effect ${index}`)
      yield* Effect.forEach(keys, (key) => act(runId, key), { concurrency: 64, discard: true })
      yield* end(runId)
      yield* TestClock.adjust("2 days")
      const other = yield* begin("other")
      const [report] = yield* Effect.all(
        [
          prune(),
          Effect.forEach(keys, (_, index) => tape.recordDecision({ runId: other, decisionIndex: BigInt(index) }), {
            discard: true
          })
        ],
        { concurrency: 2 }
      )
      assert.deepStrictEqual(counts(report), { businessKeys: 0, effects: 900, obligations: 0, runs: 1 })
      assert.strictEqual(yield* rows(Tables.Effects), 0)
      assert.strictEqual((yield* prune()).effects, 0)
    }).pipe(Effect.provide(tape))
  )
})

describe("a snapshot", () => {
  it.effect("answers for effects whose rows were pruned, and brings no row back", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin()
      yield* act(runId, "a", EffectStatus.CONFIRMED, "invoice-1")
      assert.deepInclude(yield* snapshot(runId), { runId, taken: 1, held: 0 })
      yield* TestClock.adjust("2 days")
      assert.strictEqual((yield* prune()).effects, 1)
      assert.strictEqual(yield* rows(Tables.Effects), 0)
      const again = yield* intend(runId, "a", "invoice-1")
      assert.deepStrictEqual([again.status, again.responseJson, again.seq], [EffectStatus.CONFIRMED, '"a"', 2n])
      assert.strictEqual((yield* intend(yield* begin("other"), "b", "invoice-1")).responseJson, '"a"')
      assert.strictEqual((yield* tape.getEffect({ runId, idempotencyKey: "a" })).effect?.responseJson, '"a"')
      assert.strictEqual((yield* settle(runId, "a", EffectStatus.FAILED)).status, EffectStatus.CONFIRMED)
      const observed = yield* tape.recordExternalObservation({
        runId,
        idempotencyKey: "a",
        resolution: EffectResolution.FAILED
      })
      assert.strictEqual(observed.status, EffectStatus.CONFIRMED)
      assert.strictEqual(yield* rows(Tables.Effects), 0)
      assert.strictEqual((yield* intend(runId, "new")).status, EffectStatus.PENDING)
    }).pipe(Effect.provide(tape))
  )

  it.effect("of a run that is not finished only what the snapshot has goes", () =>
    Effect.gen(function* () {
      const runId = yield* begin()
      yield* act(runId, "a")
      yield* TestClock.adjust("1 hour")
      const until = yield* DateTime.now
      yield* TestClock.adjust("1 hour")
      yield* act(runId, "b")
      yield* intend(runId, "pending")
      yield* TestClock.adjust("2 days")
      assert.strictEqual((yield* prune()).effects, 0)
      assert.deepInclude(yield* snapshot(runId, until), { taken: 1, held: 0 })
      assert.strictEqual((yield* prune()).effects, 1)
      assert.deepInclude(yield* snapshot(runId), { taken: 1, held: 0 })
      assert.deepInclude(yield* snapshot(runId), { taken: 0, held: 1 })
      assert.strictEqual((yield* prune()).effects, 1)
      assert.deepStrictEqual(
        yield* Effect.forEach(["a", "b", "pending"], (key) => Effect.map(intend(runId, key), ({ status }) => status)),
        [EffectStatus.CONFIRMED, EffectStatus.CONFIRMED, EffectStatus.PENDING]
      )
      assert.strictEqual(yield* rows(Tables.Effects), 1)
    }).pipe(Effect.provide(tape))
  )

  it.effect("while both are there the row is answered, and a later snapshot does not replace an earlier one", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* TestClock.setTime(1_000)
      const runId = yield* begin()
      yield* act(runId, "a")
      yield* snapshot(runId)
      yield* end(runId)
      yield* tape.compactRun({ runId })
      assert.strictEqual((yield* intend(runId, "a")).responseJson, "")
      yield* snapshot(runId)
      yield* TestClock.adjust("2 days")
      yield* prune()
      assert.strictEqual((yield* intend(runId, "a")).responseJson, '"a"')
    }).pipe(Effect.provide(tape))
  )

  it.effect("goes when its run ended long ago, but for what something open would undo", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* TestClock.setTime(1_000)
      const [old, undoing, open] = [yield* begin("1"), yield* begin("2"), yield* begin("3")]
      yield* Effect.forEach([old, undoing, open], (runId) =>
        Effect.zipRight(Effect.zipRight(act(runId, "a"), act(runId, "b")), snapshot(runId))
      )
      yield* end(old)
      yield* TestClock.adjust("2 days")
      assert.strictEqual((yield* prune()).effects, 6)
      yield* tape.registerCompensation({ runId: undoing, effectKey: "a", kind: "undo" })
      yield* end(undoing)
      yield* TestClock.adjust("8 days")
      const young = yield* begin("4")
      yield* act(young, "a")
      yield* snapshot(young)
      yield* end(young)
      assert.strictEqual(yield* rows(Tables.EffectSnapshots), 7)
      assert.strictEqual((yield* prune({ snapshots: "7 days" })).snapshots, 3)
      assert.strictEqual((yield* prune({ snapshots: "7 days" })).snapshots, 0)
      assert.deepStrictEqual(yield* Effect.forEach([old, undoing, open, young], (runId) => found(runId, "a", "b")), [
        [],
        ["a"],
        ["a", "b"],
        ["a"]
      ])
      const [undo] = (yield* tape.listObligations({ runId: undoing })).obligations
      yield* tape.resolveObligation({
        runId: undoing,
        obligationSeq: undo?.seq ?? 0n,
        status: ObligationStatus.COMPENSATED
      })
      assert.strictEqual((yield* prune({ snapshots: "7 days" })).snapshots, 1)
      assert.strictEqual((yield* Effect.flip(intend(old, "a")))._tag, "PreconditionFailed")
    }).pipe(Effect.provide(tape))
  )

  it.effect("that was all that was known of an effect leaves a run that takes nothing new", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const retention = yield* Retention.Retention
      const runId = yield* begin("1")
      yield* act(runId, "a", EffectStatus.CONFIRMED, "invoice-1")
      yield* retention.continueAsNew(continuation)
      yield* end(runId, RunStatus.FAILED)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* prune({ snapshots: 0 })).snapshots, 1)
      const again = yield* tape.beginRun({ appName: "app", userId: "u", sessionId: "s", invocationId: "1" })
      assert.strictEqual(again.status, RunStatus.FAILED)
      const error = yield* Effect.flip(intend(runId, "a"))
      assert.strictEqual(error._tag, "PreconditionFailed")
      const paid = yield* intend(yield* begin("2"), "b", "invoice-1")
      assert.deepStrictEqual([paid.status, paid.responseJson], [EffectStatus.CONFIRMED, ""])
    }).pipe(Effect.provide(tape))
  )

  it.effect("of a failed run whose effects are still there may go: it is taken up as ever", () =>
    Effect.gen(function* () {
      const runId = yield* begin()
      yield* Effect.forEach(
        Array.from({ length: 250 }, (_, index) => `${index}`),
        (key) => act(runId, key),
        {
          concurrency: 50
        }
      )
      assert.deepInclude(yield* snapshot(runId), { taken: 250 })
      yield* end(runId, RunStatus.FAILED)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* prune({ snapshots: 0 })).snapshots, 250)
      assert.strictEqual((yield* prune({ snapshots: 0 })).snapshots, 0)
      yield* begin()
      assert.strictEqual((yield* intend(runId, "0")).responseJson, '"0"')
      assert.strictEqual((yield* intend(runId, "new")).status, EffectStatus.PENDING)
    }).pipe(Effect.provide(tape))
  )

  it.effect("of a run that does not exist is refused", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* Effect.flip(snapshot("nobody")))._tag, "RunNotFound")
      assert.strictEqual((yield* Effect.flip(snapshot("no\u0000body")))._tag, "RunNotFound")
    }).pipe(Effect.provide(tape))
  )
})

describe("pruning tasks, timers and request ids", () => {
  it.effect("takes tasks that were done long ago, and no others", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const reactionId = "r"
      yield* tape.registerReaction({ reactionId, subjectPattern: "/tape/run/**", handlerKind: HandlerKind.TASK })
      yield* Effect.forEach(["1", "2", "3", "4"], begin)
      const tasks = Effect.map(tape.listTasks({ reactionId }), ({ tasks }) => tasks)
      yield* eventually(tasks, ({ length }) => length === 4)
      const claimed = (yield* tape.claimTasks({ reactionId, owner: "o", shard: -1, max: 3 })).tasks
      const [first, second, dead] = claimed.map(({ taskId }) => taskId)
      yield* tape.completeTask({ taskId: first ?? "", owner: "o" })
      yield* tape.nackTask({ taskId: dead ?? "", owner: "o", permanent: true })
      yield* TestClock.adjust("30 seconds")
      yield* tape.completeTask({ taskId: second ?? "", owner: "o" })
      yield* TestClock.adjust("45 seconds")
      assert.strictEqual((yield* prune({ tasks: "1 minute" })).tasks, 1)
      assert.deepStrictEqual((yield* tasks).map(({ status }) => status).toSorted(), [
        TaskStatus.PENDING,
        TaskStatus.DONE,
        TaskStatus.DLQ
      ])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* prune({ tasks: "1 minute" })).tasks, 1)
    }).pipe(Effect.provide(tape))
  )

  it.effect("takes timers that fired long ago, not those that are armed", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin()
      yield* Effect.forEach(["a", "b"], (timerId) => tape.setTimer({ runId, timerId, fireAtMs: 1n }))
      yield* TestClock.setTime(1_000)
      yield* tape.listDueTimers({ claim: true })
      yield* tape.setTimer({ runId, timerId: "armed", fireAtMs: 1n })
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* prune({ timers: "1 day" })).timers, 0)
      assert.strictEqual((yield* prune({ timers: "1 hour" })).timers, 2)
      assert.deepStrictEqual(
        (yield* tape.listDueTimers({})).timers.map(({ timerId }) => timerId),
        ["armed"]
      )
    }).pipe(Effect.provide(tape))
  )
})

describe("archiving sessions", () => {
  const append = (sessionId: string, id: string) =>
    Effect.flatMap(TapeClient, (tape) =>
      tape.appendEvent({ appName: "app", userId: "u", sessionId, event: { id }, stateDeltaJson: `{"${id}":1}` })
    )

  const sessions = Effect.flatMap(TapeClient, (tape) => tape.listSessions({ appName: "app", userId: "u" })).pipe(
    Effect.map(({ sessions }) => sessions.map(({ sessionId }) => sessionId))
  )

  it.effect("hands over whole sessions that have rested, removes them, and leaves the others", () =>
    Effect.gen(function* () {
      const retention = yield* Retention.Retention
      for (const sessionId of ["first", "second"]) {
        yield* append(sessionId, "1")
        yield* append(sessionId, "2")
        yield* TestClock.adjust("1 second")
      }
      yield* TestClock.adjust("2 days")
      yield* append("busy", "1")
      const archived: Array<Session> = []
      const archive = (session: Session) => Effect.sync(() => void archived.push(session))
      const report = yield* retention.archiveSessions({ idleFor: "1 day", archive })
      assert.deepInclude(report, { archived: 2, events: 4, changed: 0 })
      assert.deepStrictEqual(
        archived.map(({ events, sessionId, stateJson }) => [sessionId, stateJson, events.map(({ id }) => id)]),
        [
          ["first", '{"1":1,"2":1}', ["1", "2"]],
          ["second", '{"1":1,"2":1}', ["1", "2"]]
        ]
      )
      assert.deepStrictEqual(yield* sessions, ["busy"])
      assert.strictEqual(yield* rows(Tables.SessionEvents), 1)
    }).pipe(Effect.provide(tape))
  )

  it.effect("a session that goes on meanwhile stays, and so does one that could not be archived", () =>
    Effect.gen(function* () {
      const retention = yield* Retention.Retention
      yield* append("s", "1")
      yield* TestClock.adjust("2 days")
      const exit = yield* Effect.exit(
        retention.archiveSessions({ idleFor: "1 day", archive: () => Effect.fail("no space") })
      )
      assert.deepStrictEqual(exit, Exit.fail("no space"))
      const report = yield* retention.archiveSessions({
        idleFor: "1 day",
        archive: () => Effect.orDie(append("s", "2"))
      })
      assert.deepInclude(report, { archived: 0, changed: 1 })
      assert.deepStrictEqual(yield* sessions, ["s"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("the events of a deleted session are removed by and by", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* Effect.forEach(
        Array.from({ length: 1_200 }, (_, index) => `${index}`),
        (id) => append("s", id),
        { concurrency: 64, discard: true }
      )
      yield* tape.deleteSession({ appName: "app", userId: "u", sessionId: "s" })
      assert.strictEqual(yield* eventually(rows(Tables.SessionEvents), (count) => count === 0), 0)
    }).pipe(Effect.provide(tape))
  )
})

describe("continuing as new", () => {
  it.effect("prunes what is settled and not needed, and carries the state over as a value", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const retention = yield* Retention.Retention
      const runId = yield* begin("1")
      yield* Effect.forEach(["a", "b", "pinned"], (key) => act(runId, key))
      yield* intend(runId, "pending")
      yield* tape.registerCompensation({ runId, effectKey: "pinned", kind: "undo" })
      const namespace = "tape:continue-as-new:s"
      const expected = { runId, pruned: 2, kept: 2, namespace, key: "2", version: 1n }
      assert.deepInclude(yield* retention.continueAsNew(continuation), expected)
      const { value } = yield* tape.getValue({ namespace, key: "2" })
      assert.strictEqual(value?.valueJson, '{"n":1.0}')
      const again = yield* intend(runId, "a")
      assert.deepStrictEqual([again.status, again.responseJson], [EffectStatus.CONFIRMED, ""])
      assert.strictEqual((yield* intend(runId, "new")).status, EffectStatus.PENDING)
      const entry = yield* tape
        .subscribeBySubject({ subjectPattern: "/tape/value/changed/tape:continue-as-new:s/2" })
        .pipe(Stream.runHead)
      assert.isTrue(Option.isSome(entry))
    }).pipe(Effect.provide(tape))
  )

  it.effect("what no store could keep is refused, with the name of what is wrong, and nothing is pruned", () =>
    Effect.flatMap(begin("1"), (runId) =>
      Effect.zipRight(act(runId, "a"), invalidContinuations(continuation, runId))
    ).pipe(Effect.provide(tape))
  )

  it.effect("a repeat with the same state is the same, with another it is refused", () =>
    Effect.gen(function* () {
      const retention = yield* Retention.Retention
      yield* begin("1")
      yield* retention.continueAsNew(continuation)
      assert.strictEqual((yield* retention.continueAsNew(continuation)).version, 1n)
      const other = retention.continueAsNew({ ...continuation, stateJson: "2" })
      assert.strictEqual((yield* Effect.flip(other))._tag, "AlreadyContinued")
      const nobody = retention.continueAsNew({ ...continuation, invocationId: "nobody's" })
      assert.strictEqual((yield* Effect.flip(nobody))._tag, "RunNotFound")
    }).pipe(Effect.provide(tape))
  )
})

describe("Retention.layerPrune", () => {
  it.scoped("prunes as often as its schedule says, through trouble, until its scope closes", () =>
    Effect.gen(function* () {
      const reports = yield* Queue.unbounded<Retention.Pruned>()
      const { prune } = yield* Retention.Retention
      let isAway = false
      const store = {
        ...(yield* Retention.Retention),
        prune: (policy: Retention.RetentionPolicy) =>
          Effect.suspend(() =>
            isAway ? new StoreError({ reason: "Busy", url: "memory:", detail: "away" }) : prune(policy)
          )
      }
      const reactor = Retention.layerPrune({
        effects: "1 day",
        schedule: Schedule.spaced("1 hour"),
        onReport: (report) => Queue.offer(reports, report)
      })
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(Layer.provide(reactor, Layer.succeed(Retention.Retention, store)), scope)
      assert.strictEqual((yield* Queue.take(reports)).effects, 0)
      const runId = yield* begin()
      yield* act(runId, "a")
      yield* end(runId)
      isAway = true
      yield* TestClock.adjust("25 hours")
      assert.strictEqual(yield* Queue.size(reports), 0)
      isAway = false
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Queue.take(reports)).effects, 1)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("5 hours")
      assert.strictEqual(yield* Queue.size(reports), 0)
    }).pipe(Effect.provide(tape))
  )
})
