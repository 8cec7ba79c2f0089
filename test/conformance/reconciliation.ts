/** Section E: ambiguity, observed rather than repeated. */
import * as assert from "node:assert/strict"
import {
  EffectDispatchMode,
  EffectResolution,
  EffectSemantics,
  EffectStatus,
  ObligationStatus
} from "effect-tape/proto"
import { eventually, refused } from "./Expect.js"
import { type Scenario, scenario } from "./Scenario.js"

const { CONFIRMED, FAILED, PENDING, UNKNOWN } = EffectStatus
const { ABSENT, DUPLICATE, STUCK } = EffectResolution
const idempotent = { semantics: EffectSemantics.IDEMPOTENT }

export const reconciliation: ReadonlyArray<Scenario> = [
  scenario("REC-01", "P0", "what is open can be listed by state and age", function* (w) {
    const [first, second] = [yield* w.run("1"), yield* w.run("2")]
    const { idempotencyKey: pending } = yield* w.effect(first, 0, "t", 0)
    const unknown = yield* w.lost(second, "k")
    const open = function* (flags: {
      readonly includePending?: boolean
      readonly includeUnknown?: boolean
      readonly olderThanMs?: bigint
    }) {
      const { effects } = yield* w.tape.listPendingEffects({ limit: 10_000n, ...flags })
      return effects
        .flatMap((row) => (row.runId === first || row.runId === second ? [row.idempotencyKey] : []))
        .toSorted()
    }
    const both = [pending, unknown].toSorted()
    const { tsMs } = yield* w.getEffect(first, pending)
    assert.deepEqual(yield* open({}), both)
    assert.deepEqual(yield* open({ includeUnknown: true }), [unknown])
    assert.deepEqual(yield* open({ includePending: true }), [pending])
    assert.deepEqual(yield* open({ includePending: true, includeUnknown: true }), both)
    assert.deepEqual(yield* open({ includePending: true, olderThanMs: tsMs }), [])
    assert.deepEqual(yield* open({ includePending: true, olderThanMs: tsMs + 1n }), [pending])
    assert.deepEqual(yield* open({ olderThanMs: 1n }), [unknown], "an age is asked of PENDING only")
  }),

  scenario("REC-02", "P0", "an observed confirmation settles UNKNOWN", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k")
    yield* w.observe(runId, key, EffectResolution.CONFIRMED, { externalRef: "w1", responseJson: '{"ok": 1}' })
    const row = yield* w.getEffect(runId, key)
    assert.deepEqual([row.status, row.externalRef, row.responseJson], [CONFIRMED, "w1", '{"ok": 1}'])
    assert.deepEqual([row.dispatchAttempts, row.lastDispatchError], [1, "ack lost"])
  }),

  scenario("REC-03", "P0", "an absent IDEMPOTENT effect is due again, once", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k", idempotent)
    yield* w.observe(runId, key, ABSENT)
    const row = yield* w.getEffect(runId, key)
    assert.equal(row.status, PENDING)
    assert.ok(row.nextDispatchAtMs > 0n && row.nextDispatchAtMs <= (yield* w.now))
    const listed = yield* w.dispatchable()
    assert.deepEqual(
      listed.map((row) => row.idempotencyKey),
      [key]
    )
  }),

  scenario("REC-04", "P0", "an absent NON_IDEMPOTENT effect has failed, and is never sent again", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k")
    assert.equal((yield* w.observe(runId, key, ABSENT)).status, FAILED)
    assert.deepEqual(yield* w.dispatchable((yield* w.now) + 3_600_000n), [])
    assert.equal((yield* w.claim(runId, key, "B")).acquired, false)
  }),

  scenario("REC-05", "P1", "an observed failure keeps its error", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k")
    const row = yield* w.observe(runId, key, EffectResolution.FAILED, { errorJson: '{"e":"no funds"}' })
    assert.deepEqual([row.status, row.errorJson], [FAILED, '{"e":"no funds"}'])
  }),

  scenario("REC-06", "P0", "a duplicate confirms, and owes the named compensation once", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k")
    const { answer, entries } = yield* w.journaledBy(
      runId,
      w.observe(runId, key, DUPLICATE, { externalRef: "wire-extra", compensateOnDuplicateKind: "reverse_wire" })
    )
    assert.deepEqual([answer.status, answer.externalRef], [CONFIRMED, "wire-extra"])
    const [owed, ...others] = yield* w.obligations(runId, { onlyUnresolved: true })
    assert.deepEqual(others, [])
    assert.deepEqual(
      [owed?.kind, owed?.effectKey, owed?.status, owed?.maxAttempts, owed?.compensatorRef],
      ["reverse_wire", key, ObligationStatus.PENDING, 5, ""]
    )
    assert.deepEqual(JSON.parse(owed?.payloadJson ?? ""), {
      external_ref: "wire-extra",
      idempotency_key: key,
      reason: "duplicate-observed"
    })
    assert.deepEqual(
      entries.map((entry) => entry.subject),
      [`/tape/effect/confirmed/wire_money/${runId}`, `/tape/obligation/registered/reverse_wire/${runId}`]
    )
  }),

  scenario("REC-08", "P1", "a duplicate without a kind owes nothing", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k")
    assert.equal((yield* w.observe(runId, key, DUPLICATE)).status, CONFIRMED)
    assert.deepEqual(yield* w.obligations(runId), [])
  }),

  scenario("REC-10", "P0", "a late observation does not move a settled row", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k")
    const settled = yield* w.observe(runId, key, EffectResolution.CONFIRMED, { externalRef: "w1" })
    for (const resolution of [ABSENT, EffectResolution.FAILED, EffectResolution.CONFIRMED, STUCK, DUPLICATE]) {
      const late = yield* w.journaledBy(runId, w.observe(runId, key, resolution, { externalRef: "w2" }))
      assert.deepEqual(late.answer, settled)
      assert.deepEqual(late.entries, [])
    }
    assert.deepEqual(yield* w.getEffect(runId, key), settled)
  }),

  scenario("REC-11", "P0", "ReconcileEffect settles PENDING and UNKNOWN, and the begin short-circuits", function* (w) {
    const runId = yield* w.run("a")
    for (const [nth, lost] of [false, true].entries()) {
      for (const status of [CONFIRMED, FAILED]) {
        const tool = `t${status}`
        const { idempotencyKey } = yield* w.effect(runId, 0, tool, nth)
        if (lost) yield* w.complete(runId, idempotencyKey, UNKNOWN)
        yield* w.tape.reconcileEffect({
          runId,
          idempotencyKey,
          resolvedStatus: status,
          responseJson: status === CONFIRMED ? '{"w":1}' : "",
          errorJson: status === CONFIRMED ? "" : '{"e":1}'
        })
        const again = yield* w.effect(runId, 0, tool, nth)
        assert.deepEqual(
          [again.status, again.responseJson, again.errorJson],
          status === CONFIRMED ? [CONFIRMED, '{"w":1}', ""] : [FAILED, "", '{"e":1}']
        )
      }
    }
  }),

  scenario("REC-13", "P1", "an observation needs no lease", function* (w) {
    const runId = yield* w.run("a", { leaseTtlMs: 1n })
    const key = yield* w.lost(runId, "k")
    yield* eventually("the lease expires", w.recoverableIds(), (ids) => ids.includes(runId))
    assert.equal((yield* w.observe(runId, key, EffectResolution.CONFIRMED)).status, CONFIRMED)
  }),

  scenario("RUL-REC-1", "P0", "ABSENT by semantics; STUCK stays UNKNOWN", function* (w) {
    const runId = yield* w.run("a")
    const table = [
      [EffectSemantics.IDEMPOTENT, PENDING],
      [EffectSemantics.NON_IDEMPOTENT, FAILED],
      [EffectSemantics.OBSERVE_ONLY, FAILED]
    ] as const
    for (const [semantics, expected] of table) {
      const absent = yield* w.lost(runId, `a${semantics}`, { semantics, callIndex: semantics })
      assert.equal((yield* w.observe(runId, absent, ABSENT)).status, expected)
      const stuck = yield* w.lost(runId, `s${semantics}`, { semantics, callIndex: 10 + semantics })
      assert.equal((yield* w.observe(runId, stuck, STUCK)).status, UNKNOWN)
    }
    const inline = yield* w.effect(runId, 1, "t", 0)
    yield* w.complete(runId, inline.idempotencyKey, UNKNOWN)
    assert.equal((yield* w.observe(runId, inline.idempotencyKey, ABSENT)).status, PENDING)
  }),

  scenario("RUL-REC-2", "P0", "resolutions 1–5 are all there is", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k")
    const before = yield* w.getEffect(runId, key)
    for (const resolution of [0, 6, -1])
      yield* refused(w.observe(runId, key, resolution), "InvalidRequest", "resolution")
    assert.deepEqual(yield* w.getEffect(runId, key), before)
  }),

  scenario(
    "RUL-REC-3",
    "P0",
    "DUPLICATE with a kind on a CONFIRMED row owes it once and moves nothing else",
    function* (w) {
      const runId = yield* w.run("a")
      const { idempotencyKey } = yield* w.out(runId, "k")
      const settled = yield* w.observe(runId, idempotencyKey, EffectResolution.CONFIRMED, { externalRef: "w1" })
      const duplicate = w.observe(runId, idempotencyKey, DUPLICATE, {
        externalRef: "w2",
        compensateOnDuplicateKind: "reverse_wire"
      })
      const first = yield* w.journaledBy(runId, duplicate)
      assert.deepEqual(first.answer, settled)
      assert.deepEqual(
        first.entries.map((entry) => entry.subject),
        [`/tape/obligation/registered/reverse_wire/${runId}`]
      )
      const second = yield* w.journaledBy(runId, duplicate)
      assert.deepEqual([second.answer, second.entries], [settled, []])
      assert.equal((yield* w.obligations(runId)).length, 1)
    }
  ),

  scenario("RUL-REC-4", "P1", "DUPLICATE with a kind on a FAILED row changes nothing", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.out(runId, "k")
    const settled = yield* w.complete(runId, idempotencyKey, FAILED)
    const late = yield* w.journaledBy(
      runId,
      w.observe(runId, idempotencyKey, DUPLICATE, { compensateOnDuplicateKind: "reverse_wire" })
    )
    assert.deepEqual([late.answer, late.entries], [settled, []])
    assert.deepEqual(yield* w.obligations(runId), [])
  }),

  scenario(
    "RUL-REC-5",
    "P0",
    "an observation's verb is the resulting status, its payload says observed",
    function* (w) {
      const runId = yield* w.run("a")
      const table = [
        [EffectResolution.CONFIRMED, "confirmed", "confirmed"],
        [EffectResolution.FAILED, "failed", "failed"],
        [ABSENT, "pending", "absent"],
        [DUPLICATE, "confirmed", "duplicate"],
        [STUCK, "unknown", "stuck"]
      ] as const
      for (const [resolution, verb, word] of table) {
        const key = yield* w.lost(runId, word, { ...idempotent, callIndex: resolution })
        const { entries } = yield* w.journaledBy(runId, w.observe(runId, key, resolution, { externalRef: "x" }))
        assert.deepEqual(
          entries.map(({ kind, payload, subject }) => ({ kind, payload, subject })),
          [
            {
              kind: "effect",
              payload: {
                external_ref: "x",
                idempotency_key: key,
                status: "observed",
                tool: "wire_money",
                transition: `observed-${word}`
              },
              subject: `/tape/effect/${verb}/wire_money/${runId}`
            }
          ]
        )
      }
    }
  ),

  scenario("RUL-REC-6", "P0", "ReconcileEffect journals twice: reconciled, then what became of it", function* (w) {
    const runId = yield* w.run("a")
    for (const [status, verb] of [
      [CONFIRMED, "confirmed"],
      [FAILED, "failed"]
    ] as const) {
      const { idempotencyKey } = yield* w.effect(runId, 0, "t", status)
      const reconcile = w.tape.reconcileEffect({ runId, idempotencyKey, resolvedStatus: status })
      const { answer, entries } = yield* w.journaledBy(runId, reconcile)
      assert.deepEqual(
        entries.map(({ payload, subject }) => ({ payload, subject })),
        [
          {
            payload: { idempotency_key: idempotencyKey, resolved_to: status, status: "reconciled", tool: "t" },
            subject: `/tape/effect/reconciled/t/${runId}`
          },
          {
            payload: { idempotency_key: idempotencyKey, status: verb, tool: "t" },
            subject: `/tape/effect/${verb}/t/${runId}`
          }
        ]
      )
      const again = yield* w.journaledBy(
        runId,
        w.tape.reconcileEffect({ runId, idempotencyKey, resolvedStatus: status === CONFIRMED ? FAILED : CONFIRMED })
      )
      assert.deepEqual([again.answer, again.entries], [answer, []])
    }
  }),

  scenario("RUL-REC-8", "P1", "open effects are listed oldest first", function* (w) {
    const runId = yield* w.run("a")
    for (let n = 0; n < 3; n++) {
      const { idempotencyKey } = yield* w.effect(runId, n, "t", 0)
      const { tsMs } = yield* w.getEffect(runId, idempotencyKey)
      yield* eventually("the clock goes on", w.now, (now) => now > tsMs)
    }
    const { effects } = yield* w.tape.listPendingEffects({ limit: 10_000n })
    assert.deepEqual(
      effects.flatMap((row) => (row.runId === runId ? [row.decisionIndex] : [])),
      [0n, 1n, 2n]
    )
    const times = effects.map((row) => row.tsMs)
    assert.deepEqual(
      times,
      times.toSorted((a, b) => Number(a - b))
    )
  }),

  scenario("RUL-REC-7", "P1", "of 16 racing observers one journals, all see one outcome", function* (w) {
    const runId = yield* w.run("a")
    const key = yield* w.lost(runId, "k", { dispatchMode: EffectDispatchMode.OUTBOX })
    const before = yield* w.getRun(runId)
    const outcomes = yield* w.race(16, (n) =>
      w.observe(runId, key, n % 2 === 0 ? EffectResolution.CONFIRMED : EffectResolution.FAILED, { externalRef: `${n}` })
    )
    const stored = yield* w.getEffect(runId, key)
    for (const outcome of outcomes) assert.deepEqual(outcome._tag === "Right" ? outcome.right : outcome.left, stored)
    assert.equal((yield* w.getRun(runId)).seqCursor, before.seqCursor + 1n)
  })
]
