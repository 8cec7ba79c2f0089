/**
 * Two servers, each a process of its own, on one PostgreSQL; 32 writers on connections of their own; 3 readers that
 * follow from their cursors, and lose their streams now and then. At the end each reader's sequence must equal the
 * journal, exactly: `npm run compile && TAPE_SECONDS=60 npx vite-node bench/order.ts`.
 */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Effect, Fiber, Schedule, Stream } from "effect"
import { Client } from "effect-tape"
import * as Postgres from "../test/support/Postgres.js"

const seconds = Number(process.env["TAPE_SECONDS"] ?? 60)
const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url))

const serve = (store: string) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [main, "serve", "--listen", "127.0.0.1:0", "--store", store], {
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGTERM"))
  ).pipe(
    Effect.flatMap((child) =>
      Effect.async<string>((resume) => {
        child.stdout.on("data", (chunk: Buffer) => {
          const address = /listening on (\S+:\d+)/.exec(chunk.toString())?.[1]
          if (address !== undefined) {
            resume(Effect.succeed(`tape://${address}`))
          }
        })
      })
    )
  )

const program = Effect.gen(function* () {
  const postgres = yield* Postgres.make({ fsync: true })
  const database = yield* postgres.freshDatabase
  const urls = yield* Effect.all([serve(database), serve(database)], { concurrency: 2 })
  const connect = (index: number) => Client.makeGrpc({ url: urls[index % urls.length]! })
  const until = performance.now() + seconds * 1000
  const isOver = () => performance.now() >= until

  const readers = yield* Effect.forEach([0, 1, 2], (reader) =>
    Effect.gen(function* () {
      const tape = yield* connect(reader)
      const seen: Array<string> = []
      let cursor = 0n
      const follow = Effect.suspend(() =>
        tape.subscribeEvents({ fromGlobalSeq: cursor }).pipe(
          Stream.take(500 + 700 * reader),
          Stream.runForEach((entry) =>
            Effect.sync(() => {
              cursor = entry.globalSeq
              seen.push(`${entry.globalSeq} ${entry.runId} ${entry.seq} ${entry.tsMs}`)
            })
          )
        )
      )
      const fiber = yield* Effect.fork(Effect.forever(follow))
      return { seen, fiber }
    })
  )

  const writer = (index: number) =>
    Effect.gen(function* () {
      const tape = yield* connect(index)
      let calls = 0
      for (let run = 0; !isOver(); run++) {
        const { runId } = yield* tape.beginRun({ appName: "order", invocationId: `${index}/${run}` })
        for (let step = 0n; step < 20n && !isOver(); step++) {
          yield* tape.recordDecision({ runId, decisionIndex: step })
          const { idempotencyKey } = yield* tape.beginEffect({ runId, decisionIndex: step, toolName: "t" })
          yield* tape.completeEffect({ runId, idempotencyKey, status: 2 })
          calls += 3
        }
      }
      return calls
    })
  const writers = yield* Effect.fork(
    Effect.forEach(
      Array.from({ length: 32 }, (_, index) => index),
      writer,
      { concurrency: "unbounded" }
    )
  )
  const calls = (yield* Fiber.join(writers)).reduce((sum, each) => sum + each, 0)
  const rows = yield* postgres.query(
    database,
    "select global_seq || ' ' || run_id || ' ' || seq || ' ' || ts_ms as line from journal j order by j.global_seq"
  )
  const scan = rows.map(({ line }) => String(line))
  const gaps = scan.filter((line, index) => !line.startsWith(`${index + 1} `)).length
  console.log(`${calls} calls acknowledged in ${seconds} s, ${scan.length} entries, ${gaps} gaps`)
  for (const [index, { fiber, seen }] of readers.entries()) {
    yield* Effect.void.pipe(
      Effect.repeat({ until: () => seen.length >= scan.length, schedule: Schedule.spaced("20 millis") }),
      Effect.timeoutOption("20 seconds")
    )
    yield* Fiber.interrupt(fiber)
    const isEqual = seen.length === scan.length && seen.every((line, at) => line === scan[at])
    console.log(`reader ${index}: ${seen.length} entries, ${isEqual ? "equal to the scan" : "NOT EQUAL to the scan"}`)
    if (!isEqual || gaps > 0) {
      process.exitCode = 1
    }
  }
})

await Effect.runPromise(Effect.scoped(program))
