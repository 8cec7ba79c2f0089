import * as Fs from "node:fs"
import { assert } from "@effect/vitest"
import { Chunk, type Context, Effect, Option, Stream } from "effect"
import type { TapeClient } from "effect-tape"
import { EffectStatus, RunStatus, TaskStatus } from "effect-tape/proto"

const fixture = (version: number): string =>
  Fs.readFileSync(new URL(`../fixtures/schema-${version}.sql`, import.meta.url), "utf8")

/** A SQLite tape that an engine of schema version 1 wrote. */
export const first = fixture(1)

/** What the engine of a version wrote beside what those before it had written, as statements that both databases read. */
export const rowsOf = (version: number): string => {
  if (version === 1) {
    const rows = first.split("\n").filter((line) => line.startsWith("insert into"))
    return ["delete from counters;", ...rows].join("\n")
  }
  return version <= 4 ? fixture(version) : ""
}

/** How far the journal reached. */
const headOf = (version: number): number => (version === 1 ? 10 : 12)

/** Everything that an earlier version wrote is there, and everything that came later works beside it. */
export const serves = (tape: Context.Tag.Service<TapeClient>, version: number) =>
  Effect.gen(function* () {
    const invocation = { appName: "app", userId: "u", sessionId: "s" }
    const head = headOf(version)
    const before = yield* tape.subscribeEvents({}).pipe(Stream.take(head), Stream.runCollect)
    assert.deepStrictEqual(
      Chunk.toReadonlyArray(before).map(({ globalSeq }) => globalSeq),
      Array.from({ length: head }, (_, index) => BigInt(index + 1))
    )
    const { resumed, runId } = yield* tape.beginRun({ ...invocation, invocationId: "1" })
    assert.isTrue(resumed)
    const run = yield* tape.getRun({ runId })
    assert.deepStrictEqual([run.scopes, run.labels, run.seqCursor], [["pay"], { a: "é" }, 8n])
    assert.strictEqual((yield* tape.getDecision({ runId, decisionIndex: 0n })).decision?.responseJson, '{"n":1.0}')
    const done = yield* tape.beginEffect({ runId, toolName: "t", customKey: "e" })
    assert.deepStrictEqual([done.status, done.responseJson], [EffectStatus.CONFIRMED, '"ok"'])
    assert.strictEqual((yield* tape.getEffect({ runId, idempotencyKey: "e" })).effect?.requestJson, `"it's; done"`)
    const nowMs = 2_000_000_000_000n
    assert.strictEqual((yield* tape.listEffectsToDispatch({ connector: "bank", nowMs })).effects.length, 1)
    assert.strictEqual((yield* tape.listObligations({ runId })).obligations.length, 1)
    assert.isTrue((yield* tape.awaitSignal({ runId, gateName: "g" })).delivered)
    assert.strictEqual((yield* tape.admitBudget({ runId })).budget?.usdCap, 1.5)
    const { timers } = yield* tape.listDueTimers({ nowMs, claim: true })
    assert.deepStrictEqual(
      timers.map(({ timerId }) => timerId),
      ["t"]
    )
    const { runId: other } = yield* tape.beginRun({ ...invocation, invocationId: "2" })
    assert.strictEqual((yield* tape.getRun({ runId: other })).status, RunStatus.TERMINAL)

    const kept = { namespace: "n", key: "kept" }
    if (version >= 2) {
      const { value } = yield* tape.getValue(kept)
      assert.deepStrictEqual([value?.version, value?.valueJson, value?.writer], [2n, '{"a":2.0}', "w"])
      const change = Option.getOrThrow(yield* Stream.runHead(tape.watchValue({ ...kept, fromVersion: 1n })))
      assert.deepStrictEqual([change.prevVersion, change.prevValueJson], [1n, '{"a":1.0}'])
      const { session } = yield* tape.getSession({ ...invocation, sessionId: "old" })
      assert.deepStrictEqual([session?.stateJson, session?.events[0]?.contentJson], ['{"n":1.0}', '"héllo"'])
    }
    if (version >= 3) {
      const pruned = yield* tape.beginEffect({ runId: other, toolName: "wire", customKey: "pruned" })
      assert.strictEqual(pruned.responseJson, '"sent"')
      const paid = yield* tape.beginEffect({ runId, toolName: "wire", connector: "bank", businessKey: "p" })
      assert.deepStrictEqual([paid.idempotencyKey, paid.status], ["pruned", EffectStatus.CONFIRMED])
    }
    if (version >= 4) {
      const { tasks } = yield* tape.claimTasks({ reactionId: "r", owner: "worker", shard: -1, nowMs })
      assert.deepStrictEqual(
        tasks.map(({ attempts, lastError, payloadJson }) => [attempts, lastError, payloadJson]),
        [[2, "first try", '{"x":1}']]
      )
      const { tasks: all } = yield* tape.listTasks({ reactionId: "r", status: TaskStatus.DONE })
      assert.lengthOf(all, 1)
    }

    // The counters go on where they were.
    const written = (yield* tape.writeValue({ ...kept, valueJson: "3", ifVersion: -1n })).version
    assert.strictEqual(written, version >= 2 ? 3n : 1n)
    const next = yield* tape.subscribeEvents({ kind: "value", fromGlobalSeq: BigInt(head) }).pipe(Stream.runHead)
    assert.strictEqual(Option.getOrThrow(next).globalSeq, BigInt(head + 1))
    assert.strictEqual((yield* tape.recordDecision({ runId, decisionIndex: 1n, model: "m" })).seq, 9n)
    yield* tape.appendEvent({ ...invocation, event: { id: "1" } })
    yield* tape.compactRun({ runId: other })
  })
