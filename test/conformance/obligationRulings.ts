/** Rulings on obligations: what is settled stays, the flags of the feed, entries. */
import * as assert from "node:assert/strict"
import { ObligationStatus, RunStatus } from "effect-tape/proto"
import { eventually, refused } from "./Expect.js"
import { feed } from "./obligations.js"
import { type Scenario, scenario } from "./Scenario.js"

const { COMMITTED, COMPENSATED, PENDING, STUCK } = ObligationStatus

export const obligationRulings: ReadonlyArray<Scenario> = [
  scenario("RUL-OBL-1", "P0", "COMPENSATED never moves", function* (w) {
    const runId = yield* w.run("a")
    const { seq } = yield* w.register(runId, "k", "undo")
    const settled = yield* w.resolve(runId, seq, COMPENSATED, '{"by":1}')
    const later = (yield* w.now) + 60_000n
    for (const late of [
      w.resolve(runId, seq, COMPENSATED, '{"by":2}'),
      w.resolve(runId, seq, STUCK, '{"by":2}'),
      w.attemptObligation(runId, seq, "late", later),
      w.attemptObligation(runId, seq, "late", 0n)
    ]) {
      const { answer, entries } = yield* w.journaledBy(runId, late)
      assert.deepEqual([answer, entries], [settled, []])
    }
    assert.equal((yield* w.claimObligation(runId, seq, "A")).acquired, false)
    assert.deepEqual(yield* w.obligations(runId), [settled])
  }),

  scenario("RUL-OBL-2", "P0", "STUCK moves only to COMPENSATED", function* (w) {
    const runId = yield* w.run("a")
    const { seq } = yield* w.register(runId, "k", "undo")
    const stuck = yield* w.resolve(runId, seq, STUCK, '{"by":1}')
    const later = (yield* w.now) + 60_000n
    for (const late of [
      w.resolve(runId, seq, STUCK, '{"by":2}'),
      w.attemptObligation(runId, seq, "late", later),
      w.attemptObligation(runId, seq, "late", 0n)
    ]) {
      const { answer, entries } = yield* w.journaledBy(runId, late)
      assert.deepEqual([answer, entries], [stuck, []])
    }
    const repaired = yield* w.journaledBy(runId, w.resolve(runId, seq, COMPENSATED, '{"by":"human"}'))
    assert.deepEqual([repaired.answer.status, repaired.answer.resultJson], [COMPENSATED, '{"by":"human"}'])
    assert.equal(repaired.entries.length, 1)
  }),

  scenario("RUL-OBL-3", "P0", "ResolveObligation takes COMPENSATED and STUCK, claims need a name", function* (w) {
    const runId = yield* w.run("a")
    const row = yield* w.register(runId, "k", "undo")
    for (const status of [0, PENDING, COMMITTED, 5]) {
      yield* refused(w.resolve(runId, row.seq, status), "InvalidRequest", "status")
    }
    yield* refused(w.claimObligation(runId, row.seq, ""), "InvalidRequest", "claimer")
    assert.deepEqual(yield* w.obligations(runId), [row])
  }),

  scenario("RUL-OBL-4", "P0", "calls on an obligation that does not exist", function* (w) {
    const runId = yield* w.run("a")
    yield* refused(w.resolve(runId, 99n, COMPENSATED), "NotFound", "obligation")
    yield* refused(w.attemptObligation(runId, 99n, "e", 0n), "NotFound", "obligation")
    const claimed = yield* w.claimObligation(runId, 99n, "A")
    assert.deepEqual([claimed.acquired, claimed.obligation], [false, undefined])
    assert.deepEqual(yield* w.obligations(`no-such-run-${w.id}`), [])
  }),

  scenario(
    "RUL-OBL-5",
    "P0",
    "an expired claim goes to the next claimer; the lease defaults to a minute",
    function* (w) {
      const runId = yield* w.run("a")
      const { seq } = yield* w.register(runId, "k", "undo")
      const a = yield* w.claimObligation(runId, seq, "A", 1n)
      assert.equal(a.acquired, true)
      const before = yield* w.now
      const b = yield* eventually("B gets it", w.claimObligation(runId, seq, "B", 0n), (answer) => answer.acquired)
      assert.deepEqual([b.obligation?.status, b.obligation?.claimedBy], [COMMITTED, "B"])
      assert.equal(b.obligation?.attempts, 0)
      const expires = b.obligation?.claimExpiresAtMs ?? 0n
      assert.ok(expires >= before + 59_000n && expires <= before + 70_000n)
    }
  ),

  scenario("RUL-OBL-6", "P0", "the flags of the cross-run feed", function* (w) {
    const runId = yield* w.run("a")
    const pending = yield* w.register(runId, "k", "pending")
    const held = yield* w.register(runId, "k", "held")
    const { obligation } = yield* w.claimObligation(runId, held.seq, "A", 60_000n)
    const stuck = yield* w.register(runId, "k", "stuck")
    yield* w.attemptObligation(runId, stuck.seq, "no", 0n)
    const later = yield* w.register(runId, "k", "later", { maxAttempts: 9 })
    const expires = obligation?.claimExpiresAtMs ?? 0n
    yield* w.attemptObligation(runId, later.seq, "e", expires + 1n)
    const kinds = function* (nowMs: bigint, pending: boolean, stuck: boolean, expired: boolean) {
      const rows = yield* feed(w, [runId], {
        nowMs,
        includePending: pending,
        includeStuck: stuck,
        includeCommittedExpired: expired
      })
      return rows.map((row) => row.kind)
    }
    assert.equal(pending.status, PENDING)
    assert.deepEqual(yield* kinds(expires - 1n, false, false, false), ["pending"])
    assert.deepEqual((yield* kinds(expires, false, false, false)).toSorted(), ["held", "pending"])
    assert.deepEqual((yield* kinds(expires, true, false, false)).toSorted(), ["held", "pending"])
    assert.deepEqual((yield* kinds(expires, true, false, true)).toSorted(), ["held", "pending"])
    assert.deepEqual(yield* kinds(expires, false, true, false), ["stuck"])
    assert.deepEqual(yield* kinds(expires, false, false, true), ["held"])
    assert.deepEqual((yield* kinds(expires, false, true, true)).toSorted(), ["held", "stuck"])
    const all = yield* kinds(expires + 1n, true, true, true)
    assert.deepEqual(all.toSorted(), ["held", "later", "pending", "stuck"])
    assert.deepEqual([all[0], all[3]], ["stuck", "later"], "in the order they are due; STUCK has no due time")
  }),

  scenario("RUL-OBL-7", "P0", "entries of an obligation: keys, verbs, subjects", function* (w) {
    const runId = yield* w.run("a")
    const registered = yield* w.journaledBy(runId, w.register(runId, "k", "un/do"))
    const { seq } = registered.answer
    const claimed = yield* w.journaledBy(runId, w.claimObligation(runId, seq, "A"))
    const next = (yield* w.now) - 1n
    const retried = yield* w.journaledBy(runId, w.attemptObligation(runId, seq, "e", next))
    yield* w.claimObligation(runId, seq, "A")
    const resolved = yield* w.journaledBy(runId, w.resolve(runId, seq, COMPENSATED))
    const other = yield* w.register(runId, "k", "un/do 2")
    const stuck = yield* w.journaledBy(runId, w.attemptObligation(runId, other.seq, "e", 0n))
    const common = { effect_key: "k", kind: "un/do" }
    const numbered = { ...common, obligation_seq: Number(seq) }
    assert.equal(registered.entries[0]?.seq, seq)
    assert.deepEqual(
      [registered, claimed, retried, resolved, stuck].flatMap(({ entries }) =>
        entries.map(({ kind, payload, subject }) => ({ kind, payload, subject }))
      ),
      [
        {
          kind: "obligation",
          payload: { ...common, status: "pending", transition: "registered" },
          subject: `/tape/obligation/registered/un%2Fdo/${runId}`
        },
        {
          kind: "obligation",
          payload: { ...numbered, claimer: "A", status: "committed", transition: "claimed" },
          subject: `/tape/obligation/committed/un%2Fdo/${runId}`
        },
        {
          kind: "obligation",
          payload: {
            ...numbered,
            attempts: 1,
            error: "e",
            next_attempt_at_ms: Number(next),
            status: "pending",
            transition: "retry-scheduled"
          },
          subject: `/tape/obligation/pending/un%2Fdo/${runId}`
        },
        {
          kind: "obligation",
          payload: { ...numbered, status: "compensated", transition: "resolved" },
          subject: `/tape/obligation/compensated/un%2Fdo/${runId}`
        },
        {
          kind: "obligation",
          payload: {
            attempts: 1,
            effect_key: "k",
            error: "e",
            kind: "un/do 2",
            next_attempt_at_ms: 0,
            obligation_seq: Number(other.seq),
            status: "stuck",
            transition: "stuck"
          },
          subject: `/tape/obligation/stuck/un%2Fdo%202/${runId}`
        }
      ]
    )
  }),

  scenario("RUL-OBL-8", "P0", "of 16 racing registrations one row comes out, and everyone gets it", function* (w) {
    const runId = yield* w.run("a")
    const outcomes = yield* w.race(16, (n) => w.register(runId, "k", "undo", { payloadJson: `{"n":${n}}` }))
    const rows = outcomes.map((outcome) =>
      outcome._tag === "Right" ? outcome.right : assert.fail(outcome.left.message)
    )
    for (const row of rows) assert.deepEqual(row, rows[0])
    assert.equal((yield* w.getRun(runId)).seqCursor, 2n)
  }),

  scenario("RUL-OBL-9", "P0", "obligations live on after the run has ended", function* (w) {
    for (const status of [RunStatus.TERMINAL, RunStatus.STUCK, RunStatus.CANCELLED, RunStatus.COMPENSATING]) {
      const runId = yield* w.run(`ended-${status}`)
      const { seq } = yield* w.register(runId, "k", "undo")
      yield* w.endRun(runId, status)
      assert.equal((yield* w.claimObligation(runId, seq, "A")).acquired, true)
      assert.equal((yield* w.resolve(runId, seq, COMPENSATED)).status, COMPENSATED)
      assert.equal((yield* w.register(runId, "k", "late")).status, PENDING)
    }
  }),

  scenario(
    "RUL-OBL-10",
    "P1",
    "a status filter beats only_unresolved; a claim is not needed to resolve",
    function* (w) {
      const runId = yield* w.run("a")
      const { seq } = yield* w.register(runId, "k", "undo")
      yield* w.resolve(runId, seq, COMPENSATED)
      const rows = yield* w.obligations(runId, { onlyUnresolved: true, statusFilter: COMPENSATED })
      assert.deepEqual(
        rows.map((row) => row.seq),
        [seq]
      )
    }
  ),

  scenario("RUL-OBL-11", "P1", "a COMPENSATING run is driven to its end: leased, undone, ended", function* (w) {
    const runId = yield* w.run("a")
    const { seq } = yield* w.register(runId, "k", "undo")
    yield* w.endRun(runId, RunStatus.COMPENSATING)
    assert.equal((yield* w.resume(runId, "drainer")).status, RunStatus.COMPENSATING)
    yield* w.claimObligation(runId, seq, "drainer")
    yield* w.resolve(runId, seq, COMPENSATED)
    assert.equal((yield* w.getRun(runId)).status, RunStatus.COMPENSATING)
    const ended = yield* w.endRun(runId, RunStatus.FAILED)
    assert.deepEqual([ended.status, ended.leaseOwner], [RunStatus.FAILED, ""])
    assert.equal((yield* w.beginRun("a")).status, RunStatus.FAILED, "what was undone is not begun again")
    const again = yield* w.endRun(runId, RunStatus.COMPENSATING)
    assert.equal(again.status, RunStatus.COMPENSATING)
  })
]
