/**
 * Calls per second on PostgreSQL and on SQLite, side by side in one run: `npx vite-node bench/postgres.ts`. Both are
 * fully durable. The database is the one at TAPE_BENCH_URL, or one started from npm's binaries.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { performance } from "node:perf_hooks"
import { Context, Effect, Layer, type Scope } from "effect"
import { Client, type TapeClient } from "effect-tape"
import { Engine, type StoreError } from "effect-tape/engine"
import { EffectStatus } from "effect-tape/proto"
import * as Postgres from "../test/support/Postgres.js"

type Tape = Context.Tag.Service<TapeClient>

const seconds = Number(process.env["TAPE_BENCH_SECONDS"] ?? 4)

const open = (url: string): Effect.Effect<Tape, StoreError, Scope.Scope> =>
  Effect.map(Layer.build(Engine.layerUrl(url)), (context) => Client.fromHandlers(Context.get(context, Engine.Engine)))

/** A run of one durable step: four calls that write, one after another. */
const step = (tape: Tape) =>
  Effect.gen(function* () {
    const { runId } = yield* tape.beginRun({ appName: "bench", invocationId: crypto.randomUUID() })
    yield* tape.recordDecision({ runId, model: "m", responseJson: "{}" })
    const { idempotencyKey } = yield* tape.beginEffect({ runId, toolName: "t", requestJson: payload })
    yield* tape.completeEffect({ runId, idempotencyKey, status: EffectStatus.CONFIRMED, responseJson: payload })
    return 4
  })

const payload = JSON.stringify({ text: "x".repeat(180) })

const measure = (name: string, callers: number, call: Effect.Effect<number, unknown>) =>
  Effect.gen(function* () {
    const loop = (until: number) =>
      Effect.iterate(0, {
        while: () => performance.now() < until,
        body: (done) => Effect.map(call, (more) => done + more)
      })
    const both = (duration: number) =>
      Effect.map(
        Effect.all(
          Array.from({ length: callers }, () => loop(performance.now() + duration)),
          { concurrency: "unbounded" }
        ),
        (counts) => counts.reduce((sum, count) => sum + count, 0)
      )
    yield* both(500)
    const cpu = process.cpuUsage()
    const start = performance.now()
    const calls = yield* both(seconds * 1000)
    const elapsed = (performance.now() - start) / 1000
    const { system, user } = process.cpuUsage(cpu)
    console.log(
      `${name.padEnd(34)} ${String(callers).padStart(3)} callers  ${Math.round(calls / elapsed)} calls/s  ` +
        `${Math.round((system + user) / calls)} µs of CPU a call`
    )
  })

const main = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "tape-bench-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  )
  const url =
    process.env["TAPE_BENCH_URL"] ??
    (yield* Effect.flatMap(Postgres.make({ fsync: true }), ({ freshDatabase }) => freshDatabase))
  const stores = { PostgreSQL: yield* open(url), SQLite: yield* open(`sqlite:${join(folder, "tape.db")}`) }
  for (const [name, tape] of Object.entries(stores)) {
    const { runId } = yield* tape.beginRun({ appName: "bench" })
    for (const callers of [1, 64]) {
      yield* measure(`${name}, writes`, callers, step(tape))
      yield* measure(`${name}, reads`, callers, Effect.as(tape.getRun({ runId }), 1))
    }
  }
})

await Effect.runPromise(Effect.scoped(main))
