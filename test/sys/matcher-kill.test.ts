import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Effect } from "effect"
import { HandlerKind } from "effect-tape/proto"
import { eventually } from "../conformance/Expect.js"
import { temporaryDirectory } from "../support/Harness.js"
import { serve } from "./TapeProcess.js"

type Tape = Effect.Effect.Success<ReturnType<typeof serve>>["tape"]

const entries = 500
const kills = 10
const perLife = 10
const reactions = ["r0", "r1", "r2", "r3"]

const register = (tape: Tape) => {
  const common = { subjectPattern: "/tape/value/changed/n/*", predicateCel: 'payload.namespace == "n"' }
  const agent = { ...common, reactionId: "agent", handlerKind: HandlerKind.AGENT, agentApp: "followup" }
  return Effect.zipRight(
    tape.registerReaction(agent),
    Effect.forEach(reactions, (reactionId) =>
      tape.registerReaction({ ...common, reactionId, handlerKind: HandlerKind.TASK })
    )
  )
}

/** Writes each key once: one that an earlier life may have written is only written if it is not there. */
const writeAll = (tape: Tape, keys: ReadonlyArray<string>) =>
  Effect.forEach(
    keys,
    (key) =>
      tape
        .writeValue({ namespace: "n", key, valueJson: "1", ifVersion: 0n })
        .pipe(Effect.catchTag("Conflict", () => Effect.void)),
    { concurrency: 5, discard: true }
  )

/** How many tasks are missing in what a dead server has left behind. */
const missing = (file: string): number => {
  const db = new Database(file)
  const count = (from: string) => Number(db.prepare(`select count(*) from ${from}`).pluck().get())
  const behind = reactions.length * count("journal where subject like '/tape/value/%'") - count("tasks")
  db.close()
  return behind
}

describe("tape serve", () => {
  it.live(
    `killed ${kills} times while it matches ${entries} entries makes ${entries} tasks and ${entries} runs`,
    () =>
      Effect.gen(function* () {
        const file = join(yield* temporaryDirectory, "tape.db")
        yield* Effect.scoped(Effect.flatMap(serve(file), ({ tape }) => register(tape)))
        const keys = Array.from({ length: entries }, (_, index) => `k${index}`)
        // Only a server that died with tasks left to make was killed while it matched; others are killed for nothing.
        let killed = 0
        for (let life = 1; killed < kills && life * perLife <= entries; life++) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { kill, tape } = yield* serve(file)
              const fresh = keys.slice((life - 1) * perLife, life * perLife)
              // As soon as some writes are acknowledged, their entries are being matched.
              yield* writeAll(tape, fresh.slice(0, perLife / 2))
              yield* Effect.forkScoped(Effect.exit(writeAll(tape, fresh)))
              yield* kill
            })
          )
          killed += missing(file) > 0 ? 1 : 0
        }
        assert.strictEqual(killed, kills)

        yield* Effect.scoped(
          Effect.gen(function* () {
            const { tape } = yield* serve(file)
            yield* writeAll(tape, keys)
            for (const reactionId of reactions) {
              const { tasks } = yield* eventually(
                "every entry has its task",
                tape.listTasks({ reactionId, limit: 10_000 }),
                ({ tasks }) => tasks.length >= entries,
                "20 seconds"
              )
              assert.lengthOf(tasks, entries)
              assert.strictEqual(new Set(tasks.map(({ subject }) => subject)).size, entries)
            }
            const { runs } = yield* eventually(
              "every entry has its run",
              tape.listRunsToRecover({ limit: 10_000n }),
              ({ runs }) => runs.length >= entries,
              "20 seconds"
            )
            assert.lengthOf(runs, entries)
            assert.strictEqual(new Set(runs.map(({ invocationId }) => invocationId)).size, entries)
          })
        )
      }).pipe(Effect.scoped),
    { timeout: 120_000 }
  )
})
