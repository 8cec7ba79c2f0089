import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random, Scope } from "effect"
import { TapeClient } from "effect-tape"
import { eventually } from "../conformance/Expect.js"
import * as Bank from "../support/Bank.js"
import { temporaryDirectory } from "../support/Harness.js"
import { start } from "./Program.js"
import { serve } from "./TapeProcess.js"
import { intend } from "./ways/Ways.js"

const effects = 500
/** At least so many while the work lasts; on a busy machine it would last as long as they are killed. */
const kills = { least: 8, most: 12 }

const wires = Array.from({ length: effects }, (_, index) => `ACME-${index}:100`)

describe("two dispatchers, one of them killed every second, and a bank that does not deduplicate", () => {
  it.live(
    `${effects} effects are ${effects} wires, all CONFIRMED`,
    () =>
      Effect.gen(function* () {
        const seed = yield* Random.nextIntBetween(0, 2 ** 31)
        const random = Random.make(seed)
        const bank = yield* Bank.make
        // Most of the time a wire is on its way: unbooked, or booked and not yet answered.
        yield* bank.pace(() => ({ toBook: 20 + Math.random() * 100, toAnswer: 20 + Math.random() * 100 }))
        yield* bank.wires(Bank.loseAck, Bank.loseAck, Bank.loseAck)
        const { address, tape } = yield* serve(join(yield* temporaryDirectory, "tape.db"), "lean")
        const { statuses } = yield* Effect.provideService(intend("bank.wire", wires), TapeClient, tape)

        const said = new Map<string, number>()
        const onLine = (line: string) => said.set(line, (said.get(line) ?? 0) + 1)
        const scope = yield* Effect.scope
        const dispatcher = Scope.extend(start("dispatcher", [`tape://${address}`, bank.url], onLine), scope)
        const running = [yield* dispatcher, yield* dispatcher]
        let killed = 0
        const killing = yield* Effect.gen(function* () {
          if (killed === kills.most) return yield* Effect.never
          yield* Effect.sleep("1 second")
          const victim = yield* random.nextIntBetween(0, running.length)
          yield* running[victim]?.kill ?? Effect.void
          killed += 1
          running[victim] = yield* dispatcher
        }).pipe(Effect.forever, Effect.forkScoped)

        // A killer that failed is told; otherwise it never ends.
        yield* Effect.raceFirst(
          Fiber.join(killing),
          eventually(
            "nothing is open",
            Effect.delay(
              Effect.map(tape.listPendingEffects({ limit: 10_000n }), ({ effects }) => effects.length),
              "100 millis"
            ),
            (open) => open === 0,
            "60 seconds"
          )
        )
        yield* Fiber.interrupt(killing)

        const story = `seed ${seed}, killed ${killed} times; ${[...said].map(([line, count]) => `${line}: ${count}`).join(", ")}`
        const booked = (yield* bank.ledger).map(({ businessKey }) => businessKey)
        const twice = booked.filter((wire, index) => booked.indexOf(wire) !== index)
        assert.deepStrictEqual(twice, [], story)
        assert.deepStrictEqual(booked.toSorted(), wires.toSorted(), story)
        const confirmed = (yield* statuses).filter((status) => status === "CONFIRMED")
        assert.lengthOf(confirmed, effects, story)
        assert.isAtLeast(killed, kills.least, story)
        // Dispatchers were killed in the middle: what they had sent was found by asking.
        assert.isAtLeast(said.get("confirmed observed") ?? 0, 1, story)
      }).pipe(Effect.scoped),
    { timeout: 90_000 }
  )
})
