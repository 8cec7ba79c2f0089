/**
 * The schema of a tape on PostgreSQL: the steps of the SQLite schema, word for word but for the types. Both databases
 * read the rest of that SQL alike, so there is one history, one version number, and nothing to keep in step by hand.
 */
import * as Effect from "effect/Effect"
import { StoreError } from "../../StoreError.js"
import { migrations } from "../sqlite/migrations.js"
import type { Failure } from "./failure.js"
import type { Pool, Session } from "./Pool.js"
import { command, prepare } from "./Statement.js"

/**
 * Text compares byte by byte, as in SQLite, whatever the database's locale. All whole numbers are bigints: a condition
 * such as `fired = 0` then means the same in both.
 */
export const toPostgres = (step: string): string =>
  step
    .replace(/\binteger\b/g, "bigint")
    .replace(/\breal\b/g, "double precision")
    .replace(/\btext\b/g, 'text collate "C"')
    .replace(/\)\s*strict(?:,\s*without rowid)?\s*;/g, ");")
    .replace(/\)\s*without rowid(?:,\s*strict)?\s*;/g, ");")

/**
 * Checks a database and brings its schema up to date; servers that start at once take turns. Answers the channel on
 * which its servers tell each other of new entries.
 */
export const prepareDatabase = (pool: Pool, url: string): Effect.Effect<string, StoreError | Failure> =>
  pool.use((session) =>
    Effect.gen(function* () {
      const [encoding, serverVersion] = (yield* session.run([command(server)]))[0]![0]!
      if (encoding !== "UTF8") {
        return yield* refuse(url, "InvalidUrl", `the database is in ${encoding}; a tape needs UTF8`)
      }
      if (Number(serverVersion) < oldestServer) {
        return yield* refuse(url, "InvalidUrl", "PostgreSQL 13 is the oldest that works")
      }
      yield* Effect.tapError(migrate(session, url), () => Effect.sync(() => session.finish(sql("rollback"))))
      return (yield* session.run([command(channel)]))[0]![0]![0]!
    })
  )

const oldestServer = 130_000
const server = prepare("select current_setting('server_encoding'), current_setting('server_version_num')")

/** One tape per schema: its own table's number keeps the notifications of several in one database apart. */
const channel = prepare("select 'tape_' || 'journal'::regclass::oid")

const refuse = (url: string, reason: StoreError["reason"], detail: string) => new StoreError({ reason, url, detail })

const sql = (text: string) => command(prepare(text))

const migrate = Effect.fnUntraced(function* (session: Session, url: string) {
  yield* session.run([
    sql("begin isolation level read committed read write"),
    // The key is `tape` in ASCII.
    sql("select pg_advisory_xact_lock(1952542821)")
  ])
  yield* session.run([
    sql("create table if not exists tape_schema (version bigint not null)"),
    sql(`create table if not exists tape_servers (
      id text not null primary key, mark bigint not null, seen_at timestamptz not null) with (fillfactor = 50)`)
  ])
  const [rows] = yield* session.run([sql("select coalesce(max(version), 0) from tape_schema")])
  const version = Number(rows![0]![0])
  if (version > migrations.length) {
    const known = `(schema ${version}, this one knows ${migrations.length})`
    return yield* refuse(url, "SchemaTooNew", `written by a later version ${known}`)
  }
  for (const step of migrations.slice(version)) {
    yield* each(session, toPostgres(step))
  }
  yield* session.run([
    sql("delete from tape_schema"),
    sql(`insert into tape_schema (version) values (${migrations.length})`),
    sql("commit")
  ])
})

/** Prepared statements come one by one; no literal in a migration contains a semicolon. */
const each = (session: Session, step: string) =>
  Effect.forEach(
    step.split(";").filter((statement) => statement.trim() !== ""),
    (statement) => session.run([sql(statement)]),
    { discard: true }
  )
