/**
 * The statements of a table, built from its columns: each takes whole columns as arrays, so that a batch needs one.
 */
import { type Page, type Room, rowBytes, textsOf } from "../Room.js"
import { sqlName, type Table, type Value } from "../Table.js"
import type { RawRow } from "../Transaction.js"
import type { Rows } from "./Pipeline.js"
import {
  type Command,
  command,
  decoderOf,
  encode,
  numbered,
  type Prepared,
  prepare,
  sqlNames,
  unnest
} from "./Statement.js"

export interface TableSql {
  readonly decode: (fields: ReadonlyArray<string>) => RawRow
  readonly get: Prepared
  readonly find: (unique: string) => Prepared
  readonly select: (clause: string) => Prepared
  /**
   * As many of the first rows as fit into the last parameter but one, in bytes, or as the last one says; behind the
   * columns of each the number of all.
   */
  readonly selectWithin: (clause: string) => Prepared
  /** The rows with some keys, and those with some other unique keys, locked in the order of their primary keys. */
  readonly lock: (uniques: ReadonlyArray<string>) => Prepared
  readonly insert: Prepared
  /** For rows that nobody has looked at: whoever writes last means to. */
  readonly upsert: Prepared
  readonly update: (columns: ReadonlyArray<string>) => Prepared
  readonly remove: Prepared
}

export const memoized = <K, V>(make: (key: K) => V): ((key: K) => V) => {
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

/** The first rows of a query, as many as there is room for. */
export const commandWithin = (
  sql: TableSql,
  clause: string,
  parameters: ReadonlyArray<Value>,
  { atLeast = 1, bytes }: Room
): Command => command(sql.selectWithin(clause), [...parameters, bytes, atLeast].map(encode))

export const pageOf = (sql: TableSql, rows: Rows): Page<RawRow> => ({
  rows: rows.map(sql.decode),
  isAll: Number(rows[0]?.at(-1) ?? 0) === rows.length
})

export const make = (table: Table): TableSql => {
  const { columnNames, key, name } = table
  const columns = sqlNames(columnNames)
  const select = `select ${columns} from ${name}`
  const insert = `insert into ${name} (${columns}) select * from ${unnest(table, columnNames, "v")}`
  const size = [rowBytes, ...textsOf(table).map((column) => `octet_length(${sqlName(column)})`)].join(" + ")
  const others = columnNames.filter((column) => !key.includes(column))
  const excluded = others.map((column) => `${sqlName(column)} = excluded.${sqlName(column)}`)
  const byValue = (wanted: ReadonlyArray<string>) =>
    wanted.map((column, index) => `${sqlName(column)} = $${index + 1}`).join(" and ")
  const condition = (unique: string) => {
    const { where } = table.unique[unique]!
    // A partial index is used only when its condition stands in the query too.
    return where === undefined ? "" : ` and ${where}`
  }
  const keyOf = (alias: string) => key.map((column) => `${alias}.${sqlName(column)}`).join(", ")
  const lock = memoized((uniques: string): Prepared => {
    const sources = [`select * from ${unnest(table, key, "k")}`]
    let parameters = key.length
    for (const unique of uniques === "" ? [] : uniques.split(" ")) {
      const { columns } = table.unique[unique]!
      sources.push(
        `select ${keyOf("o")} from ${unnest(table, columns, "u", { first: parameters + 1 })} join ${name} o
           on ${columns.map((column, index) => `o.${sqlName(column)} = u${index + 1}`).join(" and ")}${condition(unique)}`
      )
      parameters += columns.length
    }
    return prepare(
      `select ${columnNames.map((column) => `t.${sqlName(column)}`).join(", ")}
         from (${sources.join(" union ")}) as w (${key.map((_, index) => `w${index + 1}`).join(", ")})
         join ${name} t on ${key.map((column, index) => `t.${sqlName(column)} = w${index + 1}`).join(" and ")}
        order by ${keyOf("t")} for update of t`
    )
  })
  const update = memoized((names: string): Prepared => {
    const changed = names.split(" ")
    return prepare(
      `update ${name} t set ${changed.map((column, index) => `${sqlName(column)} = v${key.length + index + 1}`).join(", ")}
         from ${unnest(table, [...key, ...changed], "v")}
        where ${key.map((column, index) => `t.${sqlName(column)} = v${index + 1}`).join(" and ")}`
    )
  })

  return {
    decode: decoderOf(table),
    get: prepare(`${select} where ${byValue(key)}`),
    find: memoized((unique) =>
      prepare(`${select} where ${byValue(table.unique[unique]!.columns)}${condition(unique)}`)
    ),
    select: memoized((clause) => prepare(numbered(`${select} ${clause}`))),
    selectWithin: memoized((clause) =>
      prepare(
        // Windows without an order take the rows as they come. Lengths are known without reading what is long.
        numbered(`select ${columns}, whole
          from (select q.*, row_number() over () as place, count(*) over () as whole,
                  sum(${size}) over (rows unbounded preceding) as size
                  from (${select} ${clause}) q) w
         where size <= ?::int8 or place <= ?::int8`)
      )
    ),
    lock: (uniques) => lock(uniques.join(" ")),
    insert: prepare(insert),
    upsert: prepare(
      `${insert} on conflict (${sqlNames(key)}) do ${excluded.length === 0 ? "nothing" : `update set ${excluded.join(", ")}`}`
    ),
    update: (columns) => update(columns.join(" ")),
    remove: prepare(
      `delete from ${name} t using ${unnest(table, key, "k")}
        where ${key.map((column, index) => `t.${sqlName(column)} = k${index + 1}`).join(" and ")}`
    )
  }
}
