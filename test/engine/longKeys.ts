import { assert } from "@effect/vitest"
import { type Context, Effect } from "effect"
import type { Errors, TapeClient } from "effect-tape"
import { EffectResolution, EffectStatus, HandlerKind, RunStatus } from "effect-tape/proto"
import { eventually } from "./ledgerFixtures.js"

type Tape = Context.Tag.Service<TapeClient>

/** Text of so many bytes that no database can make smaller: characters of four bytes each, in no order. */
const long = (bytes: number): string =>
  random(Math.floor(bytes / 4), (fraction) => String.fromCodePoint(0x1_0000 + Math.floor(fraction * 0x10_0000))) +
  "x".repeat(bytes % 4)

/** Text of five bytes in each piece, seven in a subject, that cannot be made smaller either. */
const crowded = (bytes: number): string =>
  random(Math.floor(bytes / 5), (fraction) => {
    const nth = Math.floor(fraction * 0x10_0000)
    return String.fromCodePoint(0x1_0000 + nth) + "/ *%?#\\"[nth % 7]!
  })

const random = (length: number, character: (fraction: number) => string): string => {
  let seed = length
  return Array.from({ length }, () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return character(seed / 2 ** 32)
  }).join("")
}

/** The longest keys that are allowed work wherever a row is found by them. */
export const work = (tape: Tape) =>
  Effect.gen(function* () {
    const reaction = { reactionId: long(512), subjectPattern: "/tape/value/**", handlerKind: HandlerKind.TASK }
    yield* tape.registerReaction({ ...reaction, debounceMs: 60_000, bootstrapFromHead: true })
    const session = { appName: long(508), userId: long(509), sessionId: long(510) }
    const { runId } = yield* tape.beginRun({ ...session, invocationId: long(521) })
    const key = long(1024)
    const outbox = { runId, toolName: long(900), dispatchMode: 2, connector: long(1021), businessKey: long(1022) }
    yield* tape.beginEffect({ ...outbox, customKey: key })
    yield* tape.beginEffect({ runId, toolName: long(900) })
    assert.isTrue(
      (yield* tape.claimEffectDispatch({ runId, idempotencyKey: key, claimer: "c" })).acquired,
      "an outbox effect"
    )
    const observed = yield* tape.recordExternalObservation({
      runId,
      idempotencyKey: key,
      resolution: EffectResolution.DUPLICATE,
      compensateOnDuplicateKind: long(1023)
    })
    assert.strictEqual(observed.status, EffectStatus.CONFIRMED)
    yield* tape.registerCompensation({ runId, effectKey: key, kind: long(1020) })
    assert.lengthOf((yield* tape.listObligations({ runId })).obligations, 2)
    yield* tape.setTimer({ runId, timerId: long(1024), fireAtMs: 9_000_000_000_000n })
    yield* tape.appendEvent({ ...session, event: { id: long(1024) } })
    const other = yield* tape.beginRun({ ...session, invocationId: "2" })
    const alias = yield* tape.beginEffect({ ...outbox, runId: other.runId })
    assert.strictEqual(alias.idempotencyKey, key)
    yield* tape.awaitSignal({ runId: other.runId, gateName: long(1024) })
    // What an entry is about may be longer than any key, and is looked up all the same.
    for (const value of [
      { namespace: long(1023), key: long(1024) },
      { namespace: crowded(1024), key: crowded(1019) }
    ]) {
      yield* tape.writeValue({ ...value, valueJson: "1" })
      yield* tape.writeValue({ ...value, valueJson: "2", ifVersion: 1n })
      assert.strictEqual((yield* tape.getValue(value)).value?.valueJson, "2")
    }
    const { tasks } = yield* eventually(
      tape.listTasks({ reactionId: reaction.reactionId }),
      ({ tasks }) => tasks.length >= 2 && tasks.every(({ payloadJson }) => payloadJson.includes('"version":2'))
    )
    assert.lengthOf(tasks, 2, "one task for each value, with the newest entry")
    yield* tape.endRun({ runId, status: RunStatus.CANCELLED })
  })

/** Longer ones are refused, and the sentence says which field, how long it is, and how long it may be. */
export const refused = (tape: Tape) =>
  Effect.gen(function* () {
    const { runId } = yield* tape.beginRun({ appName: "long keys" })
    const tooLong = long(1025)
    const refusals: ReadonlyArray<readonly [field: string, call: Effect.Effect<unknown, Errors.TapeError>]> = [
      ["app_name", tape.beginRun({ appName: tooLong })],
      ["invocation_id", tape.beginRun({ invocationId: long(1025) })],
      ["custom_key", tape.beginEffect({ runId, toolName: "t", customKey: long(14_400) })],
      ["custom_key", tape.beginEffect({ runId, toolName: "t", customKey: "a".repeat(1025) })],
      ["tool_name", tape.beginEffect({ runId, toolName: long(1025) })],
      ["tool_name", tape.beginEffect({ runId, toolName: long(1000) })],
      ["connector", tape.beginEffect({ runId, toolName: "t", connector: tooLong })],
      ["business_key", tape.beginEffect({ runId, toolName: "t", connector: "c", businessKey: tooLong })],
      ["idempotency_key", tape.getEffect({ runId, idempotencyKey: tooLong })],
      ["effect_key", tape.registerCompensation({ runId, effectKey: tooLong, kind: "undo" })],
      ["kind", tape.registerCompensation({ runId, effectKey: "e", kind: tooLong })],
      ["gate_name", tape.awaitSignal({ runId, gateName: tooLong })],
      ["timer_id", tape.setTimer({ runId, timerId: tooLong })],
      ["namespace", tape.writeValue({ namespace: tooLong, key: "k", valueJson: "1" })],
      ["key", tape.writeValue({ namespace: "n", key: tooLong, valueJson: "1" })],
      ["id", tape.appendEvent({ sessionId: "s", event: { id: tooLong } })],
      ["reaction_id", tape.registerReaction({ reactionId: long(513), handlerKind: HandlerKind.TASK })],
      [
        "app_name, user_id, session_id, invocation_id",
        tape.beginRun({ appName: long(600), userId: long(600), sessionId: long(600), invocationId: long(600) })
      ],
      [
        "app_name, user_id, session_id",
        tape.createSession({ appName: long(1024), userId: long(1020), sessionId: long(20) })
      ]
    ]
    for (const [field, call] of refusals) {
      const error = yield* Effect.flip(call)
      assert.strictEqual(error._tag, "InvalidRequest", `${field}: ${error.message}`)
      assert.include(error.message, `${field}`)
      assert.match(error.message, /\d+/)
    }
    assert.strictEqual((yield* tape.getRun({ runId })).seqCursor, 1n)
  })
