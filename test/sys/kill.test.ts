import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { eventually } from "../conformance/Expect.js"
import { collect } from "../conformance/Fixtures.js"
import { temporaryDirectory } from "../support/Harness.js"
import { type Program, serve } from "./TapeProcess.js"
import { verify, type Work, work } from "./Workload.js"

const lives = 50
const lanes = 2
const workers = 6

/** One life: what earlier lives were promised is looked at, then new work is done until the server is killed in it. */
const life = (file: string, program: Program, before: ReadonlyArray<Work>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { kill, tape } = yield* serve(file, program)
      yield* Effect.forEach(before, (done) => verify(tape, done), { discard: true })
      const now = Array.from(
        { length: workers },
        (): Work => ({
          runId: "",
          charged: 0n,
          unanswered: 0n,
          seqs: new Map(),
          promised: []
        })
      )
      const working = yield* Effect.forkScoped(
        Effect.forEach(now, (done) => Effect.exit(work(tape, done)), { concurrency: "unbounded" })
      )
      // a moment among acknowledged calls, not while the connection is still being made
      yield* eventually(
        "a call is acknowledged",
        Effect.sync(() => now.some((done) => done.promised.length > 0)),
        (any) => any
      )
      yield* Effect.sleep(Math.random() * 40)
      yield* kill
      yield* Fiber.join(working)
      return now
    })
  )

/** The whole journal in order: global_seq rises, and each run's seq has neither gap nor repeat. */
const scan = (file: string, all: ReadonlyArray<Work>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { tape } = yield* serve(file)
      yield* Effect.forEach(all, (done) => verify(tape, done), { discard: true })
      const last = yield* tape.beginRun({ appName: "last" })
      const entries = yield* collect(
        tape.subscribeBySubject({ subjectPattern: "/tape/**" }),
        (entry) => entry.runId === last.runId
      )
      const cursors = new Map<string, bigint>()
      let globalSeq = 0n
      for (const entry of entries) {
        assert.isTrue(entry.globalSeq > globalSeq)
        globalSeq = entry.globalSeq
        assert.strictEqual(entry.seq, (cursors.get(entry.runId) ?? 0n) + 1n)
        cursors.set(entry.runId, entry.seq)
      }
      return entries.length
    })
  )

describe("tape serve", () => {
  it.live(
    `keeps what it acknowledged through ${lives * lanes} SIGKILLs at random moments`,
    () =>
      Effect.gen(function* () {
        const directory = yield* temporaryDirectory
        const promises = yield* Effect.forEach(
          Array.from({ length: lanes }, (_, lane) => join(directory, `tape-${lane}.db`)),
          (file) =>
            Effect.gen(function* () {
              const all: Array<Work> = []
              let before: ReadonlyArray<Work> = []
              for (let n = 0; n < lives; n++) {
                before = yield* life(file, n % 25 === 0 ? "tape serve" : "lean", before)
                all.push(...before)
              }
              const entries = yield* scan(file, all)
              const promised = all.flatMap((done) => done.promised).length
              assert.isTrue(entries > promised / 2)
              return promised
            }),
          { concurrency: lanes }
        )
        for (const promised of promises) assert.isTrue(promised > lives, `only ${promised} answers were acknowledged`)
      }).pipe(Effect.scoped),
    { timeout: 400_000 }
  )
})
