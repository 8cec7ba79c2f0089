/**
 * What ledgers work on: rows by key, by unique key or by a query, changed in one transaction. Because ledgers only see
 * {@link Transaction}, the same code runs on every store.
 */
import type * as Effect from "effect/Effect"
import type { StoreError } from "../StoreError.js"
import type { Page, Room } from "./Room.js"
import type { Columns, Key, Row, RowOf, Table, Value } from "./Table.js"
import type { Entry } from "./tables.js"

/** Reads of one consistent state. */
export interface Reader {
  readonly get: <T extends Table>(table: T, key: Key<T>) => Effect.Effect<Row<T> | undefined, StoreError>
  /** By another unique key than the primary one. */
  readonly find: <C extends Columns, K extends string, U extends string>(
    table: Table<C, K, U>,
    unique: NoInfer<U>,
    values: ReadonlyArray<Value>
  ) => Effect.Effect<RowOf<C> | undefined, StoreError>
  /** `clause` is what follows `from <table>`, in SQL that SQLite and PostgreSQL share, with `?` for parameters. */
  readonly select: <T extends Table>(
    table: T,
    clause: string,
    parameters: ReadonlyArray<Value>
  ) => Effect.Effect<ReadonlyArray<Row<T>>, StoreError>
  /** As `select`, but only as many rows as there is room for. */
  readonly selectWithin: <T extends Table>(
    table: T,
    clause: string,
    parameters: ReadonlyArray<Value>,
    room: Room
  ) => Effect.Effect<Page<Row<T>>, StoreError>
}

/** An entry before it has its place in the store's order, which is given when the batch commits. */
export type Draft = Omit<Entry, "globalSeq">

/** One call's view of the open transaction. */
export interface Transaction extends Reader {
  /** The store's clock, the same for every call of a batch. Milliseconds since the epoch. */
  readonly nowMs: bigint
  readonly newId: () => string
  /** What this call has appended so far. */
  readonly drafts: ReadonlyArray<Draft>
  readonly put: <T extends Table>(table: T, row: Row<T>) => void
  readonly remove: <T extends Table>(table: T, key: Key<T>) => void
  readonly append: (draft: Draft) => void
}

export interface RawRow {
  readonly [column: string]: Value
}

/** What a store offers inside an open transaction. */
export interface Driver {
  readonly get: (table: Table, key: ReadonlyArray<Value>) => Effect.Effect<RawRow | undefined, StoreError>
  readonly find: (
    table: Table,
    unique: string,
    values: ReadonlyArray<Value>
  ) => Effect.Effect<RawRow | undefined, StoreError>
  readonly select: (
    table: Table,
    clause: string,
    parameters: ReadonlyArray<Value>
  ) => Effect.Effect<ReadonlyArray<RawRow>, StoreError>
  readonly selectWithin: (
    table: Table,
    clause: string,
    parameters: ReadonlyArray<Value>,
    room: Room
  ) => Effect.Effect<Page<RawRow>, StoreError>
  readonly upsert: (table: Table, rows: ReadonlyArray<RawRow>) => Effect.Effect<void, StoreError>
  readonly remove: (table: Table, keys: ReadonlyArray<ReadonlyArray<Value>>) => Effect.Effect<void, StoreError>
  /** Gives each draft its global_seq, in order, and writes it: the last thing a transaction does. */
  readonly append: (drafts: ReadonlyArray<Draft>) => Effect.Effect<ReadonlyArray<Entry>, StoreError>
}

/** Typed reads over a driver. The driver decodes rows by the table's columns: that earns the casts. */
export const readerOf = (driver: Pick<Driver, "get" | "find" | "select" | "selectWithin">): Reader => ({
  get: <T extends Table>(table: T, key: Key<T>) =>
    driver.get(table, keyValues(table, key)) as Effect.Effect<Row<T> | undefined, StoreError>,
  find: <C extends Columns, K extends string, U extends string>(
    table: Table<C, K, U>,
    unique: NoInfer<U>,
    values: ReadonlyArray<Value>
  ) => driver.find(table, unique, values) as Effect.Effect<RowOf<C> | undefined, StoreError>,
  select: <T extends Table>(table: T, clause: string, parameters: ReadonlyArray<Value>) =>
    driver.select(table, clause, parameters) as Effect.Effect<ReadonlyArray<Row<T>>, StoreError>,
  selectWithin: <T extends Table>(table: T, clause: string, parameters: ReadonlyArray<Value>, room: Room) =>
    driver.selectWithin(table, clause, parameters, room) as Effect.Effect<Page<Row<T>>, StoreError>
})

export const keyValues = (table: Table, key: RawRow): ReadonlyArray<Value> => table.key.map((column) => key[column]!)

/** A call waiting for its turn. It may be tried more than once, so it acts through the transaction only. */
export interface Job {
  readonly run: (tx: Transaction) => Effect.Effect<unknown, unknown>
  readonly isAbandoned: () => boolean
}
