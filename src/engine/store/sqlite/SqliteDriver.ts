/**
 * The driver of one SQLite connection: statements are prepared once, and every Effect here is synchronous.
 */
import type Database from "better-sqlite3"
import * as Effect from "effect/Effect"
import type { StoreError } from "../../StoreError.js"
import type { Kind, Table, Value } from "../Table.js"
import { sqlName } from "../Table.js"
import type { Draft, Driver, RawRow } from "../Transaction.js"
import { Journal } from "../tables.js"

export interface SqliteDriver extends Driver {
  /** The greatest global_seq given so far. */
  readonly head: Effect.Effect<bigint, StoreError>
}

export const make = (db: Database.Database, failed: (cause: unknown) => StoreError): SqliteDriver => {
  const statements = new Map<string, Database.Statement>()
  const prepare = (sql: string): Database.Statement => {
    let statement = statements.get(sql)
    if (statement === undefined) {
      statement = db.prepare(sql)
      if (statement.reader) {
        statement.raw(true)
      }
      statements.set(sql, statement)
    }
    return statement
  }
  const attempt = <A>(body: () => A): Effect.Effect<A, StoreError> => Effect.try({ try: body, catch: failed })

  const first = (table: Table, condition: string, values: ReadonlyArray<Value>) =>
    attempt(() => {
      const row = prepare(`${selectFrom(table)} where ${condition}`).get(...bind(values))
      return row === undefined ? undefined : decode(table, row)
    })

  return {
    get: (table, key) => first(table, equals(table.key), key),
    find: (table, unique, values) => {
      const { columns, where } = table.unique[unique]!
      // A partial index is used only when its condition stands in the query too.
      return first(table, where === undefined ? equals(columns) : `${equals(columns)} and ${where}`, values)
    },
    select: (table, clause, parameters) =>
      attempt(() =>
        prepare(`${selectFrom(table)} ${clause}`)
          .all(...bind(parameters))
          .map((row) => decode(table, row))
      ),
    upsert: (table, rows) =>
      attempt(() => {
        const statement = prepare(upsertInto(table))
        for (const row of rows) {
          statement.run(...bind(table.columnNames.map((column) => row[column]!)))
        }
      }),
    remove: (table, keys) =>
      attempt(() => {
        const statement = prepare(`delete from ${table.name} where ${equals(table.key)}`)
        for (const key of keys) {
          statement.run(...bind(key))
        }
      }),
    append: (drafts) =>
      attempt(() => {
        const last = counter(
          prepare("update counters set value = value + ? where name = 'global_seq' returning value").get(
            BigInt(drafts.length)
          )
        )
        const statement = prepare(insertInto(Journal))
        return drafts.map((draft: Draft, index) => {
          const entry = { globalSeq: last - BigInt(drafts.length - 1 - index), ...draft }
          statement.run(...bind(Journal.columnNames.map((column) => entry[column])))
          return entry
        })
      }),
    head: attempt(() => counter(prepare("select value from counters where name = 'global_seq'").get()))
  }
}

const counter = (row: unknown): bigint => (Array.isArray(row) && typeof row[0] === "bigint" ? row[0] : 0n)

const cached = (make: (table: Table) => string): ((table: Table) => string) => {
  const texts = new WeakMap<Table, string>()
  return (table) => {
    let text = texts.get(table)
    if (text === undefined) {
      text = make(table)
      texts.set(table, text)
    }
    return text
  }
}

const selectFrom = cached((table) => `select ${table.columnNames.map(sqlName).join(", ")} from ${table.name}`)

const insertInto = cached(
  (table) =>
    `insert into ${table.name} (${table.columnNames.map(sqlName).join(", ")}) values (${table.columnNames.map(() => "?").join(", ")})`
)

const upsertInto = cached((table) => {
  const changing = table.columnNames.filter((column) => !table.key.includes(column)).map(sqlName)
  const update = changing.map((column) => `${column} = excluded.${column}`).join(", ")
  return `${insertInto(table)} on conflict (${table.key.map(sqlName).join(", ")}) do update set ${update}`
})

const equals = (columns: ReadonlyArray<string>): string =>
  columns.map((column) => `${sqlName(column)} = ?`).join(" and ")

const bind = (values: ReadonlyArray<Value>): Array<string | bigint | number> =>
  values.map((value) => (typeof value === "boolean" ? (value ? 1 : 0) : value))

const decode = (table: Table, row: unknown): RawRow => {
  const values: ReadonlyArray<unknown> = Array.isArray(row) ? row : []
  const decoded: { [column: string]: Value } = {}
  table.columnNames.forEach((column, index) => {
    decoded[column] = decodeValue(table.columns[column]!.kind, values[index])
  })
  return decoded
}

const decodeValue = (kind: Kind, value: unknown): Value => {
  switch (kind) {
    case "text":
      return String(value)
    case "int64":
      return typeof value === "bigint" ? value : BigInt(Number(value))
    case "int32":
    case "real":
      return Number(value)
    case "bool":
      return value === 1n || value === 1
  }
}
