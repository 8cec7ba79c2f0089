import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TapeClient } from "effect-tape"
import { tapeAt } from "./ledgerFixtures.js"
import * as LongKeys from "./longKeys.js"

describe("the engine's limits", () => {
  it.effect("a request that is too large is refused with its size, one that just fits is not", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const write = (length: number) => tape.writeValue({ key: "k", valueJson: "é".repeat(length), ifVersion: -1n })
      const error = yield* Effect.flip(write(5_000))
      assert.strictEqual(error._tag, "ResourceExhausted")
      assert.match(error.message, /takes 100\d\d bytes, the limit is 10000 bytes/)
      assert.strictEqual((yield* write(4_900)).version, 1n)
    }).pipe(Effect.provide(tapeAt("memory:", { maxMessageBytes: 10_000 })))
  )

  it.effect("the longest keys work, longer ones are refused", () =>
    Effect.flatMap(TapeClient, (tape) => Effect.zipRight(LongKeys.refused(tape), LongKeys.work(tape))).pipe(
      Effect.provide(tapeAt("memory:"))
    )
  )

  it.effect("a list answers no more than the ceiling, whatever is asked for", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "app" })
      const names = Array.from({ length: 520 }, (_, index) => `${index}`)
      yield* Effect.forEach(names, (timerId) => tape.setTimer({ runId, timerId, fireAtMs: 0n }), {
        concurrency: 64,
        discard: true
      })
      const count = (limit: bigint, claim = false) =>
        Effect.map(tape.listDueTimers({ limit, claim }), ({ timers }) => timers.length)
      assert.deepStrictEqual(yield* Effect.all([count(10_000n), count(3n), count(0n)]), [500, 3, 200])
      assert.deepStrictEqual(yield* Effect.all([count(10_000n, true), count(10_000n, true)]), [500, 20])
      const event = (id: string) => tape.appendEvent({ sessionId: "s", event: { id } })
      yield* Effect.forEach(names, event, { concurrency: 64, discard: true })
      for (const maxEvents of [0n, 10_000n]) {
        const { session } = yield* tape.getSession({ sessionId: "s", maxEvents })
        assert.strictEqual(session?.events.length, 500)
      }
    }).pipe(Effect.provide(tapeAt("memory:", { maxListed: 500 })))
  )
})
