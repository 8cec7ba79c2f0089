import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { TapeClient } from "effect-tape"
import { HandlerKind } from "effect-tape/proto"
import { react, tasks, tasksWhen } from "../fixtures/matcher-tape.js"
import * as Postgres from "../support/Postgres.js"
import { eventually } from "./ledgerFixtures.js"
import { openTapes, type Tape } from "./postgres/fixtures.js"

const writeMany = (tape: Tape, prefix: string, count: number) =>
  Effect.forEach(
    Array.from({ length: count }, (_, index) => `${prefix}${index % 25}`),
    (key) => tape.writeValue({ namespace: "n", key, valueJson: "1", ifVersion: -1n }),
    { concurrency: 8, discard: true }
  )

/** Claims until nothing is left; answers what it got. */
const claimAll = (tape: Tape, owner: string) =>
  Effect.gen(function* () {
    const claimed: Array<string> = []
    for (;;) {
      const { tasks } = yield* tape.claimTasks({ reactionId: "r", shard: -1, owner, max: 7 })
      if (tasks.length === 0) {
        return claimed
      }
      claimed.push(...tasks.map(({ taskId }) => taskId))
    }
  })

layer(Postgres.layer(), { excludeTestServices: true, timeout: "60 seconds" })("reactions on PostgreSQL", (it) => {
  it.scoped("two servers match every entry once, and hand out every task once", () =>
    Effect.gen(function* () {
      const [one, two] = (yield* openTapes(2)).tapes as [Tape, Tape]
      const onOne = Effect.provideService(TapeClient, one)
      yield* react().pipe(onOne)
      yield* react({ reactionId: "debounced", debounceMs: 60_000 }).pipe(onOne)
      yield* react({ reactionId: "agent", handlerKind: HandlerKind.AGENT, agentApp: "followup" }).pipe(onOne)
      yield* Effect.all([writeMany(one, "x", 200), writeMany(two, "y", 200)], { concurrency: 2 })

      const found = yield* tasksWhen(400).pipe(onOne)
      assert.lengthOf(found, 400)
      assert.strictEqual(new Set(found.map(({ sourceGlobalSeq }) => sourceGlobalSeq)).size, 400)
      const { runs } = yield* eventually(one.listRunsToRecover({ limit: 1000n }), ({ runs }) => runs.length >= 400)
      assert.lengthOf(runs, 400)
      yield* eventually(
        tasks("debounced").pipe(onOne),
        (found) => found.at(-1) !== undefined && found.some((task) => task.sourceGlobalSeq === lastOf(runs))
      )
      assert.lengthOf(yield* tasks("debounced").pipe(onOne), 50)

      const claimed = yield* Effect.all(
        ["A", "B", "C", "D"].flatMap((owner) => [claimAll(one, `${owner}1`), claimAll(two, `${owner}2`)]),
        { concurrency: "unbounded" }
      )
      // Who finds all rows locked by others may stop early.
      const all = [...claimed.flat(), ...(yield* claimAll(one, "last"))]
      assert.lengthOf(all, 400)
      assert.strictEqual(new Set(all).size, 400)
    })
  )
})

/** The newest entry that a run was begun for. */
const lastOf = (runs: ReadonlyArray<{ readonly labels: { readonly [name: string]: string } }>): bigint =>
  runs
    .map(({ labels }) => BigInt(labels["tape.source_global_seq"]!))
    .reduce((left, right) => (left > right ? left : right))
