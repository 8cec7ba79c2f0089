/**
 * Reads of one state.
 */
import * as Effect from "effect/Effect"
import type { StoreError } from "../../StoreError.js"
import type { Page, Room } from "../Room.js"
import type { Table, Value } from "../Table.js"
import type { Driver, RawRow } from "../Transaction.js"
import type { Failure } from "./failure.js"
import type { Rows } from "./Pipeline.js"
import type { Query } from "./Readers.js"
import { type Command, command, encode, prepare } from "./Statement.js"
import { commandWithin, pageOf, type TableSql } from "./TableSql.js"

export class PostgresSnapshot implements Pick<Driver, "get" | "find" | "select" | "selectWithin"> {
  constructor(
    private readonly ask: Query,
    private readonly sqlOf: (table: Table) => TableSql,
    private readonly failed: (failure: Failure) => StoreError
  ) {}

  readonly head: Effect.Effect<bigint, StoreError> = Effect.suspend(() =>
    Effect.map(this.query(head), ([row]) => BigInt(row?.[0] ?? 0))
  )

  get(table: Table, key: ReadonlyArray<Value>): Effect.Effect<RawRow | undefined, StoreError> {
    const { decode, get } = this.sqlOf(table)
    return Effect.map(this.query(command(get, key.map(encode))), ([row]) => row && decode(row))
  }

  find(table: Table, unique: string, values: ReadonlyArray<Value>): Effect.Effect<RawRow | undefined, StoreError> {
    const { decode, find } = this.sqlOf(table)
    return Effect.map(this.query(command(find(unique), values.map(encode))), ([row]) => row && decode(row))
  }

  select(
    table: Table,
    clause: string,
    parameters: ReadonlyArray<Value>
  ): Effect.Effect<ReadonlyArray<RawRow>, StoreError> {
    const { decode, select } = this.sqlOf(table)
    return Effect.map(this.query(command(select(clause), parameters.map(encode))), (rows) => rows.map(decode))
  }

  selectWithin(
    table: Table,
    clause: string,
    parameters: ReadonlyArray<Value>,
    room: Room
  ): Effect.Effect<Page<RawRow>, StoreError> {
    const sql = this.sqlOf(table)
    return Effect.map(this.query(commandWithin(sql, clause, parameters, room)), (rows) => pageOf(sql, rows))
  }

  private query(query: Command): Effect.Effect<Rows, StoreError> {
    return Effect.mapError(this.ask(query), this.failed)
  }
}

const head = command(prepare("select value from counters where name = 'global_seq'"))
