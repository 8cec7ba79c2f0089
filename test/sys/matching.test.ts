import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { HandlerKind } from "effect-tape/proto"
import { eventually } from "../conformance/Expect.js"
import { collect, type Tape } from "../conformance/Fixtures.js"
import { temporaryDirectory } from "../support/Harness.js"
import { serve } from "./TapeProcess.js"

const kills = 10
const entries = 500
const namespace = "orders"
const subjectPattern = `/tape/value/changed/${namespace}/*`
const keys = Array.from({ length: entries }, (_, n) => `${n}`)

/** Writes each key once: one whose answer was lost is refused the second time. */
const write = (tape: Tape, key: string) =>
  Effect.catchTag(tape.writeValue({ namespace, key, valueJson: "1", ifVersion: 0n }), "Conflict", () => Effect.void)

const reactions = [
  { reactionId: "tasks", subjectPattern, handlerKind: HandlerKind.TASK, numShards: 4 },
  { reactionId: "agents", subjectPattern, handlerKind: HandlerKind.AGENT, agentApp: "agent" }
]

const tasksOf = (tape: Tape) => Effect.map(tape.listTasks({ reactionId: "tasks", limit: 10_000 }), ({ tasks }) => tasks)

describe("a server that is killed while it matches", () => {
  it.live(
    `makes exactly ${entries} tasks and ${entries} runs of ${entries} entries, through ${kills} SIGKILLs`,
    () =>
      Effect.gen(function* () {
        const file = join(yield* temporaryDirectory, "tape.db")
        const written = new Set<string>()
        const writeFirst = (tape: Tape, count: number) =>
          Effect.forEach(
            keys.slice(0, count).filter((key) => !written.has(key)),
            (key) => Effect.map(write(tape, key), () => written.add(key)),
            { concurrency: 8, discard: true }
          )
        for (let nth = 0; nth < kills; nth++) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { kill, tape } = yield* serve(file, "lean")
              if (nth === 0) yield* Effect.forEach(reactions, (reaction) => tape.registerReaction(reaction))
              const before = (yield* tasksOf(tape)).length
              const writing = yield* Effect.forkScoped(Effect.exit(writeFirst(tape, ((nth + 1) * entries) / kills)))
              // among its tasks, and not all of them at once
              yield* eventually("the matcher is at work", tasksOf(tape), (tasks) => tasks.length > before, "20 seconds")
              yield* Effect.sleep(Math.random() * 20)
              yield* kill
              yield* Fiber.join(writing)
            })
          )
        }
        const { tape } = yield* serve(file, "lean")
        yield* writeFirst(tape, entries)
        const tasks = yield* eventually(
          "every entry has its task",
          tasksOf(tape),
          (tasks) => tasks.length >= entries,
          "20 seconds"
        )
        const begun = yield* eventually(
          "every entry has its run",
          Effect.map(tape.listRunsToRecover({ limit: 10_000n }), ({ runs }) =>
            runs.filter((run) => run.appName === "agent")
          ),
          (runs) => runs.length >= entries,
          "20 seconds"
        )
        // what would come twice comes now
        yield* Effect.sleep("500 millis")
        assert.strictEqual((yield* tasksOf(tape)).length, entries)
        assert.strictEqual(new Set(tasks.map((task) => task.sourceGlobalSeq)).size, entries)
        assert.strictEqual(new Set(begun.map((run) => run.labels["tape.source_global_seq"])).size, entries)
        const last = yield* tape.beginRun({ appName: "last" })
        const journal = yield* collect(
          tape.subscribeBySubject({ subjectPattern: "/tape/run/running/**" }),
          (entry) => entry.runId === last.runId
        )
        assert.strictEqual(journal.length, entries + 1)
      }).pipe(Effect.scoped),
    { timeout: 120_000 }
  )
})
