/**
 * The driver of one SQLite connection: statements are prepared once, and every Effect here is synchronous.
 */
import type Database from "better-sqlite3"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { StoreError } from "../../StoreError.js"
import { sizerOf } from "../Room.js"
import { type Kind, sqlName, type Table, type Value } from "../Table.js"
import type { Driver, RawRow } from "../Transaction.js"
import { Journal } from "../tables.js"

export interface SqliteDriver extends Driver {
  /** The greatest global_seq given so far. */
  readonly head: Effect.Effect<bigint, StoreError>
  /**
   * Runs a synchronous effect in a transaction, without letting go of the thread: another connection's BEGIN would
   * otherwise wait for a transaction that cannot go on.
   */
  readonly transaction: <A, E>(
    begin: "begin" | "begin immediate",
    body: Effect.Effect<A, E>
  ) => Effect.Effect<A, E | StoreError>
}

export const make = (db: Database.Database, failed: (cause: unknown) => StoreError): SqliteDriver => {
  const prepare = memoized((sql: string): Database.Statement => {
    const statement = db.prepare(sql)
    return statement.reader ? statement.raw(true) : statement
  })
  const statementsOf = memoized((table: Table) => {
    const names = table.columnNames.map(sqlName)
    const select = `select ${names.join(", ")} from ${table.name}`
    const insert = `insert into ${table.name} (${names.join(", ")}) values (${names.map(() => "?").join(", ")})`
    const updated = table.columnNames
      .filter((column) => !table.key.includes(column))
      .map((column) => `${sqlName(column)} = excluded.${sqlName(column)}`)
    const key = table.key.map(sqlName).join(", ")
    return {
      select: memoized((clause: string) => prepare(`${select} ${clause}`)),
      get: prepare(`${select} where ${equals(table.key)}`),
      find: memoized((unique: string) => {
        const { columns, where } = table.unique[unique]!
        // A partial index is used only when its condition stands in the query too.
        return prepare(`${select} where ${equals(columns)}${where === undefined ? "" : ` and ${where}`}`)
      }),
      insert: prepare(insert),
      upsert: prepare(`${insert} on conflict (${key}) do update set ${updated.join(", ")}`),
      remove: prepare(`delete from ${table.name} where ${equals(table.key)}`),
      decode: decoderOf(table),
      sizeOf: sizerOf(table)
    }
  })

  const attempt = <A>(body: () => A): Effect.Effect<A, StoreError> => Effect.try({ try: body, catch: failed })
  const write = (statement: Database.Statement, table: Table, row: RawRow): void => {
    statement.run(table.columnNames.map((column) => bindable(row[column]!)))
  }

  return {
    get: (table, key) =>
      attempt(() => {
        const { decode, get } = statementsOf(table)
        const row = get.get(key.map(bindable))
        return row === undefined ? undefined : decode(row)
      }),
    find: (table, unique, values) =>
      attempt(() => {
        const { decode, find } = statementsOf(table)
        const row = find(unique).get(values.map(bindable))
        return row === undefined ? undefined : decode(row)
      }),
    select: (table, clause, parameters) =>
      attempt(() => {
        const { decode, select } = statementsOf(table)
        return select(clause).all(parameters.map(bindable)).map(decode)
      }),
    // One process at a time writes: there is nobody to pass over.
    selectWithin: (table, clause, parameters, { atLeast = 1, bytes }) =>
      attempt(() => {
        const { decode, select, sizeOf } = statementsOf(table)
        const rows: Array<RawRow> = []
        let room = bytes
        for (const found of select(clause).iterate(parameters.map(bindable))) {
          const row = decode(found)
          room -= sizeOf(row)
          if (room < 0 && rows.length >= atLeast) {
            return { rows, isAll: false }
          }
          rows.push(row)
        }
        return { rows, isAll: true }
      }),
    upsert: (table, rows) =>
      attempt(() => {
        const { upsert } = statementsOf(table)
        rows.forEach((row) => write(upsert, table, row))
      }),
    remove: (table, keys) =>
      attempt(() => {
        const { remove } = statementsOf(table)
        keys.forEach((key) => remove.run(key.map(bindable)))
      }),
    append: (drafts) =>
      attempt(() => {
        const count = BigInt(drafts.length)
        const last = numberOf(prepare(takeNumbers).get(count))
        const { insert } = statementsOf(Journal)
        return drafts.map((draft, index) => {
          const entry = { ...draft, globalSeq: last - count + BigInt(index + 1) }
          write(insert, Journal, entry)
          return entry
        })
      }),
    head: attempt(() => numberOf(prepare("select value from counters where name = 'global_seq'").get())),
    transaction: <A, E>(begin: "begin" | "begin immediate", body: Effect.Effect<A, E>) =>
      Effect.suspend((): Effect.Effect<A, E | StoreError> => {
        try {
          prepare(begin).run()
        } catch (cause) {
          return Effect.fail(failed(cause))
        }
        const exit = Effect.runSyncExit(body)
        try {
          if (Exit.isSuccess(exit)) {
            prepare("commit").run()
          }
          return exit
        } catch (cause) {
          return Effect.fail(failed(cause))
        } finally {
          // Some failures have already rolled back.
          if (db.inTransaction) {
            prepare("rollback").run()
          }
        }
      })
  }
}

const takeNumbers = "update counters set value = value + ? where name = 'global_seq' returning value"

const equals = (columns: ReadonlyArray<string>): string =>
  columns.map((column) => `${sqlName(column)} = ?`).join(" and ")

const numberOf = (row: unknown): bigint => (Array.isArray(row) && typeof row[0] === "bigint" ? row[0] : 0n)

const bindable = (value: Value): string | bigint | number => (typeof value === "boolean" ? (value ? 1 : 0) : value)

const decoderOf = (table: Table): ((row: unknown) => RawRow) => {
  const columns = table.columnNames.map((name) => ({ name, kind: table.columns[name]!.kind }))
  return (row) => {
    const values: ReadonlyArray<unknown> = Array.isArray(row) ? row : []
    const decoded: { [column: string]: Value } = {}
    for (let index = 0; index < columns.length; index++) {
      const { kind, name } = columns[index]!
      decoded[name] = decodeValue(kind, values[index])
    }
    return decoded
  }
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

const memoized = <K, V>(make: (key: K) => V): ((key: K) => V) => {
  const made = new Map<K, V>()
  return (key) => {
    let value = made.get(key)
    if (value === undefined) {
      value = make(key)
      made.set(key, value)
    }
    return value
  }
}
