import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Effect, Fiber, Stream } from "effect"
import { temporaryDirectory } from "../support/Harness.js"
import { serve } from "../sys/TapeProcess.js"

const writers = 24
const decisions = 40
const total = writers * (decisions + 1)

describe("two processes on one SQLite file", () => {
  it.scopedLive(
    "both write, each sees the other's entries, in one order without a gap, and nobody is refused",
    () =>
      Effect.gen(function* () {
        const file = join(yield* temporaryDirectory, "tape.db")
        // Both at once, on a file that does not exist yet.
        const servers = yield* Effect.all([serve(file), serve(file)], { concurrency: 2 })
        const tapes = servers.map(({ tape }) => tape)
        const readers = yield* Effect.forEach(tapes, (tape) =>
          tape.subscribeEvents({}).pipe(
            Stream.take(total),
            Stream.map((entry) => `${entry.globalSeq} ${entry.runId} ${entry.seq}`),
            Stream.runCollect,
            Effect.map((chunk) => [...chunk]),
            Effect.fork
          )
        )
        // Every call is made once: one that is refused fails the test.
        yield* Effect.forEach(
          Array.from({ length: writers }, (_, index) => index),
          (writer) =>
            Effect.gen(function* () {
              const { runId } = yield* tapes[writer % 2]!.beginRun({ appName: "two", invocationId: String(writer) })
              for (let index = 0; index < decisions; index++) {
                const tape = tapes[(writer + index) % 2]!
                yield* tape.recordDecision({ runId, decisionIndex: BigInt(index) })
                yield* tape.chargeBudget({ runId, tokens: 1n })
              }
              const { budget } = yield* tapes[(writer + 1) % 2]!.admitBudget({ runId })
              assert.strictEqual(budget?.tokensSpent, BigInt(decisions))
            }),
          { concurrency: "unbounded", discard: true }
        )
        const db = new Database(file, { readonly: true })
        const scan = db
          .prepare("select global_seq || ' ' || run_id || ' ' || seq from journal order by global_seq")
          .pluck()
          .all()
        const last = db.prepare("select max(global_seq) from journal").pluck().get()
        db.close()
        assert.strictEqual(scan.length, total)
        assert.strictEqual(last, total)
        for (const reader of readers) {
          assert.deepStrictEqual(yield* Effect.timeout(Fiber.join(reader), "10 seconds"), scan)
        }
      }),
    60_000
  )
})
