import * as Net from "node:net"
import { assert, layer } from "@effect/vitest"
import { Effect, Exit } from "effect"
import type { StoreError } from "effect-tape/engine"
import { migrations } from "../../../src/engine/store/sqlite/migrations.js"
import { sqlName, type Table } from "../../../src/engine/store/Table.js"
import * as tables from "../../../src/engine/store/tables.js"
import * as Postgres from "../../support/Postgres.js"
import { freshDatabase, openStore, openTape, rival } from "./fixtures.js"

layer(Postgres.layer(), { excludeTestServices: true })("opening a database", (it) => {
  it.scoped("servers that start at once on an empty database take turns", () =>
    Effect.gen(function* () {
      const url = yield* freshDatabase
      const tapes = yield* Effect.all(
        Array.from({ length: 6 }, () => openTape(url)),
        { concurrency: "unbounded" }
      )
      const { runId } = yield* tapes[0]!.beginRun({ appName: "start" })
      yield* Effect.forEach(tapes, (tape) => tape.getRun({ runId }))
      const { query } = yield* Postgres.Postgres
      assert.deepStrictEqual(yield* query(url, "select version::int from tape_schema"), [
        { version: migrations.length }
      ])
    })
  )

  it.scoped("every table has the columns that its rows have, of a type that holds them", () =>
    Effect.gen(function* () {
      const url = yield* freshDatabase
      yield* openStore(url)
      const { query } = yield* Postgres.Postgres
      const columns = yield* query(
        url,
        `select table_name as table, column_name as column, data_type as type, is_nullable as nullable,
           collation_name as collation
         from information_schema.columns where table_schema = current_schema()`
      )
      const types = { text: "text", real: "double precision", int64: "bigint", int32: "bigint", bool: "bigint" }
      const all: ReadonlyArray<Table> = Object.values(tables)
      for (const table of all) {
        assert.sameDeepMembers(
          columns.filter((column) => column["table"] === table.name),
          table.columnNames.map((name) => {
            const { kind } = table.columns[name]!
            return {
              table: table.name,
              column: sqlName(name),
              type: types[kind],
              nullable: "NO",
              collation: kind === "text" ? "C" : null
            }
          })
        )
      }
    })
  )

  it.scoped("from every earlier version of the schema", () =>
    Effect.gen(function* () {
      const { query } = yield* Postgres.Postgres
      const shape = (url: string) =>
        query(
          url,
          `select table_name, column_name, data_type from information_schema.columns
            where table_schema = current_schema() order by 1, 2`
        )
      const newest = yield* freshDatabase
      yield* Effect.scoped(openStore(newest))
      for (let version = 1; version < migrations.length; version++) {
        const url = yield* freshDatabase
        yield* openOld(url, version)
        yield* Effect.scoped(openStore(url))
        assert.deepStrictEqual(yield* shape(url), yield* shape(newest))
      }
    })
  )

  const refused = (
    name: string,
    prepare: Effect.Effect<string, never, Postgres.Postgres>,
    reason: StoreError["reason"],
    words: RegExp
  ) =>
    it.scoped(name, () =>
      Effect.gen(function* () {
        const started = performance.now()
        const error = yield* Effect.flip(openStore(yield* prepare))
        assert.strictEqual(error.reason, reason, error.message)
        assert.match(error.message, words)
        assert.notInclude(JSON.stringify(error) + error.message + String(error.cause), "secret")
        assert.isBelow(performance.now() - started, 7_000)
      })
    )

  const withSql = (sql: string) =>
    Effect.gen(function* () {
      const { query } = yield* Postgres.Postgres
      const url = yield* freshDatabase
      yield* query(url, sql)
      return url
    })

  refused(
    "of a later version",
    withSql("create table tape_schema (version bigint not null); insert into tape_schema values (9999)"),
    "SchemaTooNew",
    /later version/
  )
  refused("of another program", withSql("create table runs (id int)"), "NotADatabase", /runs/)
  refused(
    "in another encoding than UTF-8",
    Effect.flatMap(Postgres.Postgres, ({ query, url }) =>
      Effect.as(query(url("postgres"), "create database latin encoding 'LATIN1' template template0"), url("latin"))
    ),
    "InvalidUrl",
    /UTF8/
  )
  refused(
    "that does not exist",
    Effect.map(Postgres.Postgres, ({ port }) => `postgres://tape:secret@127.0.0.1:${port}/nowhere`),
    "NotWritable",
    /postgres:\/\/tape@127.0.0.1:\d+\/nowhere: database "nowhere" does not exist/
  )
  refused(
    "where nobody listens",
    Effect.succeed("postgresql://tape:secret@127.0.0.1:1/tape?application_name=x"),
    "Unavailable",
    /cannot be reached: connect ECONNREFUSED 127.0.0.1:1/
  )
  refused(
    "where nobody answers",
    Effect.map(silentPort, (port) => `postgres://tape@127.0.0.1:${port}/tape?password=secret`),
    "Unavailable",
    /cannot be reached/
  )
  refused("a URL that is none", Effect.succeed("postgres://tape:secret@[/tape"), "InvalidUrl", /postgres:\/\//)

  it.scoped("a store that is shown does not show the password", () =>
    Effect.gen(function* () {
      const url = new URL(yield* freshDatabase)
      url.password = "s%40cret"
      const store = yield* openStore(url.href)
      assert.strictEqual(store.url, `postgres://tape@127.0.0.1:${url.port}${url.pathname}`)
      assert.deepStrictEqual(yield* store.durability, { journalMode: "wal", synchronous: 0 })
    })
  )

  it.scoped("after closing, calls fail as closed, and no connection is left", () =>
    Effect.gen(function* () {
      const url = yield* freshDatabase
      const tape = yield* Effect.scoped(openTape(url))
      assert.isTrue(Exit.isFailure(yield* Effect.exit(tape.beginRun({ appName: "closed" }, { timeout: "1 second" }))))
      const sql = yield* rival(url)
      yield* Effect.repeat(
        Effect.map(
          sql(`select 1 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
                and backend_type = 'client backend'`),
          ({ rows }) => rows.length
        ),
        { until: (connections) => connections === 0 }
      ).pipe(Effect.timeout("5 seconds"))
    })
  )

  it.scoped("a value that the database cannot index fails its own call, not those that share its transaction", () =>
    Effect.gen(function* () {
      const tape = yield* openTape(yield* freshDatabase)
      const { runId } = yield* tape.beginRun({ appName: "poison" })
      const long = Array.from({ length: 400 }, () => crypto.randomUUID()).join("")
      const exits = yield* Effect.all(
        Array.from({ length: 12 }, (_, index) =>
          Effect.exit(
            tape.beginEffect(
              { runId, toolName: "t", customKey: index === 5 ? long : `key-${index}` },
              { timeout: "3 seconds" }
            )
          )
        ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        exits.map(Exit.isSuccess),
        exits.map((_, index) => index !== 5)
      )
    })
  )
})

/** A database as an earlier version left it. */
const openOld = (url: string, version: number) =>
  Effect.gen(function* () {
    const { toPostgres } = yield* Effect.promise(() => import("../../../src/engine/store/postgres/migrations.js"))
    const { query } = yield* Postgres.Postgres
    yield* query(url, migrations.slice(0, version).map(toPostgres).join("\n"))
    yield* query(url, `create table tape_schema (version bigint not null); insert into tape_schema values (${version})`)
  })

/** Accepts connections, and says nothing. */
const silentPort = Effect.async<number>((resume) => {
  const server = Net.createServer((socket) => socket.on("error", () => {}))
  server.unref()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
  })
})
