/**
 * Tables as data: the columns give the row's type, and each store its SQL.
 */

/** How a column is kept. `int64` is a bigint in the program, `int32` and `real` a number, `bool` an integer in SQLite. */
export type Kind = "text" | "int64" | "int32" | "bool" | "real"

export interface Column<out A> {
  readonly kind: Kind
  /** Phantom: the type of the value in a row. */
  readonly Type?: A
}

export const text: Column<string> = { kind: "text" }
export const int64: Column<bigint> = { kind: "int64" }
export const int32: Column<number> = { kind: "int32" }
export const bool: Column<boolean> = { kind: "bool" }
export const real: Column<number> = { kind: "real" }
export const enumeration = <E extends number>(): Column<E> => ({ kind: "int32" })

export type Value = string | bigint | number | boolean

export interface Columns {
  readonly [name: string]: Column<Value>
}

interface Unique<Column extends string = string> {
  readonly columns: ReadonlyArray<Column>
  /** The rows that the key covers, in SQL; all of them when absent. */
  readonly where?: string
}

export interface Table<C extends Columns = Columns, K extends string = string, U extends string = string> {
  readonly name: string
  readonly columns: C
  /** The primary key's columns. */
  readonly key: ReadonlyArray<K>
  /** Other unique keys, by name. Their columns never change once a row exists. */
  readonly unique: { readonly [Name in U]: Unique<keyof C & string> }
  readonly columnNames: ReadonlyArray<keyof C & string>
}

type ValueOf<Col> = Col extends Column<infer A> ? A : never

export type RowOf<C extends Columns> = { readonly [P in keyof C]: ValueOf<C[P]> }
export type Row<T> = T extends Table<infer C, string, string> ? RowOf<C> : never
export type Key<T> = T extends Table<infer C, infer K, string> ? Pick<RowOf<C>, K & keyof C> : never

export const make = <
  const C extends Columns,
  const K extends keyof C & string,
  const U extends { readonly [name: string]: Unique<keyof C & string> } = Record<never, never>
>(
  name: string,
  options: { readonly columns: C; readonly key: ReadonlyArray<K>; readonly unique?: U }
): Table<C, K, keyof U & string> => ({
  name,
  columns: options.columns,
  key: options.key,
  // `U` is `{}` exactly when no unique keys were given.
  unique: options.unique ?? ({} as U),
  columnNames: Object.keys(options.columns)
})

/** A row's identity within its table. U+0000 is refused in every request, so it can separate. */
export const keyText = (columns: ReadonlyArray<string>, row: { readonly [column: string]: Value }): string =>
  columns.length === 1 ? String(row[columns[0]!]) : columns.map((column) => String(row[column])).join("\u0000")

/** `runId` → `run_id`. */
export const sqlName = (column: string): string => column.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
