import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Chunk, Effect, Stream } from "effect"
import { TapeClient } from "effect-tape"
import { EffectStatus, RunStatus } from "effect-tape/proto"
import { migrations } from "../../src/engine/store/sqlite/migrations.js"
import { tapeAt } from "./ledgerFixtures.js"

/** A tape that an engine of schema version 1 wrote. */
const first = Fs.readFileSync(new URL("../fixtures/schema-1.sql", import.meta.url), "utf8")

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tape-test-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))
)

const withDatabase = <A>(path: string, use: (db: Database.Database) => A): A => {
  const db = new Database(path)
  try {
    return use(db)
  } finally {
    db.close()
  }
}

const schemaOf = (db: Database.Database) =>
  db.prepare("select type, name, sql from sqlite_master where sql is not null order by type, name").all()

/** The schema that the first steps make. */
const schemaAfter = (steps: number) =>
  withDatabase(":memory:", (db) => {
    migrations.slice(0, steps).forEach((step) => db.exec(step))
    return schemaOf(db)
  })

/** A tape as it was at a version, with what version 1 wrote. */
const tapeOf = (path: string, version: number): void =>
  withDatabase(path, (db) => {
    db.exec(first)
    migrations.slice(1, version).forEach((step) => db.exec(step))
    db.pragma(`user_version = ${version}`)
  })

describe("migrations", () => {
  it("the first step is what version 1 was", () => {
    assert.deepStrictEqual(
      withDatabase(":memory:", (db) => {
        db.exec(first)
        return schemaOf(db)
      }),
      schemaAfter(1)
    )
  })

  for (let version = 1; version <= migrations.length; version++) {
    it.scoped(`from version ${version}: everything is there, and everything works`, () =>
      Effect.gen(function* () {
        const path = `${yield* folder}/tape.db`
        tapeOf(path, version)
        yield* Effect.gen(function* () {
          const tape = yield* TapeClient
          const invocation = { appName: "app", userId: "u", sessionId: "s" }
          const { resumed, runId } = yield* tape.beginRun({ ...invocation, invocationId: "1" })
          assert.isTrue(resumed)
          const run = yield* tape.getRun({ runId })
          assert.deepStrictEqual([run.scopes, run.labels], [["pay"], { a: "é" }])
          assert.strictEqual(
            (yield* tape.getDecision({ runId, decisionIndex: 0n })).decision?.responseJson,
            '{"n":1.0}'
          )
          const done = yield* tape.beginEffect({ runId, toolName: "t", customKey: "e" })
          assert.deepStrictEqual([done.status, done.responseJson], [EffectStatus.CONFIRMED, '"ok"'])
          assert.strictEqual(
            (yield* tape.listEffectsToDispatch({ connector: "bank", nowMs: 2_000_000_000_000n })).effects.length,
            1
          )
          assert.strictEqual((yield* tape.listObligations({ runId })).obligations.length, 1)
          assert.isTrue((yield* tape.awaitSignal({ runId, gateName: "g" })).delivered)
          const before = yield* tape.subscribeEvents({}).pipe(Stream.take(10), Stream.runCollect)
          assert.deepStrictEqual(
            Chunk.toReadonlyArray(before).map(({ globalSeq }) => globalSeq),
            Array.from({ length: 10 }, (_, index) => BigInt(index + 1))
          )
          // What later versions brought works beside it.
          assert.strictEqual((yield* tape.writeValue({ namespace: "n", key: "k", valueJson: "1" })).version, 1n)
          yield* tape.appendEvent({ ...invocation, event: { id: "1" } })
          const { runId: other } = yield* tape.beginRun({ ...invocation, invocationId: "2" })
          assert.strictEqual((yield* tape.getRun({ runId: other })).status, RunStatus.TERMINAL)
          yield* tape.compactRun({ runId: other })
        }).pipe(Effect.provide(tapeAt(`sqlite:${path}`)))
        withDatabase(path, (db) => {
          assert.strictEqual(db.pragma("user_version", { simple: true }), migrations.length)
          assert.deepStrictEqual(schemaOf(db), schemaAfter(migrations.length))
        })
      })
    )
  }
})
