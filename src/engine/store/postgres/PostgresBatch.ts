/**
 * One transaction on PostgreSQL, in two round trips: the rows that the calls are about to read are locked and fetched
 * with BEGIN; what they have changed is sent with COMMIT.
 *
 * Several servers work on one database, so nothing may be written that another one has changed since it was read. The
 * isolation level is READ COMMITTED, and safety comes from locks: every row that a call reads is locked (`for update`)
 * until the end, also the rows of a select; a row that was found absent is written by a plain INSERT, so that whoever
 * loses the race meets a unique key and runs the batch again; only a row that nobody has looked at is overwritten.
 * (REPEATABLE READ would make every batch fail that shares the counter of global_seq with another server's.)
 * Locks are taken table by table in a fixed order, within a table by primary key, and the counter of global_seq comes
 * last of all, in the same round trip as COMMIT: numbers become visible in the order in which they are given.
 */
import * as Effect from "effect/Effect"
import type { StoreError } from "../../StoreError.js"
import type { Page, Room } from "../Room.js"
import { keyText, type Table, type Value } from "../Table.js"
import type { Draft, Driver, RawRow } from "../Transaction.js"
import { type Entry, Journal } from "../tables.js"
import type { Failure } from "./failure.js"
import type { Mark, Marks } from "./Marks.js"
import type { Rows } from "./Pipeline.js"
import type { Session } from "./Pool.js"
import { type Memory, uniqueText, type Wanted, type Wants } from "./Prediction.js"
import { lockOf, lockOrder, Seen } from "./Seen.js"
import { type Command, columnsOf, command, encode, encodeArray, prepare, sqlNames, unnest } from "./Statement.js"
import { commandWithin, pageOf, type TableSql } from "./TableSql.js"

export interface Surroundings {
  readonly sqlOf: (table: Table) => TableSql
  /** Where other processes listen for new entries. */
  readonly channel: string
  readonly marks: Marks
  readonly toStoreError: (failure: Failure) => StoreError
}

export class PostgresBatch implements Driver {
  /** Why the batch cannot be committed, once something has failed. */
  failure: Failure | undefined
  private isOver = false
  private hasWritten = false
  private transactionId = ""
  private readonly mark: Mark
  private readonly writes: Array<Command> = []
  private readonly seen = new Seen()

  constructor(
    private readonly session: Session,
    private readonly around: Surroundings
  ) {
    this.mark = around.marks.next()
  }

  /** Opens the transaction and locks what is wanted; answers the database's clock, read once the locks are held. */
  begin(wants: Wants): Effect.Effect<bigint, StoreError> {
    const tables = [...wants].toSorted(([left], [right]) => (lockOrder(left) < lockOrder(right) ? -1 : 1))
    const locks = tables.map(([table, wanted]) => lockOf(this.around.sqlOf(table), table, wanted))
    return Effect.map(
      this.run(() => [begin, ...locks, clock]),
      (results) => {
        tables.forEach(([table, wanted], index) =>
          this.seen.note(table, wanted, results[index + 1]!.map(this.around.sqlOf(table).decode))
        )
        const [nowMs, transactionId] = results.at(-1)![0]!
        this.transactionId = transactionId!
        return BigInt(nowMs!)
      }
    )
  }

  get(table: Table, key: ReadonlyArray<Value>): Effect.Effect<RawRow | undefined, StoreError> {
    const text = uniqueText(key)
    const known = this.seen.rows(table)
    if (known.has(text)) {
      return Effect.succeed(known.get(text))
    }
    const row = Object.fromEntries(table.key.map((column, index) => [column, key[index]!]))
    return Effect.map(this.fetch(table, { keys: new Map([[text, row]]), uniques: new Map() }), () => known.get(text))
  }

  find(table: Table, unique: string, values: ReadonlyArray<Value>): Effect.Effect<RawRow | undefined, StoreError> {
    const row = Effect.sync(() => this.seen.findRow(table, unique, values))
    if (this.seen.hasFound(table, unique, values)) {
      return row
    }
    const uniques = new Map([[unique, new Map([[uniqueText(values), values]])]])
    return Effect.zipRight(this.fetch(table, { keys: new Map(), uniques }), row)
  }

  select(
    table: Table,
    clause: string,
    parameters: ReadonlyArray<Value>
  ): Effect.Effect<ReadonlyArray<RawRow>, StoreError> {
    const { decode, select } = this.around.sqlOf(table)
    const query = command(select(`${clause}${lockingOf(table)}`), parameters.map(encode))
    return this.selected(table, query, (rows) => rows.map(decode))
  }

  selectWithin(
    table: Table,
    clause: string,
    parameters: ReadonlyArray<Value>,
    room: Room
  ): Effect.Effect<Page<RawRow>, StoreError> {
    const sql = this.around.sqlOf(table)
    const query = commandWithin(sql, `${clause}${lockingOf(table, room.passOver)}`, parameters, room)
    let page: Page<RawRow> = { rows: [], isAll: true }
    return Effect.map(
      this.selected(table, query, (rows) => {
        page = pageOf(sql, rows)
        return page.rows
      }),
      () => page
    )
  }

  upsert(table: Table, rows: ReadonlyArray<RawRow>): Effect.Effect<void, StoreError> {
    return Effect.sync(() => {
      const { insert, update, upsert } = this.around.sqlOf(table)
      const known = this.seen.rows(table)
      const absent: Array<RawRow> = []
      const unseen: Array<RawRow> = []
      const changes = new Map<string, Array<RawRow>>()
      for (const row of rows) {
        const text = keyText(table.key, row)
        const before = known.get(text)
        if (before !== undefined) {
          const changed = table.columnNames.filter((column) => before[column] !== row[column]).join(" ")
          const alike = changes.get(changed)
          if (alike === undefined) {
            changes.set(changed, [row])
          } else {
            alike.push(row)
          }
        } else {
          ;(known.has(text) ? absent : unseen).push(row)
        }
        known.set(text, row)
      }
      for (const [names, changed] of changes) {
        const columns = names.split(" ")
        if (names !== "") {
          this.write(command(update(columns), columnsOf(table, [...table.key, ...columns], changed)))
        }
      }
      for (const [statement, some] of [
        [insert, absent],
        [upsert, unseen]
      ] as const) {
        if (some.length > 0) {
          // In a fixed order, because two that insert the same keys wait for each other.
          const sorted = some.toSorted((left, right) => (keyText(table.key, left) < keyText(table.key, right) ? -1 : 1))
          this.write(command(statement, columnsOf(table, table.columnNames, sorted)))
        }
      }
    })
  }

  remove(table: Table, keys: ReadonlyArray<ReadonlyArray<Value>>): Effect.Effect<void, StoreError> {
    return Effect.sync(() => {
      const columns = table.key.map((column, index) =>
        encodeArray(
          table.columns[column]!.kind,
          keys.map((key) => key[index]!)
        )
      )
      this.write(command(this.around.sqlOf(table).remove, columns))
      keys.forEach((key) => this.seen.rows(table).set(uniqueText(key), undefined))
    })
  }

  /** The last step: everything is written, numbered and committed. */
  append(drafts: ReadonlyArray<Draft>): Effect.Effect<ReadonlyArray<Entry>, StoreError> {
    const count = BigInt(drafts.length)
    const numbering = command(journal, [
      encode(count),
      this.around.channel,
      ...columnsOf(Journal, draftColumns, drafts as ReadonlyArray<RawRow>)
    ])
    return Effect.map(this.commitWith([numbering]), (results) => {
      const last = results?.at(-2)?.[0]?.[0]
      // Without an answer the numbers are unknown here; whoever follows the journal reads them from the store.
      return last === undefined
        ? []
        : drafts.map((draft, index) => ({ ...draft, globalSeq: BigInt(last) - count + BigInt(index + 1) }))
    })
  }

  /** Ends the transaction, unless `append` has done so. */
  commit(): Effect.Effect<void, StoreError> {
    if (this.isOver) {
      return Effect.void
    }
    if (this.hasWritten) {
      return Effect.asVoid(this.commitWith([]))
    }
    // Nothing was changed: there is nothing to make durable, or to wait for.
    return Effect.sync(() => this.abandon())
  }

  /** Lets go of the locks. */
  abandon(): void {
    if (!this.isOver && this.failure?.isLost !== true) {
      this.isOver = true
      this.session.finish(rollback)
    }
  }

  remember(memory: Memory): void {
    this.seen.remember(memory)
  }

  /** Nothing when the connection was lost, and the database says that it had committed by then. */
  private commitWith(last: ReadonlyArray<Command>): Effect.Effect<ReadonlyArray<Rows> | undefined, StoreError> {
    return Effect.suspend(() => this.session.run([this.mark.command, ...this.writes.splice(0), ...last, commit])).pipe(
      Effect.catchIf(
        (failure) => failure.isLost,
        (failure) =>
          Effect.flatMap(this.around.marks.isCommitted(this.mark, this.transactionId), (isCommitted) =>
            isCommitted ? Effect.succeed(undefined) : Effect.fail(failure)
          )
      ),
      Effect.mapError((failure) => this.failed(failure)),
      Effect.tap(() => {
        this.isOver = true
      })
    )
  }

  private write(command: Command): void {
    this.hasWritten = true
    this.writes.push(command)
  }

  /** Sends a query behind what was written before it, and takes in what it finds. */
  private selected(
    table: Table,
    query: Command,
    decode: (rows: Rows) => ReadonlyArray<RawRow>
  ): Effect.Effect<ReadonlyArray<RawRow>, StoreError> {
    return Effect.flatMap(
      this.run(() => [...this.writes.splice(0), query]),
      (results) => {
        const rows = decode(results.at(-1)!)
        return isFixed(table) || this.seen.learn(table, rows) ? Effect.succeed(rows) : this.overtaken
      }
    )
  }

  /** The commands are collected when it runs: a flush that comes first adds to them. */
  private run(commands: () => ReadonlyArray<Command>): Effect.Effect<ReadonlyArray<Rows>, StoreError> {
    return Effect.mapError(
      Effect.suspend(() => this.session.run(commands())),
      (failure) => this.failed(failure)
    )
  }

  private failed(failure: Failure): StoreError {
    this.failure = failure
    return this.around.toStoreError(failure)
  }

  private readonly overtaken: Effect.Effect<never, StoreError> = Effect.suspend(() =>
    Effect.fail(
      this.failed({
        code: "40001",
        isLost: false,
        detail: "a row that was absent has appeared",
        cause: undefined
      })
    )
  )

  private fetch(table: Table, wanted: Wanted): Effect.Effect<void, StoreError> {
    return Effect.flatMap(
      this.run(() => [...this.writes.splice(0), lockOf(this.around.sqlOf(table), table, wanted)]),
      (results) =>
        this.seen.note(table, wanted, results.at(-1)!.map(this.around.sqlOf(table).decode))
          ? Effect.void
          : this.overtaken
    )
  }
}

const begin = command(prepare("begin isolation level read committed read write"))
const commit = command(prepare("commit"))
const rollback = command(prepare("rollback"))
const clock = command(
  prepare("select floor(extract(epoch from clock_timestamp()) * 1000)::int8, pg_current_xact_id()::text")
)

/** Entries never change: there is nothing to guard. */
const isFixed = (table: Table): boolean => table === Journal

const lockingOf = (table: Table, passOver = false): string =>
  isFixed(table) ? "" : passOver ? " for update skip locked" : " for update"

const draftColumns = Journal.columnNames.filter((column) => column !== "globalSeq")

const journal = prepare(
  `with taken as (update counters set value = value + $1::int8 where name = 'global_seq' returning value),
     written as (
       insert into journal (global_seq, ${sqlNames(draftColumns)})
       select taken.value - $1::int8 + v.place, ${draftColumns.map((_, index) => `v.v${index + 1}`).join(", ")}
         from taken, ${unnest(Journal, draftColumns, "v", { first: 3, place: "place" })}
     )
   select value, pg_notify($2, value::text) from taken`
)
