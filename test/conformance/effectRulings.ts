/** Rulings on effects: defaults, accepted values, the order of checks, aliases. */
import * as assert from "node:assert/strict"
import { EffectDispatchMode, EffectSemantics, EffectStatus, RunStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { type Scenario, scenario } from "./Scenario.js"

const { CONFIRMED, FAILED, PENDING, UNKNOWN } = EffectStatus
const outbox = { semantics: EffectSemantics.IDEMPOTENT, dispatchMode: EffectDispatchMode.OUTBOX }

export const effectRulings: ReadonlyArray<Scenario> = [
  scenario(
    "RUL-EFF-1",
    "P0",
    "keys: a negative decision is no-decision, custom keys are verbatim and per run",
    function* (w) {
      const [first, second] = [yield* w.run("1"), yield* w.run("2")]
      const loose = yield* w.effect(first, -3, "tool/ü", 2)
      assert.equal(loose.idempotencyKey, `${first}/no-decision/tool/ü/2`)
      const custom = yield* w.effect(first, 0, "t", 0, { customKey: "my key/é" })
      assert.equal(custom.idempotencyKey, "my key/é")
      const other = yield* w.effect(second, 0, "t", 0, { customKey: "my key/é", requestJson: '{"two":2}' })
      yield* w.confirm(second, other.idempotencyKey)
      assert.equal((yield* w.getEffect(first, "my key/é")).status, PENDING)
    }
  ),

  scenario("RUL-EFF-2", "P0", "defaults are IDEMPOTENT and INLINE, and every field reads back", function* (w) {
    const runId = yield* w.run("a")
    const before = yield* w.now
    const inline = yield* w.effect(runId, 2, "t", 0, { requestJson: '{"x": 1}' })
    const row = yield* w.getEffect(runId, inline.idempotencyKey)
    assert.deepEqual(
      [row.runId, row.seq, row.decisionIndex, row.toolName, row.requestJson, row.semantics, row.dispatchMode],
      [runId, inline.seq, 2n, "t", '{"x": 1}', EffectSemantics.IDEMPOTENT, EffectDispatchMode.INLINE]
    )
    assert.deepEqual([row.nextDispatchAtMs, row.dispatchAttempts, row.dispatchClaimedBy], [0n, 0, ""])
    assert.ok(row.tsMs >= before)
    const sent = yield* w.out(runId, "bk", { decisionIndex: 3n })
    const stored = yield* w.getEffect(runId, sent.idempotencyKey)
    assert.deepEqual(
      [stored.businessKey, stored.connector, stored.semantics, stored.dispatchMode],
      ["bk", w.bank, EffectSemantics.NON_IDEMPOTENT, EffectDispatchMode.OUTBOX]
    )
    assert.ok(stored.nextDispatchAtMs >= before && stored.nextDispatchAtMs <= (yield* w.now))
  }),

  scenario("RUL-EFF-3", "P0", "semantics 0–3 and dispatch modes 0–2 are all there is", function* (w) {
    const runId = yield* w.run("a")
    for (const over of [{ semantics: 4 }, { semantics: -1 }, { dispatchMode: 3 }, { dispatchMode: -1 }]) {
      yield* refused(w.effect(runId, 0, "t", 0, { connector: w.bank, ...over }), "InvalidRequest")
    }
    assert.equal((yield* w.getRun(runId)).seqCursor, 1n)
    const observing = yield* w.effect(runId, 0, "t", 0, { semantics: EffectSemantics.OBSERVE_ONLY })
    assert.equal(observing.status, PENDING)
  }),

  scenario("RUL-EFF-4", "P0", "CompleteEffect takes CONFIRMED, FAILED and UNKNOWN", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0)
    for (const status of [0, PENDING, 5, -1]) {
      yield* refused(w.complete(runId, idempotencyKey, status), "InvalidRequest", "status")
    }
    assert.equal((yield* w.getEffect(runId, idempotencyKey)).status, PENDING)
    const unknown = yield* w.complete(runId, idempotencyKey, UNKNOWN, "", '{"lost":true}')
    assert.equal(unknown.status, UNKNOWN)
    const late = yield* w.journaledBy(runId, w.confirm(runId, idempotencyKey))
    assert.deepEqual(late.answer, unknown, "only a reconciliation or an observation settles UNKNOWN")
    assert.deepEqual(late.entries, [])
  }),

  scenario("RUL-EFF-5", "P0", "ReconcileEffect takes CONFIRMED and FAILED", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0)
    for (const resolvedStatus of [0, PENDING, UNKNOWN, 5]) {
      yield* refused(w.tape.reconcileEffect({ runId, idempotencyKey, resolvedStatus }), "InvalidRequest", "status")
    }
    assert.equal((yield* w.getEffect(runId, idempotencyKey)).status, PENDING)
  }),

  scenario(
    "RUL-EFF-6",
    "P0",
    "checks: shape before run, run before scope, scope before the existing row",
    function* (w) {
      const nowhere = `no-such-run-${w.id}`
      yield* refused(w.effect(nowhere, 0, "t", 0, { semantics: EffectSemantics.NON_IDEMPOTENT }), "InvalidRequest")
      yield* refused(w.effect(nowhere, 0, "t", 0, { dispatchMode: Number(7) }), "InvalidRequest")
      yield* refused(w.effect(nowhere, 0, "t", 0, { businessKey: "b" }), "InvalidRequest")
      yield* refused(w.effect(nowhere, 0, "t", 0, { scope: "s:a" }), "NotFound")
      const runId = yield* w.run("a")
      yield* w.effect(runId, 0, "t", 0)
      yield* refused(w.effect(runId, 0, "t", 0, { scope: "s:a" }), "PermissionDenied", "scope")
    }
  ),

  scenario("RUL-EFF-7", "P0", "on an ended run an existing row still answers, a new one is refused", function* (w) {
    for (const status of [RunStatus.TERMINAL, RunStatus.STUCK, RunStatus.CANCELLED]) {
      const runId = yield* w.run(`ended-${status}`)
      const first = yield* w.effect(runId, 0, "t", 0)
      yield* w.endRun(runId, status)
      assert.deepEqual(yield* w.effect(runId, 0, "t", 0), first)
      yield* refused(w.effect(runId, 0, "t", 1), "PreconditionFailed")
      const settled = yield* w.confirm(runId, first.idempotencyKey)
      assert.equal(settled.status, CONFIRMED, "what was begun may be settled")
    }
  }),

  scenario("RUL-EFF-8", "P0", "an ended run still hits a business key of another", function* (w) {
    const [first, second] = [yield* w.run("1"), yield* w.run("2")]
    const begun = yield* w.out(first, "bk")
    yield* w.endRun(second, RunStatus.TERMINAL)
    const hit = yield* w.out(second, "bk")
    assert.deepEqual([hit.idempotencyKey, hit.seq], [begun.idempotencyKey, begun.seq])
    yield* refused(w.out(second, "bk-2"), "PreconditionFailed")
  }),

  scenario(
    "RUL-EFF-9",
    "P0",
    "a business-key hit journals nothing, and the caller can use the key as its own",
    function* (w) {
      const [first, second] = [yield* w.run("1"), yield* w.run("2")]
      const { idempotencyKey } = yield* w.out(first, "bk")
      const hit = yield* w.journaledBy(second, w.out(second, "bk"))
      assert.deepEqual(hit.entries, [])
      assert.equal((yield* w.getEffect(second, idempotencyKey)).runId, first)
      const claimed = yield* w.claim(second, idempotencyKey, "A")
      assert.deepEqual([claimed.acquired, claimed.effect?.runId], [true, first])
      yield* w.attempt(second, idempotencyKey, "busy", 1n)
      assert.equal((yield* w.getEffect(first, idempotencyKey)).dispatchAttempts, 1)
      const settled = yield* w.confirm(second, idempotencyKey, '{"w":1}')
      assert.deepEqual([settled.runId, settled.status], [first, CONFIRMED])
      const again = yield* w.out(second, "bk")
      assert.deepEqual([again.status, again.responseJson], [CONFIRMED, '{"w":1}'])
    }
  ),

  scenario("RUL-EFF-10", "P1", "reconciliation and observation follow the alias", function* (w) {
    const [first, second] = [yield* w.run("1"), yield* w.run("2")]
    const key = yield* w.lost(first, "bk")
    yield* w.out(second, "bk")
    assert.equal((yield* w.observe(second, key, 5)).status, UNKNOWN)
    const reconciled = yield* w.tape.reconcileEffect({
      runId: second,
      idempotencyKey: key,
      resolvedStatus: CONFIRMED,
      responseJson: "{}"
    })
    assert.deepEqual([reconciled.runId, reconciled.status], [first, CONFIRMED])
    assert.equal((yield* w.getEffect(first, key)).status, CONFIRMED)
  }),

  scenario("RUL-EFF-11", "P1", "an own row of the key wins over the alias", function* (w) {
    const [first, second] = [yield* w.run("1"), yield* w.run("2")]
    const { idempotencyKey } = yield* w.out(first, "bk")
    yield* w.effect(second, 0, "mine", 0, { customKey: idempotencyKey })
    assert.equal((yield* w.out(second, "bk")).idempotencyKey, idempotencyKey)
    const own = yield* w.getEffect(second, idempotencyKey)
    assert.deepEqual([own.runId, own.toolName], [second, "mine"])
    yield* w.complete(second, idempotencyKey, FAILED)
    assert.equal((yield* w.getEffect(first, idempotencyKey)).status, PENDING)
  }),

  scenario("RUL-EFF-12", "P1", "the same business key at two connectors is two rows", function* (w) {
    const runId = yield* w.run("a")
    const one = yield* w.out(runId, "bk")
    const two = yield* w.out(runId, "bk", { connector: `${w.bank}-2`, callIndex: 1 })
    assert.notEqual(one.idempotencyKey, two.idempotencyKey)
  }),

  scenario("RUL-EFF-13", "P0", "32 racing begins of one key all get the one row", function* (w) {
    const runId = yield* w.run("a")
    const outcomes = yield* w.race(32, () => w.effect(runId, 0, "t", 0))
    const begun = outcomes.map((outcome) =>
      outcome._tag === "Right" ? outcome.right : assert.fail(outcome.left.message)
    )
    for (const other of begun) assert.deepEqual(other, begun[0])
    assert.equal((yield* w.getRun(runId)).seqCursor, 2n)
  }),

  scenario("RUL-EFF-14", "P0", "of 16 racing completions the first stands and the others see it", function* (w) {
    const runId = yield* w.run("a")
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0)
    const outcomes = yield* w.race(16, (n) =>
      w.complete(runId, idempotencyKey, n % 2 === 0 ? CONFIRMED : FAILED, `${n}`)
    )
    const stored = yield* w.getEffect(runId, idempotencyKey)
    for (const outcome of outcomes) {
      assert.deepEqual(outcome._tag === "Right" ? outcome.right : outcome.left, stored)
    }
    assert.equal((yield* w.getRun(runId)).seqCursor, 3n)
  }),

  scenario("RUL-EFF-15", "P0", "entries of an effect: keys, ints after defaulting, subjects", function* (w) {
    const runId = yield* w.run("a")
    const begun = yield* w.journaledBy(runId, w.effect(runId, 1, "t o/l", 0))
    const { idempotencyKey } = begun.answer
    assert.deepEqual(
      begun.entries.map(({ kind, payload, seq, subject }) => ({ kind, payload, seq, subject })),
      [
        {
          kind: "effect",
          payload: {
            business_key: "",
            connector: "",
            decision_index: 1,
            dispatch_mode: 1,
            idempotency_key: idempotencyKey,
            scope: "",
            semantics: 1,
            status: "pending",
            tool: "t o/l"
          },
          seq: begun.answer.seq,
          subject: `/tape/effect/pending/t%20o%2Fl/${runId}`
        }
      ]
    )
    for (const [nth, [status, verb]] of (
      [
        [CONFIRMED, "confirmed"],
        [FAILED, "failed"],
        [UNKNOWN, "unknown"]
      ] as const
    ).entries()) {
      const { idempotencyKey } = yield* w.effect(runId, 2, "t", nth)
      const { answer, entries } = yield* w.journaledBy(runId, w.complete(runId, idempotencyKey, status, "{}"))
      assert.deepEqual(
        entries.map(({ payload, subject }) => ({ payload, subject })),
        [
          {
            payload: { idempotency_key: idempotencyKey, status: verb, tool: "t" },
            subject: `/tape/effect/${verb}/t/${runId}`
          }
        ]
      )
      assert.ok(answer.seq < (entries[0]?.seq ?? 0n), "the record keeps its first seq")
    }
  }),

  scenario(
    "RUL-EFF-16",
    "P1",
    "CompleteEffect settles an OUTBOX effect whoever claimed it, and clears the claim",
    function* (w) {
      const runId = yield* w.run("a")
      const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0, { ...outbox, connector: w.bank })
      yield* w.claim(runId, idempotencyKey, "A")
      const settled = yield* w.confirm(runId, idempotencyKey)
      assert.deepEqual(
        [settled.status, settled.dispatchClaimedBy, settled.dispatchClaimExpiresAtMs],
        [CONFIRMED, "", 0n]
      )
      assert.deepEqual(yield* w.dispatchable(), [])
    }
  ),

  scenario("SCP-01", "P1", "a scope must be among the run's; a denial leaves a policy entry and no row", function* (w) {
    const runId = yield* w.run("a", { scopes: ["s:a", "s:c"] })
    assert.equal((yield* w.effect(runId, 0, "t", 0, { scope: "s:a" })).status, PENDING)
    const { entries } = yield* w.journaledBy(
      runId,
      refused(w.effect(runId, 1, "t", 0, { scope: "s:b" }), "PermissionDenied", "s:b", "scope", "not granted")
    )
    assert.deepEqual(
      entries.map(({ kind, payload, subject }) => ({ kind, payload, subject })),
      [
        {
          kind: "policy",
          payload: {
            decision_index: 1,
            granted_scopes: ["s:a", "s:c"],
            required_scope: "s:b",
            tool: "t",
            violation: "scope_not_granted"
          },
          subject: `/tape/policy/denied/t/${runId}`
        }
      ]
    )
    const key = `${runId}/decision-1/t/0`
    assert.equal((yield* w.tape.getEffect({ runId, idempotencyKey: key })).found, false)
    const plain = yield* w.run("b")
    assert.equal((yield* w.effect(plain, 0, "t", 0)).status, PENDING)
    assert.equal((yield* w.out(plain, "bk")).status, PENDING, "an empty scope is allowed")
  })
]
