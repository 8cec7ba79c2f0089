import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { Effect } from "effect"
import { TapeClient } from "effect-tape"
import { migrations } from "../../src/engine/store/sqlite/migrations.js"
import { first, rowsOf, serves } from "./earlierTapes.js"
import { tapeAt } from "./ledgerFixtures.js"

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

/** A tape as it was at a version, with what that version and those before it wrote. */
const tapeOf = (path: string, version: number): void =>
  withDatabase(path, (db) => {
    db.exec(first)
    migrations.slice(1, version).forEach((step, index) => {
      db.exec(step)
      db.exec(rowsOf(index + 2))
    })
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
          yield* serves(yield* TapeClient, version)
        }).pipe(Effect.provide(tapeAt(`sqlite:${path}`)))
        withDatabase(path, (db) => {
          assert.strictEqual(db.pragma("user_version", { simple: true }), migrations.length)
          assert.deepStrictEqual(schemaOf(db), schemaAfter(migrations.length))
        })
      })
    )
  }
})
