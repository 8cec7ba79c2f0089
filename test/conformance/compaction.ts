/** Section P, on the wire: compaction. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { EffectStatus, ObligationStatus, RunStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { record, seen, type World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

/** A run with a decision and a confirmed effect, ended. */
const finished = (w: World, name: string, status: number = RunStatus.TERMINAL) =>
  Effect.gen(function* () {
    const runId = yield* w.run(name)
    yield* w.decide(runId, 0, { rationale: "because" })
    const { idempotencyKey } = yield* w.effect(runId, 0, "t", 0, { requestJson: '{"a":1}' })
    yield* w.confirm(runId, idempotencyKey, '{"b":2}')
    const { endedAtMs } = yield* w.endRun(runId, status)
    return { runId, idempotencyKey, endedAtMs }
  })

const compactableIds = (w: World, beforeMs: bigint) =>
  Effect.map(w.tape.listCompactableRuns({ beforeMs, limit: 10_000n }), ({ runs }) =>
    runs.filter((run) => run.appName === w.app).map((run) => run.runId)
  )

export const compaction: ReadonlyArray<Scenario> = [
  scenario("CMP-01", "P1", "a settled run lets go of its texts, once, and keeps the rest", function* (w) {
    const { idempotencyKey, runId } = yield* finished(w, "a")
    const before = record((yield* w.tape.getDecision({ runId, decisionIndex: 0n })).decision)
    const effect = yield* w.getEffect(runId, idempotencyKey)
    const { $typeName: _, ...first } = yield* w.tape.compactRun({ runId })
    const texts = ["{}", '{"plan":0}', '{"a":1}', '{"b":2}'].join("").length
    assert.deepEqual(first, {
      alreadyCompacted: false,
      decisionsZeroed: 1n,
      effectsZeroed: 1n,
      bytesSaved: BigInt(texts)
    })
    assert.deepEqual((yield* w.tape.getDecision({ runId, decisionIndex: 0n })).decision, {
      ...before,
      requestJson: "",
      responseJson: "",
      rationale: ""
    })
    assert.deepEqual(yield* w.getEffect(runId, idempotencyKey), { ...effect, requestJson: "", responseJson: "" })
    const { $typeName: __, ...second } = yield* w.tape.compactRun({ runId })
    assert.deepEqual(second, { alreadyCompacted: true, decisionsZeroed: 0n, effectsZeroed: 0n, bytesSaved: 0n })
    const again = yield* w.beginRun("a")
    assert.deepEqual([again.runId, again.resumed, again.status], [runId, true, RunStatus.TERMINAL])
    const begun = yield* w.effect(runId, 0, "t", 0)
    assert.deepEqual([begun.status, begun.responseJson], [EffectStatus.CONFIRMED, ""])
  }),

  scenario("CMP-03", "P1", "ended runs are listed by their end; one bad run stops no batch", function* (w) {
    const good = yield* finished(w, "good")
    yield* w.run("running")
    const bad = yield* w.run("bad")
    yield* w.effect(bad, 0, "t", 0)
    yield* w.endRun(bad, RunStatus.FAILED)
    const future = (yield* w.now) + 60_000n
    const listed = yield* compactableIds(w, future)
    assert.deepEqual(listed, [good.runId, bad], "oldest end first")
    assert.deepEqual(yield* compactableIds(w, good.endedAtMs), [], "the cutoff is exclusive")
    assert.ok((yield* compactableIds(w, good.endedAtMs + 1n)).includes(good.runId))
    const outcomes = yield* Effect.forEach([bad, good.runId], (runId) => Effect.either(w.tape.compactRun({ runId })))
    assert.deepEqual(
      outcomes.map((outcome) => (Either.isLeft(outcome) ? outcome.left._tag : outcome.right.effectsZeroed)),
      ["PreconditionFailed", 1n]
    )
    assert.deepEqual(yield* compactableIds(w, future), [bad])
    const entry = record((yield* w.journal(good.runId)).at(-1))
    const { kind, payload, subject } = seen(entry)
    assert.deepEqual([kind, subject], ["run", `/tape/run/compacted/${w.app}/u/s-good/${good.runId}`])
    assert.deepEqual(payload, {
      bytes_saved: ["{}", '{"plan":0}', '{"a":1}', '{"b":2}'].join("").length,
      compacted_at_ms: Number(entry.tsMs),
      decisions_zeroed: 1,
      effects_zeroed: 1,
      run_id: good.runId
    })
  }),

  scenario("RUL-CMP-1", "P0", "what is not over, or not settled, is not compacted", function* (w) {
    yield* refused(w.tape.compactRun({ runId: `no-such-${w.id}` }), "NotFound")
    const open = yield* w.run("open")
    yield* refused(w.tape.compactRun({ runId: open }), "PreconditionFailed", "not terminal")
    const compensating = yield* finished(w, "compensating", RunStatus.COMPENSATING)
    yield* refused(w.tape.compactRun({ runId: compensating.runId }), "PreconditionFailed", "not terminal")

    const pending = yield* w.run("pending")
    const { idempotencyKey } = yield* w.effect(pending, 0, "t", 0, { requestJson: '"kept"' })
    const settle = (status: number) => w.complete(pending, idempotencyKey, status)
    yield* w.endRun(pending, RunStatus.CANCELLED)
    yield* refused(w.tape.compactRun({ runId: pending }), "PreconditionFailed", "not settled")
    yield* settle(EffectStatus.UNKNOWN)
    yield* refused(w.tape.compactRun({ runId: pending }), "PreconditionFailed", "not settled")
    assert.equal((yield* w.getEffect(pending, idempotencyKey)).requestJson, '"kept"')
    yield* w.tape.reconcileEffect({ runId: pending, idempotencyKey, resolvedStatus: EffectStatus.FAILED })
    assert.equal((yield* w.tape.compactRun({ runId: pending })).effectsZeroed, 1n)

    const owed = yield* finished(w, "owed", RunStatus.FAILED)
    const { seq } = yield* w.register(owed.runId, owed.idempotencyKey, "undo")
    yield* refused(w.tape.compactRun({ runId: owed.runId }), "PreconditionFailed", "not settled")
    yield* w.claimObligation(owed.runId, seq, "A")
    yield* refused(w.tape.compactRun({ runId: owed.runId }), "PreconditionFailed", "not settled")
    yield* w.resolve(owed.runId, seq, ObligationStatus.STUCK)
    assert.equal((yield* w.tape.compactRun({ runId: owed.runId })).alreadyCompacted, false)
  }),

  scenario("RUL-CMP-2", "P1", "16 racing compactions are one", function* (w) {
    const { runId } = yield* finished(w, "a")
    const { answer, entries } = yield* w.journaledBy(
      runId,
      w.race(16, () => w.tape.compactRun({ runId }))
    )
    const first = answer.filter((outcome) => Either.isRight(outcome) && !outcome.right.alreadyCompacted)
    assert.ok(answer.every(Either.isRight))
    assert.deepEqual([first.length, entries.length], [1, 1])
  }),

  scenario("RUL-CMP-3", "P1", "a compacted run stays closed, whatever its end was", function* (w) {
    for (const status of [RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.STUCK]) {
      const name = `r${status}`
      const { runId } = yield* finished(w, name, status)
      yield* w.tape.compactRun({ runId })
      const again = yield* w.beginRun(name)
      assert.deepEqual([again.runId, again.resumed, again.status], [runId, true, status])
      assert.equal((yield* w.getRun(runId)).status, status)
    }
  })
]
