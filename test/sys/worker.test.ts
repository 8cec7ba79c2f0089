import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { eventually } from "../conformance/Expect.js"
import { temporaryDirectory } from "../support/Harness.js"
import { start } from "./Program.js"
import { serve } from "./TapeProcess.js"

const kills = 5
const perLife = 70

describe("a relay, a reaction and timers in one process", () => {
  it.live(
    `killed ${kills} times at work leave no entry out, no task unhandled, no timer behind`,
    () =>
      Effect.gen(function* () {
        const { address, tape } = yield* serve(join(yield* temporaryDirectory, "tape.db"), "lean")
        const { runId } = yield* tape.beginRun({ appName: "w", leaseTtlMs: 600_000n })
        const said: Record<string, Array<string>> = { entry: [], task: [], timer: [] }
        const onLine = (line: string) => {
          const [kind = "", what = ""] = line.split(" ")
          said[kind]?.push(what)
        }
        const done = (kind: string) => new Set(said[kind]).size
        const give = (life: number) =>
          Effect.forEach(
            Array.from({ length: perLife }, (_, index) => `${life}-${index}`),
            (name) =>
              Effect.zip(
                tape.writeValue({ namespace: "n", key: name, valueJson: "1", ifVersion: -1n }),
                tape.setTimer({ runId, timerId: name, kind: "remind", fireAtMs: BigInt(Date.now()) })
              ),
            { concurrency: 10, discard: true }
          )
        const worker = start("worker", [`tape://${address}`], onLine)

        const openAtDeath: Array<ReadonlyArray<number>> = []
        for (let life = 1; life <= kills; life++) {
          yield* give(life)
          yield* Effect.scoped(
            Effect.gen(function* () {
              const before = { entry: said["entry"]?.length, task: said["task"]?.length, timer: said["timer"]?.length }
              const { kill } = yield* worker
              const progressed = (kind: keyof typeof before) => (said[kind]?.length ?? 0) - (before[kind] ?? 0) > 5
              yield* eventually(
                "all three are at work",
                Effect.sync(() => progressed("entry") && progressed("task") && progressed("timer")),
                (all) => all,
                "15 seconds"
              )
              yield* kill
            })
          )
          openAtDeath.push(["entry", "task", "timer"].map((kind) => life * perLife - done(kind)))
        }
        // Nearly always each of the three had work left: they were killed in the midst of it.
        const inTheMidst = openAtDeath.filter((left) => left.every((open) => open > 0))
        assert.isAtLeast(inTheMidst.length, 3, JSON.stringify(openAtDeath))

        const given = kills * perLife
        yield* worker
        yield* eventually(
          "everything is done",
          Effect.sync(() => ({ entry: done("entry"), task: done("task"), timer: done("timer") })),
          ({ entry, task, timer }) => Math.min(entry, task, timer) >= given,
          "20 seconds"
        )
        const journal = yield* tape
          .subscribeBySubject({ subjectPattern: "/tape/value/changed/n/*" })
          .pipe(Stream.take(given), Stream.runCollect)
        // In order, with repeats only of what the cursor had not passed.
        assert.deepStrictEqual(
          [...new Set(said["entry"])],
          Array.from(journal, ({ globalSeq }) => String(globalSeq))
        )
        assert.isBelow(said["entry"]?.length ?? 0, given + kills * 16)
        const { timers } = yield* eventually(
          "every timer is acknowledged",
          tape.listDueTimers({ nowMs: BigInt(Date.now()), limit: 10_000n }),
          ({ timers }) => timers.length === 0
        )
        assert.lengthOf(timers, 0)
      }).pipe(Effect.scoped),
    { timeout: 90_000 }
  )
})
