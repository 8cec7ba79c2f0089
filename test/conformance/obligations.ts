/** Section F: obligations and their claims. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { ObligationStatus } from "effect-tape/proto"
import { eventually } from "./Expect.js"
import type { World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

const { COMMITTED, COMPENSATED, PENDING, STUCK } = ObligationStatus

/** The cross-run feed, of this scenario's runs. */
export const feed = (
  w: World,
  runIds: ReadonlyArray<string>,
  flags: {
    readonly nowMs?: bigint
    readonly includePending?: boolean
    readonly includeStuck?: boolean
    readonly includeCommittedExpired?: boolean
  } = {}
) =>
  Effect.map(w.tape.listUnresolvedObligations({ limit: 10_000, ...flags }), ({ obligations }) =>
    obligations.filter((row) => runIds.includes(row.runId))
  )

export const obligations: ReadonlyArray<Scenario> = [
  scenario("OBL-01", "P0", "a registered obligation is PENDING, due at once, with five attempts", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0)
    yield* w.confirm(runId, idempotencyKey)
    const before = yield* w.now
    const row = yield* w.register(runId, idempotencyKey, "reverse_wire", {
      compensatorRef: "ref",
      payloadJson: '{"p": 1}'
    })
    assert.deepEqual(
      [row.status, row.maxAttempts, row.attempts, row.claimedBy, row.compensatorRef, row.payloadJson],
      [PENDING, 5, 0, "", "ref", '{"p": 1}']
    )
    assert.ok(row.nextAttemptAtMs >= before && row.nextAttemptAtMs <= (yield* w.now))
    const two = yield* w.register(runId, idempotencyKey, "other", { maxAttempts: 2 })
    assert.equal(two.maxAttempts, 2)
    assert.equal((yield* w.register(runId, idempotencyKey, "third", { maxAttempts: -1 })).maxAttempts, 5)
  }),

  scenario("OBL-02", "P0", "one row per run, effect and kind; the first payload stands", function* (w) {
    const runId = yield* w.run("a")
    const first = yield* w.register(runId, "k", "undo", { payloadJson: '{"n":1}' })
    const again = yield* w.journaledBy(
      runId,
      w.register(runId, "k", "undo", { payloadJson: '{"n":2}', maxAttempts: 9 })
    )
    assert.deepEqual([again.answer, again.entries], [first, []])
    assert.notEqual((yield* w.register(runId, "k", "other")).seq, first.seq)
    assert.equal((yield* w.obligations(runId)).length, 2)
  }),

  scenario("OBL-03", "P0", "a run's obligations are listed newest first", function* (w) {
    const runId = yield* w.run("a")
    for (const kind of ["o1", "o2", "o3"]) yield* w.register(runId, "k", kind)
    assert.deepEqual(
      (yield* w.obligations(runId)).map((row) => row.kind),
      ["o3", "o2", "o1"]
    )
  }),

  scenario("OBL-04", "P0", "a claim commits the obligation to its claimer", function* (w) {
    const runId = yield* w.run("a")
    const { seq } = yield* w.register(runId, "k", "undo")
    const claimed = yield* w.claimObligation(runId, seq, "A", 30_000n)
    assert.deepEqual(
      [claimed.acquired, claimed.obligation?.status, claimed.obligation?.claimedBy],
      [true, COMMITTED, "A"]
    )
    assert.ok((claimed.obligation?.claimExpiresAtMs ?? 0n) > (yield* w.now))
    assert.equal((yield* w.claimObligation(runId, seq, "A")).acquired, false)
  }),

  scenario("OBL-05", "P0", "of 8 racing claimers one wins and the others see its name", function* (w) {
    const runId = yield* w.run("a")
    const { seq } = yield* w.register(runId, "k", "undo")
    const outcomes = yield* w.race(8, (n) => w.claimObligation(runId, seq, `c${n}`))
    const answers = outcomes.map((outcome) =>
      outcome._tag === "Right" ? outcome.right : assert.fail(outcome.left.message)
    )
    const winners = answers.flatMap((answer, n) => (answer.acquired ? [`c${n}`] : []))
    assert.equal(winners.length, 1)
    for (const answer of answers) assert.equal(answer.obligation?.claimedBy, winners[0])
  }),

  scenario("OBL-06", "P0", "failed attempts wait their turn, and the last one is STUCK", function* (w) {
    const runId = yield* w.run("a")
    const { seq } = yield* w.register(runId, "k", "undo", { maxAttempts: 2 })
    yield* w.claimObligation(runId, seq, "A")
    const due = (yield* w.now) + 200n
    const row = yield* w.attemptObligation(runId, seq, "network timeout", due)
    assert.deepEqual(
      [row.status, row.attempts, row.lastError, row.claimedBy, row.nextAttemptAtMs],
      [PENDING, 1, "network timeout", "", due]
    )
    assert.equal((yield* w.claimObligation(runId, seq, "A")).acquired, false)
    yield* eventually("it is due", w.claimObligation(runId, seq, "B"), (answer) => answer.acquired)
    assert.ok((yield* w.now) >= due)
    const stuck = yield* w.attemptObligation(runId, seq, "again", (yield* w.now) + 200n)
    assert.deepEqual(
      [stuck.status, stuck.attempts, stuck.lastError, stuck.nextAttemptAtMs, stuck.claimedBy],
      [STUCK, 2, "again", 0n, ""]
    )
  }),

  scenario("OBL-07", "P0", "an attempt without a next one is STUCK at once", function* (w) {
    const runId = yield* w.run("a")
    const { seq } = yield* w.register(runId, "k", "undo", { maxAttempts: 10 })
    yield* w.claimObligation(runId, seq, "A")
    const row = yield* w.attemptObligation(runId, seq, "no", 0n)
    assert.deepEqual([row.status, row.attempts], [STUCK, 1])
    assert.equal((yield* w.claimObligation(runId, seq, "A")).acquired, false)
  }),

  scenario("OBL-09", "P0", "obligations are listed by status, and over runs by what is due", function* (w) {
    const [a, b] = [yield* w.run("a"), yield* w.run("b")]
    yield* w.register(a, "k", "undo")
    const held = yield* w.register(b, "k", "undo")
    yield* w.claimObligation(b, held.seq, "A", 60_000n)
    const ids = (rows: ReadonlyArray<{ readonly runId: string }>) => rows.map((row) => row.runId).toSorted()
    assert.deepEqual(ids(yield* w.obligations(a, { statusFilter: PENDING })), [a])
    assert.deepEqual(ids(yield* w.obligations(b, { statusFilter: PENDING })), [])
    assert.deepEqual(ids(yield* w.obligations(b, { statusFilter: COMMITTED })), [b])
    assert.deepEqual(ids(yield* feed(w, [a, b])), [a])
    const later = (yield* w.now) + 300_000n
    assert.deepEqual(ids(yield* feed(w, [a, b], { nowMs: later })), [a, b].toSorted())
    assert.deepEqual(ids(yield* feed(w, [a, b], { includeStuck: true })), [])
    yield* w.attemptObligation(b, held.seq, "no", 0n)
    assert.deepEqual(ids(yield* feed(w, [a, b], { includeStuck: true })), [b])
  }),

  scenario("OBL-10", "P0", "a resolved obligation is out of every feed and cannot be claimed", function* (w) {
    const runId = yield* w.run("a")
    for (const status of [COMPENSATED, STUCK]) {
      const { seq } = yield* w.register(runId, "k", `undo-${status}`)
      yield* w.claimObligation(runId, seq, "A")
      const row = yield* w.resolve(runId, seq, status, '{"done": 1}')
      assert.deepEqual(
        [row.status, row.claimedBy, row.claimExpiresAtMs, row.resultJson],
        [status, "", 0n, '{"done": 1}']
      )
      assert.equal((yield* w.claimObligation(runId, seq, "B")).acquired, false)
    }
    assert.deepEqual(yield* w.obligations(runId, { onlyUnresolved: true }), [])
    assert.deepEqual(yield* feed(w, [runId], { nowMs: (yield* w.now) + 300_000n }), [])
  })
]
