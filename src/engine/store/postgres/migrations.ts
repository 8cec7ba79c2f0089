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

/** Brings the schema up to date. Servers that start at once take turns. */
export const migrate = (pool: Pool, url: string): Effect.Effect<void, StoreError | Failure> =>
  pool.use((session) => {
    const run = (sql: string) => session.run([command(prepare(sql))])
    return Effect.gen(function* () {
      yield* run("begin isolation level read committed read write")
      // The key is `tape` in ASCII.
      yield* run("select pg_advisory_xact_lock(1952542821)")
      yield* run("create table if not exists tape_schema (version bigint not null)")
      const [versions] = yield* run("select coalesce(max(version), 0) from tape_schema")
      const version = Number(versions?.[0]?.[0])
      if (version > migrations.length) {
        return yield* new StoreError({
          reason: "SchemaTooNew",
          url,
          detail: `written by a later version (schema ${version}, this one knows ${migrations.length})`
        })
      }
      for (const step of migrations.slice(version)) {
        yield* each(session, toPostgres(step))
      }
      if (version < migrations.length) {
        yield* run("delete from tape_schema")
        yield* run(`insert into tape_schema (version) values (${migrations.length})`)
      }
      yield* run("commit")
    }).pipe(Effect.tapError(() => Effect.sync(() => session.finish(command(prepare("rollback"))))))
  })

/** Prepared statements come one by one; no literal in a migration contains a semicolon. */
const each = (session: Session, step: string) =>
  Effect.forEach(
    step.split(";").filter((statement) => statement.trim() !== ""),
    (statement) => session.run([command(prepare(statement))]),
    { discard: true }
  )

export const check = (pool: Pool, url: string): Effect.Effect<string, StoreError | Failure> =>
  pool.use((session) =>
    Effect.flatMap(session.run([command(identity)]), ([rows]) => {
      const [encoding, version, channel] = rows![0]!
      if (encoding !== "UTF8") {
        return new StoreError({
          reason: "InvalidUrl",
          url,
          detail: `the database is in ${encoding}; a tape needs UTF8`
        })
      }
      return Number(version) < oldestServer
        ? new StoreError({ reason: "InvalidUrl", url, detail: "PostgreSQL 13 is the oldest that works" })
        : Effect.succeed(channel!)
    })
  )

const oldestServer = 130_000

/** One tape per schema: its own table's number keeps the notifications of several in one database apart. */
const identity = prepare(
  `select current_setting('server_encoding'), current_setting('server_version_num'),
     'tape_' || 'journal'::regclass::oid`
)
