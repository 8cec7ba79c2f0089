/**
 * SQL as this store sends it: prepared once per connection, with text in and text out.
 */
import { createHash } from "node:crypto"
import { type Kind, sqlName, type Table, type Value } from "../Table.js"
import type { RawRow } from "../Transaction.js"

export interface Prepared {
  readonly name: string
  readonly text: string
}

export interface Command {
  readonly prepared: Prepared
  readonly values: ReadonlyArray<string>
}

/** The name follows from the text, so that connections that outlive a store's memory of it still agree. */
export const prepare = (text: string): Prepared => ({
  name: `tape_${createHash("sha1").update(text).digest("hex").slice(0, 24)}`,
  text
})

export const command = (prepared: Prepared, values: ReadonlyArray<string> = []): Command => ({ prepared, values })

/** `?` → `$1`, `$2`, …, but for those in quoted text. */
export const numbered = (clause: string): string => {
  let count = 0
  return clause.replace(/'[^']*'|\?/g, (found) => (found === "?" ? `$${++count}` : found))
}

export const encode = (value: Value): string => (typeof value === "boolean" ? (value ? "1" : "0") : String(value))

/** A PostgreSQL array literal: one parameter holds a whole column. */
export const encodeArray = (kind: Kind, values: ReadonlyArray<Value>): string =>
  kind === "text"
    ? `{${values.map((value) => `"${String(value).replace(/[\\"]/g, "\\$&")}"`).join(",")}}`
    : `{${values.map(encode).join(",")}}`

const arrayType = (kind: Kind): string => {
  switch (kind) {
    case "text":
      return "text[]"
    case "real":
      return "float8[]"
    default:
      return "int8[]"
  }
}

/** The columns of some rows, each as one array parameter. */
export const columnsOf = (
  table: Table,
  columns: ReadonlyArray<string>,
  rows: ReadonlyArray<RawRow>
): ReadonlyArray<string> =>
  columns.map((column) =>
    encodeArray(
      table.columns[column]!.kind,
      rows.map((row) => row[column]!)
    )
  )

/**
 * `unnest($1::text[], $2::int8[]) as k (k1, k2)` for some columns. Parameters are counted from `first`; `place` names a
 * column for the position of each row.
 */
export const unnest = (
  table: Table,
  columns: ReadonlyArray<string>,
  alias: string,
  { first = 1, place }: { readonly first?: number; readonly place?: string } = {}
): string => {
  const arrays = columns.map((column, index) => `$${first + index}::${arrayType(table.columns[column]!.kind)}`)
  const names = columns.map((_, index) => `${alias}${index + 1}`)
  return place === undefined
    ? `unnest(${arrays.join(", ")}) as ${alias} (${names.join(", ")})`
    : `unnest(${arrays.join(", ")}) with ordinality as ${alias} (${[...names, place].join(", ")})`
}

export const decoderOf = (table: Table): ((fields: ReadonlyArray<string>) => RawRow) => {
  const columns = table.columnNames.map((name) => ({ name, kind: table.columns[name]!.kind }))
  return (fields) => {
    const row: { [column: string]: Value } = {}
    for (let index = 0; index < columns.length; index++) {
      const { kind, name } = columns[index]!
      row[name] = decode(kind, fields[index]!)
    }
    return row
  }
}

const decode = (kind: Kind, field: string): Value => {
  switch (kind) {
    case "text":
      return field
    case "int64":
      return BigInt(field)
    case "int32":
    case "real":
      return Number(field)
    case "bool":
      return field !== "0"
  }
}

export const sqlNames = (columns: ReadonlyArray<string>): string => columns.map(sqlName).join(", ")
