/** Section P, embedded: what an engine in the program may forget. Pruning takes the whole store, so each has its own. */
import * as assert from "node:assert/strict"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { TapeClient } from "effect-tape"
import { Retention } from "effect-tape/engine"
import { EffectResolution, EffectStatus, ObligationStatus, RunStatus } from "effect-tape/proto"
import { type World, world } from "./Fixtures.js"

export interface Embedded {
  readonly id: string
  readonly title: string
  readonly run: Effect.Effect<void, unknown, TapeClient | Retention.Retention>
}

type Body = (w: World, retention: Effect.Effect.Success<typeof Retention.Retention>) => Effect.Effect<void, unknown>

const embedded = (id: string, title: string, body: Body): Embedded => ({
  id,
  title,
  run: Effect.flatMap(Effect.all([world, Retention.Retention]), ([w, retention]) => body(w, retention))
})

/** An effect of the run, settled with its own name as the response. */
const settle = (w: World, runId: string, tool: string, status: number = EffectStatus.CONFIRMED) =>
  Effect.gen(function* () {
    const { idempotencyKey } = yield* w.effect(runId, 0, tool, 0)
    yield* w.complete(runId, idempotencyKey, status, `"${tool}"`)
    return idempotencyKey
  })

const isThere = (w: World, runId: string, idempotencyKey: string) =>
  Effect.map(w.tape.getEffect({ runId, idempotencyKey }), ({ found }) => found)

/** Everything before now is older than no time at all. */
const pruneAll = (retention: Effect.Effect.Success<typeof Retention.Retention>) =>
  Effect.zipRight(Effect.sleep("5 millis"), retention.prune({ effects: 0 }))

export const embeddedScenarios: ReadonlyArray<Embedded> = [
  embedded("EMB-02", "settled effects of finished runs go, and leave their business keys", (w, retention) =>
    Effect.gen(function* () {
      const finished = yield* w.run("finished")
      const settled = [
        yield* settle(w, finished, "confirmed"),
        yield* settle(w, finished, "failed", EffectStatus.FAILED),
        (yield* w.out(finished, "wire-1")).idempotencyKey
      ]
      yield* w.observe(finished, settled[2] ?? "", EffectResolution.CONFIRMED, { responseJson: '"w1"' })
      const open = [
        yield* settle(w, finished, "unknown", EffectStatus.UNKNOWN),
        (yield* w.effect(finished, 0, "pending", 0)).idempotencyKey
      ]
      yield* w.endRun(finished, RunStatus.TERMINAL)
      const unfinished = yield* w.run("unfinished")
      const kept = yield* settle(w, unfinished, "confirmed")

      const fresh = yield* retention.prune({ effects: "1 hour" })
      assert.deepEqual([fresh.effects, fresh.runs], [0, 0], "what is fresh is kept")
      const pruned = yield* pruneAll(retention)
      assert.deepEqual([pruned.effects, pruned.runs, pruned.businessKeys], [3, 1, 1])
      for (const key of settled) assert.equal(yield* isThere(w, finished, key), false, key)
      for (const key of open) assert.equal(yield* isThere(w, finished, key), true, key)
      assert.equal(yield* isThere(w, unfinished, kept), true)
      const again = yield* pruneAll(retention)
      assert.deepEqual([again.effects, again.runs, again.businessKeys], [0, 0, 0])

      const other = yield* w.run("other")
      assert.equal((yield* w.out(other, "wire-1")).status, EffectStatus.CONFIRMED, "the wire is not sent again")
      assert.deepEqual(yield* w.dispatchable(), [])
    })
  ),

  embedded("EMB-03", "what an open obligation would undo stays; a STUCK one stays for ever", (w, retention) =>
    Effect.gen(function* () {
      const runId = yield* w.run("a")
      const [undone, stuck] = [yield* settle(w, runId, "undone"), yield* settle(w, runId, "stuck")]
      const owed = yield* w.register(runId, undone, "undo")
      const hopeless = yield* w.register(runId, stuck, "undo")
      yield* w.claimObligation(runId, hopeless.seq, "A")
      yield* w.resolve(runId, hopeless.seq, ObligationStatus.STUCK)
      yield* w.endRun(runId, RunStatus.FAILED)
      yield* pruneAll(retention)
      assert.equal(yield* isThere(w, runId, undone), true, "its obligation is PENDING")
      yield* w.claimObligation(runId, owed.seq, "A")
      yield* pruneAll(retention)
      assert.equal(yield* isThere(w, runId, undone), true, "its obligation is COMMITTED")
      yield* w.resolve(runId, owed.seq, ObligationStatus.COMPENSATED)
      const pruned = yield* pruneAll(retention)
      assert.equal(pruned.obligations, 1)
      assert.equal(yield* isThere(w, runId, undone), false)
      const left = yield* w.obligations(runId)
      assert.deepEqual(
        left.map(({ seq, status }) => [seq, status]),
        [[hopeless.seq, ObligationStatus.STUCK]]
      )
    })
  ),

  embedded("EMB-05", "what is pruned is answered from the snapshot, and brings no row back", (w, retention) =>
    Effect.gen(function* () {
      const runId = yield* w.run("a")
      const first = yield* settle(w, runId, "first")
      yield* Effect.sleep("5 millis")
      const until = yield* DateTime.now
      yield* Effect.sleep("5 millis")
      const second = yield* settle(w, runId, "second")
      yield* w.effect(runId, 0, "pending", 0)
      assert.equal((yield* pruneAll(retention)).effects, 0, "no snapshot, no pruning of a run that goes on")

      assert.equal((yield* retention.snapshot({ runId, until })).taken, 1, "up to the time")
      assert.equal((yield* pruneAll(retention)).effects, 1)
      assert.equal(yield* isThere(w, runId, second), true)
      const all = yield* retention.snapshot({ runId })
      assert.deepEqual([all.taken, all.held], [1, 0], "snapshots accumulate, and take only what is settled")
      const both = yield* w.effect(runId, 0, "second", 0)
      assert.deepEqual([both.status, both.responseJson], [EffectStatus.CONFIRMED, '"second"'])
      assert.equal((yield* pruneAll(retention)).effects, 1)

      for (const [tool, key] of [
        ["first", first],
        ["second", second]
      ] as const) {
        const begun = yield* w.effect(runId, 0, tool, 0)
        assert.deepEqual(
          [begun.idempotencyKey, begun.status, begun.responseJson],
          [key, EffectStatus.CONFIRMED, `"${tool}"`]
        )
      }
      assert.equal((yield* pruneAll(retention)).effects, 0, "there is no row again")
      assert.equal((yield* w.effect(runId, 0, "pending", 0)).status, EffectStatus.PENDING)
    })
  )
]
