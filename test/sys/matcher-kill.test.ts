import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Deferred, Effect } from "effect"
import { HandlerKind } from "effect-tape/proto"
import { eventually } from "../conformance/Expect.js"
import { temporaryDirectory } from "../support/Harness.js"
import { serve } from "./TapeProcess.js"

type Tape = Effect.Effect.Success<ReturnType<typeof serve>>["tape"]

const entries = 500
const kills = 10
const perLife = 20
const reactions = ["r0", "r1", "r2", "r3"]

/** True of every entry, after a while: a kill is to fall into the matching. */
const numbers = `[${Array.from({ length: 8 }, (_, n) => n).join(", ")}]`
const predicateCel = `payload.namespace == "n" && ${numbers}.all(a, ${numbers}.all(b, a + b >= 0))`

const register = (tape: Tape) => {
  const common = { subjectPattern: "/tape/value/changed/n/*", predicateCel }
  const agent = { ...common, reactionId: "agent", handlerKind: HandlerKind.AGENT, agentApp: "followup" }
  return Effect.zipRight(
    tape.registerReaction(agent),
    Effect.forEach(reactions, (reactionId) =>
      tape.registerReaction({ ...common, reactionId, handlerKind: HandlerKind.TASK })
    )
  )
}

/** Writes each key once: one that an earlier life may have written is only written if it is not there. */
const writeAll = (tape: Tape, keys: ReadonlyArray<string>, onWritten: Effect.Effect<unknown> = Effect.void) =>
  Effect.forEach(
    keys,
    (key) =>
      tape.writeValue({ namespace: "n", key, valueJson: "1", ifVersion: 0n }).pipe(
        Effect.catchTag("Conflict", () => Effect.void),
        Effect.zipRight(onWritten)
      ),
    { concurrency: perLife, discard: true }
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
        yield* Effect.scoped(Effect.flatMap(serve(file, "lean"), ({ tape }) => register(tape)))
        const keys = Array.from({ length: entries }, (_, index) => `k${index}`)
        // Only a server that died with tasks left to make was killed while it matched; others are killed for nothing.
        let killed = 0
        // After the first answer, in milliseconds: longer until a kill comes too late, then shorter again.
        let wait = 20
        for (let life = 1; killed < kills && life * perLife <= entries; life++) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { kill, tape } = yield* serve(file, "lean")
              const fresh = keys.slice((life - 1) * perLife, life * perLife)
              // As soon as one of many writes at once is acknowledged, their entries are being matched.
              const first = yield* Deferred.make<void>()
              yield* Effect.forkScoped(Effect.exit(writeAll(tape, fresh, Deferred.succeed(first, undefined))))
              yield* Deferred.await(first)
              yield* Effect.sleep(wait)
              yield* kill
            })
          )
          const hits = missing(file) > 0
          killed += hits ? 1 : 0
          wait *= hits ? 1.5 : 0.5
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
