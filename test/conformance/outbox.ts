/** Section D: the outbox, its claims and its attempts. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { EffectDispatchMode, EffectResolution, EffectSemantics, EffectStatus } from "effect-tape/proto"
import { eventually, refused } from "./Expect.js"
import { Probe, type Scenario, scenario } from "./Scenario.js"

const { CONFIRMED, FAILED, PENDING, UNKNOWN } = EffectStatus

export const outbox: ReadonlyArray<Scenario> = [
  scenario("OUT-01", "P0", "a begun outbox effect is listed for its connector", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.out(runId, "k1")
    const keys = (connector: string) =>
      Effect.map(w.tape.listEffectsToDispatch({ connector, limit: 10_000n }), ({ effects }) =>
        effects.filter((effect) => effect.runId === runId).map((effect) => effect.idempotencyKey)
      )
    assert.deepEqual(yield* keys(w.bank), [idempotencyKey])
    assert.deepEqual(yield* keys(`other-${w.id}`), [])
    assert.deepEqual(yield* keys(""), [idempotencyKey])
  }),

  scenario("OUT-02", "P0", "the second claimer sees the first", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.out(runId, "k")
    const before = yield* w.now
    const a = yield* w.claim(runId, idempotencyKey, "A")
    const after = yield* w.now
    assert.deepEqual([a.acquired, a.effect?.dispatchClaimedBy], [true, "A"])
    const expires = a.effect?.dispatchClaimExpiresAtMs ?? 0n
    assert.ok(expires >= before + 59_000n && expires <= after + 61_000n)
    const b = yield* w.claim(runId, idempotencyKey, "B")
    assert.deepEqual([b.acquired, b.effect?.dispatchClaimedBy], [false, "A"])
  }),

  scenario("OUT-03", "P0", "of 32 claimers on connections of their own one wins, in each of 50 rounds", function* (w) {
    const { connect } = yield* Probe
    const clients = yield* Effect.all(Array.from({ length: 32 }, () => connect))
    const runId = yield* w.run("a")
    for (let round = 0; round < 50; round++) {
      const { idempotencyKey } = yield* w.out(runId, `k${round}`, { callIndex: round })
      const answers = yield* Effect.all(
        clients.map((client, n) =>
          client.claimEffectDispatch({ runId, idempotencyKey, claimer: `c${n}`, leaseTtlMs: 60_000n })
        ),
        { concurrency: "unbounded" }
      )
      const winners = answers.flatMap((answer, n) => (answer.acquired ? [`c${n}`] : []))
      assert.equal(winners.length, 1)
      for (const answer of answers) assert.equal(answer.effect?.dispatchClaimedBy, winners[0])
    }
  }),

  scenario("OUT-04", "P0", "a silent claimer's lease runs out", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.out(runId, "k")
    assert.equal((yield* w.claim(runId, idempotencyKey, "A", 1n)).acquired, true)
    const b = yield* eventually("B gets the claim", w.claim(runId, idempotencyKey, "B"), (answer) => answer.acquired)
    assert.equal(b.effect?.dispatchClaimedBy, "B")
  }),

  scenario("OUT-06", "P0", "a lost acknowledgement is UNKNOWN and is never handed out again", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k")
    const row = yield* w.getEffect(runId, key)
    assert.deepEqual(
      [row.status, row.dispatchAttempts, row.lastDispatchError, row.dispatchClaimedBy, row.nextDispatchAtMs],
      [UNKNOWN, 1, "ack lost", "", 0n]
    )
    for (const nowMs of [0n, 1n, (yield* w.now) + 3_600_000n]) assert.deepEqual(yield* w.dispatchable(nowMs), [])
    assert.equal((yield* w.claim(runId, key, "B")).acquired, false)
  }),

  scenario("OUT-07", "P0", "a retry is due exactly when it was set", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.out(runId, "k")
    yield* w.claim(runId, idempotencyKey, "A")
    const next = (yield* w.now) + 60_000n
    const row = yield* w.attempt(runId, idempotencyKey, "busy", next)
    assert.deepEqual(
      [row.status, row.dispatchAttempts, row.nextDispatchAtMs, row.dispatchClaimedBy, row.dispatchClaimExpiresAtMs],
      [PENDING, 1, next, "", 0n]
    )
    assert.equal((yield* w.claim(runId, idempotencyKey, "B")).acquired, false)
    assert.equal((yield* w.dispatchable(next - 1n)).length, 0)
    assert.equal((yield* w.dispatchable(next)).length, 1)
    assert.equal((yield* w.dispatchable(next + 1n)).length, 1)
  }),

  scenario("RUL-OUT-1", "P0", "a claim that replaces an unreported one says whose it was", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.out(runId, "k")
    yield* w.claim(runId, idempotencyKey, "worker 7", 1n)
    const b = yield* eventually("B gets the claim", w.claim(runId, idempotencyKey, "B"), (answer) => answer.acquired)
    assert.equal(b.effect?.lastDispatchError, "claim of worker 7 expired unreported")
    assert.equal(b.effect?.dispatchAttempts, 0)
    const reported = yield* w.out(runId, "k2", { callIndex: 1 })
    yield* w.claim(runId, reported.idempotencyKey, "A")
    yield* w.attempt(runId, reported.idempotencyKey, "busy", 1n)
    const again = yield* w.claim(runId, reported.idempotencyKey, "B")
    assert.deepEqual([again.acquired, again.effect?.lastDispatchError], [true, "busy"])
  }),

  scenario(
    "RUL-OUT-2",
    "P0",
    "a claim does not touch ts_ms, journals nothing, and defaults to a minute",
    function* (w) {
      const runId = yield* w.run("a")
      const { idempotencyKey } = yield* w.out(runId, "k")
      const row = yield* w.getEffect(runId, idempotencyKey)
      const before = yield* w.now
      const { answer, entries } = yield* w.journaledBy(runId, w.claim(runId, idempotencyKey, "A", 0n))
      assert.equal(answer.effect?.tsMs, row.tsMs)
      assert.deepEqual(entries, [])
      const expires = answer.effect?.dispatchClaimExpiresAtMs ?? 0n
      assert.ok(expires >= before + 59_000n && expires <= before + 70_000n)
    }
  ),

  scenario(
    "RUL-OUT-3",
    "P0",
    "what cannot be claimed: twice by one, unknown, inline, settled; and by nobody",
    function* (w) {
      const runId = yield* w.run("a")
      const { idempotencyKey } = yield* w.out(runId, "k")
      yield* refused(w.claim(runId, idempotencyKey, ""), "InvalidRequest", "claimer")
      yield* w.claim(runId, idempotencyKey, "A")
      assert.equal((yield* w.claim(runId, idempotencyKey, "A")).acquired, false)
      const unknown = yield* w.claim(runId, "never-begun", "A")
      assert.deepEqual([unknown.acquired, unknown.effect], [false, undefined])
      const inline = yield* w.effect(runId, 1, "t", 0)
      assert.equal((yield* w.claim(runId, inline.idempotencyKey, "A")).acquired, false)
      yield* w.confirm(runId, idempotencyKey)
      assert.equal((yield* w.claim(runId, idempotencyKey, "B")).acquired, false)
    }
  ),

  scenario(
    "RUL-OUT-4",
    "P0",
    "a claim's expiry is inclusive in the list, and due rows come in due order",
    function* (w) {
      const runId = yield* w.run("a")
      const soon = (yield* w.now) + 10_000n
      for (const [nth, after] of [300n, 100n, 200n].entries()) {
        const { idempotencyKey } = yield* w.out(runId, `k${nth}`, { callIndex: nth })
        yield* w.claim(runId, idempotencyKey, "A")
        yield* w.attempt(runId, idempotencyKey, "busy", soon + after)
      }
      const listed = yield* w.dispatchable(soon + 1000n)
      assert.deepEqual(
        listed.map((row) => row.nextDispatchAtMs),
        [soon + 100n, soon + 200n, soon + 300n]
      )
      const held = yield* w.out(runId, "held", { callIndex: 9 })
      const claimed = yield* w.claim(runId, held.idempotencyKey, "A", 5_000n)
      const expires = claimed.effect?.dispatchClaimExpiresAtMs ?? 0n
      const isHeld = (rows: ReadonlyArray<{ readonly idempotencyKey: string }>) =>
        rows.some((row) => row.idempotencyKey === held.idempotencyKey)
      assert.equal(isHeld(yield* w.dispatchable(expires - 1n)), false)
      assert.equal(isHeld(yield* w.dispatchable(expires)), true)
    }
  ),

  scenario("RUL-OUT-5", "P0", "a late attempt does not move a settled row", function* (w) {
    const runId = yield* w.run("a")
    for (const [nth, status] of [CONFIRMED, FAILED].entries()) {
      const { idempotencyKey } = yield* w.out(runId, `k${nth}`, { callIndex: nth })
      const settled = yield* w.complete(runId, idempotencyKey, status, "{}")
      const late = yield* w.journaledBy(runId, w.attempt(runId, idempotencyKey, "late", 0n))
      assert.deepEqual(late.answer, settled)
      assert.deepEqual(late.entries, [])
      assert.deepEqual(yield* w.getEffect(runId, idempotencyKey), settled)
    }
  }),

  scenario("RUL-OUT-6", "P1", "reconciliation and observation clear the claim", function* (w) {
    const runId = yield* w.run("a")
    const settles = [
      (key: string) =>
        w.tape.reconcileEffect({ runId, idempotencyKey: key, resolvedStatus: CONFIRMED, responseJson: "{}" }),
      (key: string) => w.observe(runId, key, EffectResolution.CONFIRMED),
      (key: string) => w.observe(runId, key, EffectResolution.STUCK)
    ]
    for (const [nth, settle] of settles.entries()) {
      const { idempotencyKey } = yield* w.out(runId, `k${nth}`, { callIndex: nth })
      yield* w.claim(runId, idempotencyKey, "A")
      const row = yield* settle(idempotencyKey)
      assert.deepEqual([row.dispatchClaimedBy, row.dispatchClaimExpiresAtMs], ["", 0n])
    }
  }),

  scenario("RUL-OUT-7", "P0", "entries of attempts: keys, verbs, and the record keeps its seq", function* (w) {
    const runId = yield* w.run("a")
    const begun = yield* w.out(runId, "k")
    const { idempotencyKey } = begun
    yield* w.claim(runId, idempotencyKey, "A")
    const next = (yield* w.now) + 1n
    const retry = yield* w.journaledBy(runId, w.attempt(runId, idempotencyKey, "busy", next))
    const lost = yield* w.journaledBy(runId, w.attempt(runId, idempotencyKey, "gone", -5n))
    assert.equal(lost.answer.seq, begun.seq)
    assert.equal(lost.answer.nextDispatchAtMs, 0n)
    const common = { idempotency_key: idempotencyKey, tool: "wire_money" }
    assert.deepEqual(
      [...retry.entries, ...lost.entries].map(({ payload, subject }) => ({ payload, subject })),
      [
        {
          payload: {
            ...common,
            dispatch_attempts: 1,
            error: "busy",
            next_dispatch_at_ms: Number(next),
            status: "pending",
            transition: "dispatch-retry-scheduled"
          },
          subject: `/tape/effect/pending/wire_money/${runId}`
        },
        {
          payload: {
            ...common,
            dispatch_attempts: 2,
            error: "gone",
            next_dispatch_at_ms: 0,
            status: "unknown",
            transition: "dispatch-unknown"
          },
          subject: `/tape/effect/unknown/wire_money/${runId}`
        }
      ]
    )
  }),

  scenario(
    "RUL-OUT-9",
    "P1",
    "UNKNOWN is not settled: an attempt on an IDEMPOTENT one may set it a new time",
    function* (w) {
      const runId = yield* w.run("a")
      const key = yield* w.lost(runId, "k", { semantics: EffectSemantics.IDEMPOTENT })
      const again = yield* w.attempt(runId, key, "busy", 1n)
      assert.deepEqual([again.status, again.dispatchAttempts, again.nextDispatchAtMs], [PENDING, 2, 1n])
      assert.equal((yield* w.claim(runId, key, "B")).acquired, true)
    }
  ),

  scenario("RUL-OUT-8", "P1", "attempts are never capped, and past times are due at once", function* (w) {
    const runId = yield* w.run("a")
    const over = { semantics: EffectSemantics.IDEMPOTENT, dispatchMode: EffectDispatchMode.OUTBOX }
    const { idempotencyKey } = yield* w.out(runId, "k", over)
    for (let n = 1; n <= 20; n++) {
      assert.equal((yield* w.claim(runId, idempotencyKey, "A")).acquired, true)
      assert.equal((yield* w.attempt(runId, idempotencyKey, "busy", 1n)).dispatchAttempts, n)
    }
    assert.equal((yield* w.dispatchable()).length, 1)
  })
]
