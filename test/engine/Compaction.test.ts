import { assert, describe, it } from "@effect/vitest"
import { Chunk, Effect, Stream, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { EffectStatus, ObligationStatus, RunStatus } from "effect-tape/proto"
import { tapeOverStore as tape } from "./ledgerFixtures.js"

const begin = (invocationId = "1") =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.beginRun({ appName: "app", userId: "u/1", sessionId: "s", invocationId })
  ).pipe(Effect.map(({ runId }) => runId))

const end = (runId: string, status = RunStatus.TERMINAL) =>
  Effect.flatMap(TapeClient, (tape) => tape.endRun({ runId, status }))

const effect = (runId: string, customKey: string, status?: EffectStatus) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    yield* tape.beginEffect({ runId, toolName: "t", customKey, requestJson: '{"é":1}' })
    if (status !== undefined) {
      yield* tape.completeEffect({ runId, idempotencyKey: customKey, status, responseJson: "{}", errorJson: "!" })
    }
  })

const compact = (runId: string) => Effect.flatMap(TapeClient, (tape) => tape.compactRun({ runId }))

describe("compaction", () => {
  it.effect("counts what had text, in bytes, and journals the counts under the run", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* TestClock.setTime(7_000)
      const runId = yield* begin()
      yield* tape.recordDecision({ runId, decisionIndex: 0n, requestJson: "12", responseJson: "345", rationale: "why" })
      yield* tape.recordDecision({ runId, decisionIndex: 1n, rationale: "only this" })
      yield* tape.recordDecision({ runId, decisionIndex: 2n, model: "m" })
      yield* effect(runId, "a", EffectStatus.CONFIRMED)
      yield* end(runId)
      const answer = yield* compact(runId)
      assert.deepStrictEqual(
        [answer.decisionsZeroed, answer.effectsZeroed, answer.bytesSaved, answer.alreadyCompacted],
        [2n, 1n, 5n + 8n + 2n + 1n, false]
      )
      const entries = yield* tape.subscribeRun({ runId, fromSeq: 8n }).pipe(Stream.take(1), Stream.runCollect)
      const [entry] = Chunk.toReadonlyArray(entries)
      assert.strictEqual(entry?.subject, `/tape/run/compacted/app/u%2F1/s/${runId}`)
      assert.strictEqual(
        entry?.payloadJson,
        `{"bytes_saved":16,"compacted_at_ms":7000,"decisions_zeroed":2,"effects_zeroed":1,"run_id":"${runId}"}`
      )
      const { decision } = yield* tape.getDecision({ runId, decisionIndex: 0n })
      assert.deepStrictEqual([decision?.requestJson, decision?.responseJson, decision?.rationale], ["", "", ""])
      assert.isTrue((yield* compact(runId)).alreadyCompacted)
    }).pipe(Effect.provide(tape))
  )

  it.effect("what is not over, or not settled, is refused in these words", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const refusal = (runId: string) =>
        Effect.map(Effect.flip(compact(runId)), (error) => `${error._tag} ${error.message}`)
      assert.match(yield* refusal("nobody"), /^NotFound /)
      const open = yield* begin("open")
      assert.match(yield* refusal(open), /^PreconditionFailed .*not terminal/)
      for (const status of [undefined, EffectStatus.UNKNOWN]) {
        const runId = yield* begin(`effect ${status}`)
        yield* effect(runId, `${status}`, status)
        yield* end(runId)
        assert.match(yield* refusal(runId), /^PreconditionFailed .*not settled/)
      }
      const obliged = yield* begin("obliged")
      yield* effect(obliged, "done", EffectStatus.CONFIRMED)
      const { seq } = yield* tape.registerCompensation({ runId: obliged, effectKey: "done", kind: "undo" })
      yield* end(obliged, RunStatus.FAILED)
      assert.match(yield* refusal(obliged), /^PreconditionFailed .*not settled/)
      yield* tape.resolveObligation({ runId: obliged, obligationSeq: seq, status: ObligationStatus.STUCK })
      assert.isFalse((yield* compact(obliged)).alreadyCompacted)
    }).pipe(Effect.provide(tape))
  )

  it.effect("the list goes by the time of the end, and leaves out what is open or done", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const list = (beforeMs: bigint, limit = 0n) =>
        Effect.map(tape.listCompactableRuns({ beforeMs, limit }), ({ runs }) => runs.map((run) => run.invocationId))
      for (const [index, status] of [
        RunStatus.FAILED,
        RunStatus.STUCK,
        RunStatus.CANCELLED,
        RunStatus.TERMINAL
      ].entries()) {
        yield* TestClock.setTime(1_000 * (10 - index))
        yield* end(yield* begin(`ended ${10 - index}`), status)
      }
      yield* end(yield* begin("compensating"), RunStatus.COMPENSATING)
      yield* begin("open")
      yield* TestClock.setTime(20_000)
      assert.deepStrictEqual(yield* list(9_000n), ["ended 7", "ended 8"])
      assert.deepStrictEqual(yield* list(0n, 3n), ["ended 7", "ended 8", "ended 9"])
      const [first] = (yield* tape.listCompactableRuns({})).runs
      yield* compact(first?.runId ?? "")
      assert.deepStrictEqual(yield* list(0n), ["ended 8", "ended 9", "ended 10"])
    }).pipe(Effect.provide(tape))
  )

  it.effect("a compacted run is not taken up again", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* TestClock.setTime(1_000)
      const runId = yield* begin()
      yield* end(runId, RunStatus.FAILED)
      yield* compact(runId)
      yield* begin()
      assert.strictEqual((yield* tape.getRun({ runId })).status, RunStatus.FAILED)
    }).pipe(Effect.provide(tape))
  )
})
