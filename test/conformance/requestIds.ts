/** Calls that are not idempotent by nature: the repeat of one that names itself gets the first answer. */
import * as assert from "node:assert/strict"
import { randomUUID } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Client } from "effect-tape"
import { HandlerKind, RunStatus } from "effect-tape/proto"
import { eventually, refused, type TapeError } from "./Expect.js"
import { record, type Tape, type World } from "./Fixtures.js"
import { reaction } from "./reacting.js"
import { Probe, type Scenario, scenario } from "./Scenario.js"
import { sessionOf } from "./sessions.js"
import { valueOf } from "./values.js"

const named = (id: string = randomUUID()): Client.CallOptions => ({ metadata: { "tape-request-id": id } })

/** A call, another request of the same rpc, and a look at how often the call acted. */
interface Case {
  readonly call: (options: Client.CallOptions) => Effect.Effect<unknown, TapeError>
  readonly another: (options: Client.CallOptions) => Effect.Effect<unknown, TapeError>
  readonly actedOnce: Effect.Effect<void, unknown>
}

const cases: ReadonlyArray<readonly [rpc: string, prepare: (w: World, tape: Tape) => Effect.Effect<Case, unknown>]> = [
  [
    "ChargeBudget",
    (w, tape) =>
      Effect.map(w.run("a"), (runId) => ({
        call: (options) => tape.chargeBudget({ runId, usd: 0.5, tokens: 7n }, options),
        another: (options) => tape.chargeBudget({ runId, usd: 0.5, tokens: 8n }, options),
        actedOnce: Effect.map(w.tape.admitBudget({ runId }), ({ budget }) => assert.equal(budget?.tokensSpent, 7n))
      }))
  ],
  [
    "WriteValue",
    (w, tape) => {
      const value = valueOf(w, "written")
      const write = (valueJson: string) => (options: Client.CallOptions) =>
        tape.writeValue({ namespace: value.namespace, key: value.key, valueJson, ifVersion: -1n }, options)
      return Effect.succeed({
        call: write("1"),
        another: write("2"),
        actedOnce: Effect.map(value.get, (got) => assert.equal(got.value?.version, 1n))
      })
    }
  ],
  [
    "DeleteValue",
    (w, tape) => {
      const { get, key, namespace, write } = valueOf(w, "deleted")
      return Effect.as(write("1"), {
        call: (options) => tape.deleteValue({ namespace, key }, options),
        another: (options) => tape.deleteValue({ namespace, key: "another" }, options),
        actedOnce: Effect.map(get, (got) => assert.equal(got.value?.version, 2n))
      })
    }
  ],
  [
    "AppendEvent without an id",
    (w, tape) => {
      const { get, key } = sessionOf(w, "appended")
      return Effect.succeed({
        call: (options) => tape.appendEvent({ ...key, event: { author: "a" } }, options),
        another: (options) => tape.appendEvent({ ...key, event: { author: "b" } }, options),
        actedOnce: Effect.map(get(), ({ events }) => assert.equal(events.length, 1))
      })
    }
  ],
  [
    "CreateSession",
    (w, tape) => {
      const key = { appName: w.app, userId: "created" }
      return Effect.succeed({
        call: (options) => tape.createSession(key, options),
        another: (options) => tape.createSession({ ...key, stateJson: "{}" }, options),
        actedOnce: Effect.map(tape.listSessions(key), ({ sessions }) => assert.equal(sessions.length, 1))
      })
    }
  ],
  [
    "SetTimer with a generated id",
    (w, tape) =>
      Effect.map(w.run("t"), (runId) => ({
        call: (options) => tape.setTimer({ runId, fireAtMs: 1n }, options),
        another: (options) => tape.setTimer({ runId, fireAtMs: 2n }, options),
        actedOnce: Effect.map(w.tape.listDueTimers({ limit: 10_000n }), ({ timers }) =>
          assert.equal(timers.filter((timer) => timer.runId === runId).length, 1)
        )
      }))
  ],
  [
    "RegisterReaction with a generated id",
    (w, tape) => {
      const subjectPattern = `/tape/${w.id}/registered`
      const one = { subjectPattern, handlerKind: HandlerKind.TASK, bootstrapFromHead: true }
      const registered = Effect.map(tape.listReactions({ subjectPattern }), ({ reactions }) => reactions)
      return Effect.succeed({
        call: (options) => tape.registerReaction(one, options),
        another: (options) => tape.registerReaction({ ...one, name: "another" }, options),
        actedOnce: Effect.gen(function* () {
          const reactions = yield* registered
          yield* Effect.forEach(reactions, ({ reactionId }) => tape.deregisterReaction({ reactionId }))
          assert.equal(reactions.length, 1)
        })
      })
    }
  ],
  [
    "RecordDispatchAttempt",
    (w, tape) =>
      Effect.gen(function* () {
        const runId = yield* w.run("attempted")
        const { idempotencyKey } = yield* w.out(runId, "attempted")
        const attempt = (error: string) => (options: Client.CallOptions) =>
          tape.recordDispatchAttempt({ runId, idempotencyKey, error, nextDispatchAtMs: 9_999_999_999_999n }, options)
        return {
          call: attempt("one"),
          another: attempt("two"),
          actedOnce: Effect.map(w.getEffect(runId, idempotencyKey), (row) => assert.equal(row.dispatchAttempts, 1))
        }
      })
  ],
  [
    "RecordObligationAttempt",
    (w, tape) =>
      Effect.gen(function* () {
        const runId = yield* w.run("owed")
        const { seq: obligationSeq } = yield* w.register(runId, "k", "undo")
        const attempt = (error: string) => (options: Client.CallOptions) =>
          tape.recordObligationAttempt({ runId, obligationSeq, error, nextAttemptAtMs: 1n }, options)
        return {
          call: attempt("one"),
          another: attempt("two"),
          actedOnce: Effect.map(w.obligations(runId), ([row]) => assert.equal(row?.attempts, 1))
        }
      })
  ],
  [
    "ClaimEffectDispatch",
    (w, tape) =>
      Effect.gen(function* () {
        const runId = yield* w.run("claimed")
        const { idempotencyKey } = yield* w.out(runId, "claimed")
        const claim = (claimer: string) => (options: Client.CallOptions) =>
          tape.claimEffectDispatch({ runId, idempotencyKey, claimer, leaseTtlMs: 60_000n }, options)
        return {
          call: claim("A"),
          another: claim("B"),
          actedOnce: Effect.map(w.claim(runId, idempotencyKey, "C"), ({ acquired, effect }) =>
            assert.deepEqual([acquired, effect?.dispatchClaimedBy], [false, "A"])
          )
        }
      })
  ],
  [
    "ClaimObligation",
    (w, tape) =>
      Effect.gen(function* () {
        const runId = yield* w.run("committed")
        const { seq: obligationSeq } = yield* w.register(runId, "k", "undo")
        const claim = (claimer: string) => (options: Client.CallOptions) =>
          tape.claimObligation({ runId, obligationSeq, claimer, leaseTtlMs: 60_000n }, options)
        return {
          call: claim("A"),
          another: claim("B"),
          actedOnce: Effect.map(w.claimObligation(runId, obligationSeq, "C"), ({ acquired, obligation }) =>
            assert.deepEqual([acquired, obligation?.claimedBy], [false, "A"])
          )
        }
      })
  ],
  [
    "ListDueTimers(claim)",
    (w, tape) =>
      Effect.gen(function* () {
        const runId = yield* w.run("due")
        for (const timerId of ["1", "2", "3"]) yield* tape.setTimer({ runId, timerId, fireAtMs: 1n })
        return {
          call: (options) => tape.listDueTimers({ limit: 1n, nowMs: 1n, claim: true }, options),
          another: (options) => tape.listDueTimers({ limit: 2n, nowMs: 1n, claim: true }, options),
          actedOnce: Effect.map(w.tape.listDueTimers({ limit: 10_000n, nowMs: 1n }), ({ timers }) =>
            assert.ok(timers.filter((timer) => timer.runId === runId).length >= 2)
          )
        }
      })
  ],
  [
    "DeleteSession",
    (w, tape) => {
      const { append, find, key } = sessionOf(w, "removed")
      return Effect.as(append({ author: "a" }), {
        call: (options) => tape.deleteSession(key, options),
        another: (options) => tape.deleteSession({ ...key, sessionId: "another" }, options),
        actedOnce: Effect.map(find(), ({ found }) => assert.equal(found, false))
      })
    }
  ],
  [
    "CancelTimer",
    (w, tape) =>
      Effect.gen(function* () {
        const runId = yield* w.run("cancelled")
        yield* tape.setTimer({ runId, timerId: "t", fireAtMs: 1n })
        return {
          call: (options) => tape.cancelTimer({ runId, timerId: "t" }, options),
          another: (options) => tape.cancelTimer({ runId, timerId: "u" }, options),
          actedOnce: Effect.map(tape.cancelTimer({ runId, timerId: "t" }), ({ cancelled }) =>
            assert.equal(cancelled, false)
          )
        }
      })
  ],
  [
    "EndRun",
    (w, tape) =>
      Effect.map(w.run("ended"), (runId) => ({
        call: (options) => tape.endRun({ runId, status: RunStatus.COMPENSATING }, options),
        another: (options) => tape.endRun({ runId, status: RunStatus.FAILED }, options),
        actedOnce: Effect.map(w.journal(runId), (entries) => assert.equal(entries.length, 2))
      }))
  ]
]

export const requestIds: ReadonlyArray<Scenario> = [
  ...cases.map(([rpc, prepare], nth) =>
    scenario(`RUL-REQUEST-${nth + 1}`, "P0", `${rpc}: repeated under its id it acts once`, function* (w) {
      const { asIs } = yield* Probe
      const one = yield* prepare(w, yield* asIs)
      const id = named()
      const first = yield* one.call(id)
      assert.deepEqual(yield* one.call(id), first)
      yield* refused(one.another(id), "InvalidRequest", "tape-request-id")
      assert.deepEqual(yield* one.call(id), first)
      yield* one.actedOnce
      yield* one.another(named())
    })
  ),

  scenario("RUL-REQUEST-TASKS", "P0", "ClaimTasks and NackTask: repeated under their ids they act once", function* (w) {
    const { asIs } = yield* Probe
    const tape = yield* asIs
    const value = valueOf(w, "x")
    const one = yield* reaction(w, { subjectPattern: `/tape/value/changed/${value.namespace}/*` })
    for (let n = 0; n < 3; n++) yield* value.write(`${n}`)
    yield* one.whenTasks(3)
    const claim = (max: number) => ({ reactionId: one.id, shard: -1, owner: "A", leaseMs: 60_000n, max })
    const claiming = named()
    const first = yield* tape.claimTasks(claim(1), claiming)
    assert.equal(first.tasks.length, 1)
    assert.deepEqual(yield* tape.claimTasks(claim(1), claiming), first)
    yield* refused(tape.claimTasks(claim(2), claiming), "InvalidRequest", "tape-request-id")
    const taskId = record(first.tasks[0]).taskId
    const nacking = named()
    const nacked = yield* tape.nackTask({ taskId, owner: "A", error: "e" }, nacking)
    assert.equal(nacked.task?.attempts, 1)
    const again = yield* tape.claimTasks({ ...claim(10), nowMs: (yield* w.now) + 600_000n }, named())
    assert.equal(again.tasks.length, 3)
    assert.deepEqual(yield* tape.nackTask({ taskId, owner: "A", error: "e" }, nacking), nacked)
    const stored = record((yield* one.tasks()).find((task) => task.taskId === taskId))
    assert.deepEqual([stored.leaseOwner, stored.attempts], ["A", 2], "the repeat left the new claim alone")
    yield* refused(tape.nackTask({ taskId, owner: "A", error: "f" }, nacking), "InvalidRequest", "tape-request-id")
  }),

  scenario("RUL-REQUEST-OTHERS", "P0", "calls that are idempotent by nature take no notice of an id", function* (w) {
    const { asIs } = yield* Probe
    const tape = yield* asIs
    const id = named()
    const runId = yield* w.run("a")
    const session = sessionOf(w, "s")
    for (const n of [1, 2]) {
      const { decisionIndex } = yield* tape.recordDecision({ runId, decisionIndex: BigInt(n) }, id)
      assert.equal(decisionIndex, BigInt(n))
      yield* tape.beginEffect({ runId, decisionIndex: BigInt(n), toolName: "t" }, id)
      assert.equal((yield* tape.setBudget({ runId, usdCap: n }, id)).usdCap, n)
      yield* tape.sendSignal({ runId, gateName: `g${n}` }, id)
      yield* tape.setTimer({ runId, timerId: `t${n}`, fireAtMs: 9_999_999_999_999n }, id)
      yield* tape.appendEvent({ ...session.key, event: { id: `e${n}` } }, id)
      yield* tape.registerCompensation({ runId, effectKey: "k", kind: `undo${n}` }, id)
      yield* tape.listDueTimers({ limit: BigInt(n) }, id)
    }
    assert.equal((yield* session.get()).events.length, 2)
    assert.equal((yield* w.obligations(runId)).length, 2)
  }),

  scenario("RUL-REQUEST-REFUSED", "P0", "only answers are kept: what was refused may be tried again", function* (w) {
    const { asIs } = yield* Probe
    const tape = yield* asIs
    const { namespace, write } = valueOf(w, "x")
    const id = named()
    const call = tape.writeValue({ namespace, key: "x", valueJson: "2", ifVersion: 1n }, id)
    yield* refused(call, "Conflict")
    yield* write("1")
    assert.equal((yield* call).version, 2n)
    assert.equal((yield* call).version, 2n)
  }),

  scenario("RUL-REQUEST-APART", "P0", "an id belongs to its rpc; an empty one is none", function* (w) {
    const { asIs } = yield* Probe
    const tape = yield* asIs
    const runId = yield* w.run("a")
    const { namespace } = valueOf(w, "")
    const id = named()
    yield* tape.chargeBudget({ runId, tokens: 1n }, id)
    const written = yield* tape.writeValue({ namespace, key: "k", ifVersion: -1n }, id)
    assert.equal(written.version, 1n)
    assert.equal((yield* tape.deleteValue({ namespace, key: "k" }, id)).version, 2n)
    for (let n = 0; n < 2; n++) yield* tape.chargeBudget({ runId, tokens: 1n }, named(""))
    const { budget } = yield* tape.admitBudget({ runId })
    assert.equal(budget?.tokensSpent, 3n)
  }),

  scenario("RUL-REQUEST-RACE", "P0", "16 racing repeats on connections of their own are one charge", function* (w) {
    const { asIs } = yield* Probe
    const tapes = yield* Effect.all(Array.from({ length: 16 }, () => asIs))
    const runId = yield* w.run("a")
    const id = named()
    const outcomes = yield* Effect.forEach(
      tapes,
      (tape) => Effect.either(tape.chargeBudget({ runId, usd: 1, tokens: 7n }, id)),
      { concurrency: "unbounded" }
    )
    for (const outcome of outcomes) assert.equal(Either.getOrThrow(outcome).tokensSpent, 7n)
    yield* eventually(
      "the charge is seen",
      w.tape.admitBudget({ runId }),
      ({ budget }) => budget?.tokensSpent === 7n && budget.usdSpent === 1
    )
  })
]
