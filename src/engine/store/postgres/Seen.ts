/**
 * The rows as the database has them for one transaction: what it has locked, and what it has looked for in vain.
 */
import { keyText, type Table, type Value } from "../Table.js"
import type { RawRow } from "../Transaction.js"
import { Counters, Runs } from "../tables.js"
import { type Memory, uniqueText, type Wanted } from "./Prediction.js"
import { type Command, columnsOf, command, encodeArray } from "./Statement.js"
import type { TableSql } from "./TableSql.js"

/** `undefined` is a row that is known to be absent. */
export type Rows = Map<string, RawRow | undefined>

export class Seen {
  private readonly tables = new Map<Table, Rows>()
  private readonly found: Rows = new Map()

  /** By primary key. */
  rows(table: Table): Rows {
    let rows = this.tables.get(table)
    if (rows === undefined) {
      rows = new Map()
      this.tables.set(table, rows)
    }
    return rows
  }

  hasFound(table: Table, unique: string, values: ReadonlyArray<Value>): boolean {
    return this.found.has(foundText(table, unique, uniqueText(values)))
  }

  /** By another unique key. */
  findRow(table: Table, unique: string, values: ReadonlyArray<Value>): RawRow | undefined {
    return this.found.get(foundText(table, unique, uniqueText(values)))
  }

  /** Takes in all that there was of what was wanted; `false` when it contradicts what was seen before. */
  note(table: Table, { keys, uniques }: Wanted, rows: ReadonlyArray<RawRow>): boolean {
    const isConsistent = this.learn(table, rows)
    const known = this.rows(table)
    for (const key of keys.keys()) {
      if (!known.has(key)) {
        known.set(key, undefined)
      }
    }
    for (const [unique, wanted] of uniques) {
      const { columns } = table.unique[unique]!
      const byValue = new Map(rows.map((row) => [uniqueText(columns.map((column) => row[column]!)), row]))
      for (const text of wanted.keys()) {
        this.found.set(foundText(table, unique, text), byValue.get(text))
      }
    }
    return isConsistent
  }

  /** Takes in rows that were not asked for one by one. */
  learn(table: Table, rows: ReadonlyArray<RawRow>): boolean {
    const known = this.rows(table)
    let isConsistent = true
    for (const row of rows) {
      const text = keyText(table.key, row)
      isConsistent &&= !known.has(text) || known.get(text) !== undefined
      known.set(text, row)
    }
    return isConsistent
  }

  remember(memory: Memory): void {
    for (const [table, rows] of this.tables) {
      for (const [key, row] of rows) {
        if (row !== undefined) {
          memory.keep(table, key, row)
        }
      }
    }
  }
}

/** The command that locks and fetches what is wanted of a table. */
export const lockOf = (sql: TableSql, table: Table, { keys, uniques }: Wanted): Command => {
  const names = [...uniques.keys()].toSorted()
  const values = names.flatMap((unique) => {
    const wanted = [...uniques.get(unique)!.values()]
    return table.unique[unique]!.columns.map((column, index) =>
      encodeArray(
        table.columns[column]!.kind,
        wanted.map((each) => each[index]!)
      )
    )
  })
  return command(sql.lock(names), [...columnsOf(table, table.key, [...keys.values()]), ...values])
}

/** Runs first, since nearly every call begins with one; the counters, which all calls share, last. */
export const lockOrder = (table: Table): string => (table === Runs ? "0" : table === Counters ? "2" : `1${table.name}`)

const foundText = (table: Table, unique: string, text: string): string => `${table.name}\u0000${unique}\u0000${text}`
