import { assert, layer } from "@effect/vitest"
import { Chunk, Effect, Fiber, Stream } from "effect"
import * as Postgres from "../../support/Postgres.js"
import { openTapes, type Tape } from "./fixtures.js"

const writers = 32
const decisions = 25
const total = writers * (decisions + 1)

/** Everything from the beginning, taken up again from the cursor now and then, as after a lost connection. */
const follow = (tape: Tape, pause: number) =>
  Effect.gen(function* () {
    const seen: Array<string> = []
    let cursor = 0n
    while (seen.length < total) {
      yield* tape.subscribeEvents({ fromGlobalSeq: cursor }).pipe(
        Stream.tap((entry) =>
          Effect.sync(() => {
            cursor = entry.globalSeq
            seen.push(`${entry.globalSeq} ${entry.runId} ${entry.seq}`)
          })
        ),
        Stream.tap(() => (pause > 0 && seen.length % pause === 0 ? Effect.yieldNow() : Effect.void)),
        Stream.take(Math.min(200, total - seen.length)),
        Stream.runDrain
      )
    }
    return seen
  })

layer(Postgres.layer(), { excludeTestServices: true })("the order of the journal", (it) => {
  it.scoped("readers of two servers see what 32 writers commit, once, in one order, without a gap", () =>
    Effect.gen(function* () {
      const { tapes, url } = yield* openTapes(2)
      const readers = yield* Effect.forEach([0, 1, 7], (pause, index) =>
        Effect.fork(follow(tapes[index % tapes.length]!, pause))
      )
      yield* Effect.forEach(
        Array.from({ length: writers }, (_, index) => index),
        (writer) =>
          Effect.gen(function* () {
            const tape = tapes[writer % tapes.length]!
            const { runId } = yield* tape.beginRun({ appName: "order", invocationId: String(writer) })
            for (let index = 0; index < decisions; index++) {
              yield* tapes[(writer + index) % tapes.length]!.recordDecision({ runId, decisionIndex: BigInt(index) })
            }
          }),
        { concurrency: "unbounded", discard: true }
      )
      const { query } = yield* Postgres.Postgres
      const rows = yield* query(url, "select global_seq::text, run_id, seq::text from journal j order by j.global_seq")
      const scan = rows.map(({ global_seq, run_id, seq }) => `${global_seq} ${run_id} ${seq}`)
      assert.strictEqual(scan.length, total)
      for (const reader of readers) {
        assert.deepStrictEqual(yield* Effect.timeout(Fiber.join(reader), "10 seconds"), scan)
      }
    })
  )

  it.scoped("a reader on one server hears of another's commit without being asked to look", () =>
    Effect.gen(function* () {
      const { tapes } = yield* openTapes(2)
      const [writer, other] = tapes
      const { runId } = yield* writer!.beginRun({ appName: "wake" })
      const latencies: Array<number> = []
      for (let index = 0; index < 20; index++) {
        const next = yield* other!.subscribeEvents({ fromGlobalSeq: BigInt(index + 1) }).pipe(
          Stream.take(1),
          Stream.runCollect,
          Effect.map((entries) => ({ at: performance.now(), entry: Chunk.unsafeHead(entries) })),
          Effect.fork
        )
        yield* writer!.recordDecision({ runId, decisionIndex: BigInt(index) })
        const committed = performance.now()
        const { at, entry } = yield* Fiber.join(next)
        assert.strictEqual(entry.globalSeq, BigInt(index + 2))
        latencies.push(at - committed)
      }
      // The safety poll would take half a second on average.
      assert.isBelow(latencies.toSorted((left, right) => left - right)[10]!, 200)
    })
  )
})
