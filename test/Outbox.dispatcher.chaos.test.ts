import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, Logger, Schedule } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Outbox from "../src/Outbox.js"
import { intend, options, withBank } from "./Outbox.dispatcher.fixtures.js"

describe("dispatchers that are cut off again and again", () => {
  it.live(
    "send every effect exactly once",
    () =>
      withBank((bank) =>
        Effect.gen(function* () {
          const tape = yield* TapeClient
          const effects = 60
          yield* Effect.forEach(Array.from({ length: effects }), (_, n) => intend(`k${n}`), { concurrency: 16 })
          // No grace: what is in flight is dropped between the bank's ledger and the journal.
          const dispatcher = (claimer: string, life: Duration.DurationInput) =>
            Effect.never.pipe(
              Effect.provide(
                Outbox.layer({
                  ...options,
                  claimer,
                  claimTtl: "500 millis",
                  allowShortClaims: true,
                  grace: 0,
                  parallelism: 4,
                  pollInterval: "20 millis"
                })
              ),
              Effect.timeoutOption(life),
              Effect.forever
            )
          const done = tape
            .listPendingEffects({})
            .pipe(
              Effect.repeat({ until: ({ effects }) => effects.length === 0, schedule: Schedule.spaced("50 millis") }),
              Effect.timeout("30 seconds")
            )
          yield* Effect.raceFirst(
            Effect.all([dispatcher("A", "40 millis"), dispatcher("B", "70 millis")], { concurrency: "unbounded" }),
            done
          )
          const keys = (yield* bank.ledger).map(({ businessKey }) => businessKey)
          assert.strictEqual(keys.length, effects)
          assert.strictEqual(new Set(keys).size, effects)
          assert.isAbove(yield* bank.searches, 0, "nothing was ever cut off")
        })
      )().pipe(Effect.scoped, Effect.provide(Logger.remove(Logger.defaultLogger))),
    60_000
  )
})
