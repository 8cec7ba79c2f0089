import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger, Schedule } from "effect"
import { EffectStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Outbox from "../src/Outbox.js"
import * as Reactors from "../src/Reactors.js"
import { intend, options, read, withBank } from "./Outbox.dispatcher.fixtures.js"

describe("dispatchers that are cut off again and again", () => {
  it.live(
    "never send an effect twice, and confirm every one that was sent",
    () =>
      withBank((bank) =>
        Effect.gen(function* () {
          const keys = Array.from({ length: 60 }, (_, n) => `k${n}`)
          const intents = yield* Effect.forEach(keys, (key) => intend(key), { concurrency: 16 })
          let cuts = 0
          // Cut whenever the bank has booked a wire, without grace: between its ledger and the journal. Cut by the event,
          // not by a clock, each life gets something done, however slow the machine is.
          const dispatcher = (claimer: string) =>
            bank.booked.pipe(
              Effect.provide(
                Outbox.layer({
                  ...options,
                  claimer,
                  claimTtl: "2 seconds",
                  allowShortClaims: true,
                  grace: 0,
                  parallelism: 4,
                  pollInterval: "20 millis"
                })
              ),
              Effect.tap(() => Effect.sync(() => (cuts += 1))),
              Effect.forever
            )
          // On a machine too slow for these claims a dispatch can end UNKNOWN without having reached the bank. That is an
          // answer: what must never be is a second wire, or a wire whose effect is not CONFIRMED in the end.
          const state = Effect.gen(function* () {
            const wires = (yield* bank.ledger).map(({ businessKey }) => businessKey).toSorted()
            const rows = yield* Effect.forEach(intents, read)
            const inStatus = (wanted: EffectStatus) =>
              rows
                .filter(({ status }) => status === wanted)
                .map(({ businessKey }) => businessKey)
                .toSorted()
            return { wires, confirmed: inStatus(EffectStatus.CONFIRMED), pending: inStatus(EffectStatus.PENDING) }
          })
          const settled = Effect.repeat(state, {
            until: ({ confirmed, pending, wires }) => pending.length === 0 && confirmed.length >= new Set(wires).size,
            schedule: Schedule.spaced("100 millis")
          })
          // The dispatchers never end: whichever way this ends, what is seen is judged.
          yield* Effect.raceFirst(
            Effect.all([dispatcher("A"), dispatcher("B")], { concurrency: "unbounded", discard: true }),
            Effect.timeoutOption(settled, "60 seconds")
          ).pipe(Effect.provide(Reactors.layerReconcile({ ...options, schedule: Schedule.spaced("100 millis") })))
          const { confirmed, pending, wires } = yield* state
          assert.strictEqual(wires.length, new Set(wires).size, "a wire was sent twice")
          assert.deepStrictEqual(confirmed, wires)
          assert.deepStrictEqual(pending, [])
          assert.isAbove(cuts, 0)
          assert.isAbove(yield* bank.searches, 0, "no attempt ever vanished")
        })
      )().pipe(Effect.scoped, Effect.provide(Logger.remove(Logger.defaultLogger))),
    90_000
  )
})
