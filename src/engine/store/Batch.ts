/**
 * A batch of calls over one open transaction.
 *
 * Every call sees the rows as the calls before it left them, and writes into an overlay of its own: a call that fails
 * is undone by dropping its overlay, the others stand. Rows are written once, at the end, however often they changed.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { StoreError } from "../StoreError.js"
import { type Page, type Room, textLength } from "./Room.js"
import { type Columns, type Key, keyText, type Row, type RowOf, type Table, type Value } from "./Table.js"
import { type Draft, type Driver, type Job, keyValues, type RawRow, type Transaction } from "./Transaction.js"

export interface Settings {
  readonly nowMs: bigint
  readonly newId: () => string
}

/**
 * What the calls of a transaction may write before the others have to wait for the next one, in UTF-16 units: many large
 * calls in one go would hold up the event loop, and be too long for PostgreSQL's driver, which sends a column at once.
 */
const mostWritten = 8 * 1024 * 1024

/**
 * Runs the jobs in order in the driver's transaction and writes what they changed; commit is the caller's. A failure of
 * the store fails the batch; any other failure only its own job. There are fewer exits than jobs when the first of them
 * have written that much that the others have to wait.
 */
export const runBatch = Effect.fnUntraced(function* (driver: Driver, jobs: ReadonlyArray<Job>, settings: Settings) {
  const batch = new Batch(driver)
  const exits: Array<Exit.Exit<unknown, unknown>> = []
  for (const job of jobs) {
    if (batch.written >= mostWritten) {
      break
    }
    if (job.isAbandoned()) {
      exits.push(abandoned)
      continue
    }
    const call = new CallTransaction(batch, settings)
    const exit = yield* Effect.exit(job.run(call))
    if (Exit.isSuccess(exit)) {
      call.settle()
    } else if (isStoreFailure(exit.cause)) {
      return yield* Effect.failCause(exit.cause)
    }
    exits.push(exit)
  }
  yield* batch.flush()
  const entries = batch.drafts.length === 0 ? [] : yield* driver.append(batch.drafts)
  return { exits, entries }
})

const abandoned = Exit.interrupt(Effect.runSync(Effect.fiberId))

const isStoreFailure = (cause: Cause.Cause<unknown>): cause is Cause.Cause<StoreError> =>
  Option.match(Cause.failureOption(cause), {
    onNone: () => false,
    onSome: (error) => typeof error === "object" && error !== null && "_tag" in error && error._tag === "StoreError"
  })

/** `undefined` is a row known to be absent. */
type Rows = Map<string, RawRow | undefined>

/** The rows read and written so far, by table. */
class Batch {
  readonly drafts: Array<Draft> = []
  /** The length of all texts, also of those that a later call has written again. */
  written = 0
  private readonly known = new Map<Table, Rows>()
  private readonly dirty = new Map<Table, Set<string>>()
  private readonly indexes = new Map<Table, Map<string, string>>()

  constructor(readonly driver: Driver) {}

  rows(table: Table): Rows {
    return getOrCreate(this.known, table, () => new Map())
  }

  set(table: Table, key: string, row: RawRow | undefined): void {
    this.rows(table).set(key, row)
    getOrCreate(this.dirty, table, () => new Set()).add(key)
    if (row !== undefined) {
      this.index(table, key, row)
      this.written += textLength(row)
    }
  }

  append(drafts: ReadonlyArray<Draft>): void {
    for (const draft of drafts) {
      this.drafts.push(draft)
      this.written += textLength(draft)
    }
  }

  learn(table: Table, row: RawRow): void {
    const key = keyText(table.key, row)
    this.rows(table).set(key, row)
    this.index(table, key, row)
  }

  /** A row that the driver has found, as the calls before have left it: they may have removed it unseen. */
  newest(table: Table, found: RawRow): RawRow | undefined {
    const rows = this.rows(table)
    const key = keyText(table.key, found)
    if (!rows.has(key)) {
      this.learn(table, found)
    }
    return rows.get(key)
  }

  findKey(table: Table, unique: string, values: ReadonlyArray<Value>): string | undefined {
    return this.indexes.get(table)?.get(indexText(unique, values))
  }

  flush(): Effect.Effect<void, StoreError> {
    if (this.dirty.size === 0) {
      return Effect.void
    }
    const writes: Array<Effect.Effect<void, StoreError>> = []
    for (const [table, keys] of this.dirty) {
      const rows: Array<RawRow> = []
      const removed: Array<ReadonlyArray<Value>> = []
      for (const key of keys) {
        const row = this.rows(table).get(key)
        if (row === undefined) {
          removed.push(key.split("\u0000"))
        } else {
          rows.push(row)
        }
      }
      if (removed.length > 0) {
        writes.push(this.driver.remove(table, removed))
      }
      if (rows.length > 0) {
        writes.push(this.driver.upsert(table, rows))
      }
    }
    this.dirty.clear()
    return Effect.all(writes, { discard: true })
  }

  private index(table: Table, key: string, row: RawRow): void {
    for (const [name, { columns }] of Object.entries(table.unique)) {
      const values = columns.map((column) => row[column]!)
      getOrCreate(this.indexes, table, () => new Map()).set(indexText(name, values), key)
    }
  }
}

/** What one call changed, kept apart until the call succeeds. */
class CallTransaction implements Transaction {
  readonly nowMs: bigint
  readonly newId: () => string
  readonly drafts: Array<Draft> = []
  private readonly written = new Map<Table, Rows>()

  constructor(
    private readonly batch: Batch,
    settings: Settings
  ) {
    this.nowMs = settings.nowMs
    this.newId = settings.newId
  }

  // The casts are earned as in `readerOf`.

  get<T extends Table>(table: T, key: Key<T>): Effect.Effect<Row<T> | undefined, StoreError> {
    return this.byKey(table, key) as Effect.Effect<Row<T> | undefined, StoreError>
  }

  find<C extends Columns, K extends string, U extends string>(
    table: Table<C, K, U>,
    unique: NoInfer<U>,
    values: ReadonlyArray<Value>
  ): Effect.Effect<RowOf<C> | undefined, StoreError> {
    return this.byUnique(table, unique, values) as Effect.Effect<RowOf<C> | undefined, StoreError>
  }

  select<T extends Table>(
    table: T,
    clause: string,
    parameters: ReadonlyArray<Value>
  ): Effect.Effect<ReadonlyArray<Row<T>>, StoreError> {
    return this.flushed((driver) => driver.select(table, clause, parameters)) as Effect.Effect<
      ReadonlyArray<Row<T>>,
      StoreError
    >
  }

  selectWithin<T extends Table>(
    table: T,
    clause: string,
    parameters: ReadonlyArray<Value>,
    room: Room
  ): Effect.Effect<Page<Row<T>>, StoreError> {
    return this.flushed((driver) => driver.selectWithin(table, clause, parameters, room)) as Effect.Effect<
      Page<Row<T>>,
      StoreError
    >
  }

  put<T extends Table>(table: T, row: Row<T>): void {
    const raw: RawRow = row
    getOrCreate(this.written, table, () => new Map()).set(keyText(table.key, raw), raw)
  }

  remove<T extends Table>(table: T, key: Key<T>): void {
    const raw: RawRow = key
    getOrCreate(this.written, table, () => new Map()).set(keyText(table.key, raw), undefined)
  }

  append(draft: Draft): void {
    this.drafts.push(draft)
  }

  settle(): void {
    for (const [table, rows] of this.written) {
      for (const [key, row] of rows) {
        this.batch.set(table, key, row)
      }
    }
    this.batch.append(this.drafts)
  }

  /** A query sees what the calls before this one have written. */
  private flushed<A>(query: (driver: Driver) => Effect.Effect<A, StoreError>): Effect.Effect<A, StoreError> {
    return this.written.size > 0
      ? Effect.dieMessage("a call selects before it writes")
      : Effect.zipRight(
          this.batch.flush(),
          Effect.suspend(() => query(this.batch.driver))
        )
  }

  private byKey(table: Table, key: RawRow): Effect.Effect<RawRow | undefined, StoreError> {
    const text = keyText(table.key, key)
    const own = this.written.get(table)
    if (own?.has(text) === true) {
      return Effect.succeed(own.get(text))
    }
    const known = this.batch.rows(table)
    if (known.has(text)) {
      return Effect.succeed(known.get(text))
    }
    return Effect.tap(this.batch.driver.get(table, keyValues(table, key)), (row) => {
      if (row === undefined) {
        known.set(text, undefined)
      } else {
        this.batch.learn(table, row)
      }
    })
  }

  private byUnique(
    table: Table,
    unique: string,
    values: ReadonlyArray<Value>
  ): Effect.Effect<RawRow | undefined, StoreError> {
    const key = this.batch.findKey(table, unique, values)
    if (key !== undefined) {
      return Effect.succeed(this.batch.rows(table).get(key))
    }
    return Effect.map(this.batch.driver.find(table, unique, values), (row) =>
      row === undefined ? undefined : this.batch.newest(table, row)
    )
  }
}

const indexText = (unique: string, values: ReadonlyArray<Value>): string => `${unique}\u0000${values.join("\u0000")}`

const getOrCreate = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
  const found = map.get(key)
  if (found !== undefined) {
    return found
  }
  const made = make()
  map.set(key, made)
  return made
}
