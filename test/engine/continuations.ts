import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { TapeClient } from "effect-tape"
import { Retention } from "effect-tape/engine"

export const continuation = {
  appName: "app",
  userId: "u",
  sessionId: "s",
  invocationId: "1",
  newInvocationId: "2",
  stateJson: '{"n":1.0}'
}

/** Continuations of the invocation that no store could keep; its effect "a" stays where it is. */
export const invalidContinuations = (continued: Retention.Continuation, runId: string) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const retention = yield* Retention.Retention
    const invalid = {
      stateJson: ['"\u0000"', `"${"x".repeat(4 * 1024 * 1024)}"`],
      sessionId: ["s\u0000", "x".repeat(1_010)],
      newInvocationId: ["\u0000", "x".repeat(1_025)],
      invocationId: ["1\u0000"],
      writer: ["w\u0000"]
    }
    for (const [field, texts] of Object.entries(invalid)) {
      for (const text of texts) {
        const error = yield* Effect.flip(retention.continueAsNew({ ...continued, [field]: text }))
        assert.strictEqual(error._tag, "InvalidContinuation", `${field}: ${error.message}`)
        assert.include(error.message, field)
      }
    }
    assert.strictEqual((yield* tape.getEffect({ runId, idempotencyKey: "a" })).effect?.responseJson, '"a"')
    assert.isFalse((yield* tape.getValue({ namespace: "tape:continue-as-new:s", key: "2" })).found)
  })
