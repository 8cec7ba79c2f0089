import * as Net from "node:net"
import { assert, layer } from "@effect/vitest"
import { Effect, Exit } from "effect"
import type { StoreError } from "effect-tape/engine"
import { migrations } from "../../../src/engine/store/sqlite/migrations.js"
import { sqlName, type Table } from "../../../src/engine/store/Table.js"
import * as tables from "../../../src/engine/store/tables.js"
import * as Postgres from "../../support/Postgres.js"
import { rowsOf, serves } from "../earlierTapes.js"
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

  for (let version = 1; version < migrations.length; version++) {
    it.scoped(`from version ${version}, by two servers at once: everything is there, and everything works`, () =>
      Effect.gen(function* () {
        const url = yield* freshDatabase
        yield* writeTape(url, version)
        const [one, other] = yield* Effect.all([openTape(url), openTape(url)], { concurrency: "unbounded" })
        yield* serves(one, version)
        const { value } = yield* other.getValue({ namespace: "n", key: "kept" })
        assert.strictEqual(value?.valueJson, "3")
        const newest = yield* freshDatabase
        yield* openStore(newest)
        assert.deepStrictEqual(yield* schemaOf(url), yield* schemaOf(newest))
      })
    )
  }

  it.scoped("a step that fails leaves the database as it was, and the next server carries on from there", () =>
    Effect.gen(function* () {
      const { query } = yield* Postgres.Postgres
      const url = yield* freshDatabase
      yield* writeTape(url, 2)
      yield* query(url, "create table tasks (id int)")
      const before = yield* schemaOf(url)
      const error = yield* Effect.flip(openStore(url))
      assert.strictEqual(error.reason, "NotADatabase", error.message)
      assert.deepStrictEqual(yield* schemaOf(url), before)
      assert.deepStrictEqual(yield* query(url, "select version::int from tape_schema"), [{ version: 2 }])
      yield* query(url, "drop table tasks")
      yield* serves(yield* openTape(url), 2)
    })
  )

  it.scoped("of a later version: refused, and nothing is touched", () =>
    Effect.gen(function* () {
      const { query } = yield* Postgres.Postgres
      const url = yield* freshDatabase
      yield* writeTape(url, 4)
      const later = migrations.length + 1
      yield* query(url, `update tape_schema set version = ${later}`)
      const before = yield* schemaOf(url)
      const error = yield* Effect.flip(openTape(url))
      assert.strictEqual(error._tag, "StoreError")
      assert.strictEqual(error.reason, "SchemaTooNew")
      assert.match(error.message, new RegExp(`later version \\(schema ${later}, this one knows ${later - 1}\\)`))
      assert.deepStrictEqual(yield* schemaOf(url), before)
      assert.deepStrictEqual(yield* query(url, "select version::int from tape_schema"), [{ version: later }])
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
      const store = yield* openStore(yield* freshDatabase)
      const long = Array.from({ length: 400 }, () => crypto.randomUUID()).join("")
      const alias = { idempotencyKey: "k", ownerRunId: "r" }
      const exits = yield* Effect.all(
        Array.from({ length: 12 }, (_, index) =>
          Effect.exit(
            store.write((tx) =>
              Effect.sync(() => tx.put(tables.EffectAliases, { ...alias, runId: index === 5 ? long : `run-${index}` }))
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

/** A database as an earlier version left it, with what that version and those before it wrote. */
const writeTape = (url: string, version: number) =>
  Effect.gen(function* () {
    const { toPostgres } = yield* Effect.promise(() => import("../../../src/engine/store/postgres/migrations.js"))
    const { query } = yield* Postgres.Postgres
    const steps = migrations.slice(0, version).map((step, index) => `${toPostgres(step)}\n${rowsOf(index + 1)}`)
    yield* query(url, steps.join("\n"))
    yield* query(url, `create table tape_schema (version bigint not null); insert into tape_schema values (${version})`)
  })

/** Columns and indexes; the engine's own tables come in no particular order. */
const schemaOf = (url: string) =>
  Effect.flatMap(Postgres.Postgres, ({ query }) =>
    query(
      url,
      `select table_name || '.' || column_name as name, data_type || coalesce(column_default, '') as what
         from information_schema.columns where table_schema = current_schema() and table_name not like 'tape%'
       union all
       select indexname, indexdef from pg_indexes where schemaname = current_schema() and tablename not like 'tape%'
       order by 1, 2`
    )
  )

/** Accepts connections, and says nothing. */
const silentPort = Effect.async<number>((resume) => {
  const server = Net.createServer((socket) => socket.on("error", () => {}))
  server.unref()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
  })
})
