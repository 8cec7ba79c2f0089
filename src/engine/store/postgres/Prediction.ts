/**
 * What the calls of a batch are about to read, found out by trying them on what is remembered: the answer is thrown
 * away, the keys are not, so that one round trip can lock and fetch them all. A wrong guess costs a round trip, never
 * more: the calls themselves only ever see rows that the open transaction holds.
 */
import * as Effect from "effect/Effect"
import type { StoreError } from "../../StoreError.js"
import { type Page, textLength } from "../Room.js"
import type { Columns, Key, Row, RowOf, Table, Value } from "../Table.js"
import { keyText } from "../Table.js"
import type { Job, RawRow, Transaction } from "../Transaction.js"

/** The keys to be read in one table. */
export interface Wanted {
  readonly keys: Map<string, RawRow>
  /** By unique key, then by value. */
  readonly uniques: Map<string, Map<string, ReadonlyArray<Value>>>
}

export type Wants = Map<Table, Wanted>

export const predict = (jobs: ReadonlyArray<Job>, memory: Memory, nowMs: bigint): Effect.Effect<Wants> =>
  Effect.suspend(() => {
    const wants: Wants = new Map()
    const guess = new Guess(wants, memory, nowMs)
    const tries = jobs.filter((job) => !job.isAbandoned()).map((job) => Effect.exit(job.run(guess)))
    return Effect.as(Effect.all(tries, { discard: true }), wants)
  })

/** Rows as they were lately: good for guessing only. */
export class Memory {
  private readonly rows = new Map<string, RawRow>()

  get(table: Table, key: string): RawRow | undefined {
    return this.rows.get(`${table.name}\u0000${key}`)
  }

  keep(table: Table, key: string, row: RawRow): void {
    const text = `${table.name}\u0000${key}`
    this.rows.delete(text)
    if (textLength(row) <= largestRow) {
      this.rows.set(text, row)
    }
    if (this.rows.size > mostRows) {
      // The oldest: a map keeps the order in which its keys were set.
      for (const oldest of this.rows.keys()) {
        this.rows.delete(oldest)
        break
      }
    }
  }
}

const mostRows = 4_096
const largestRow = 2_048

const wantedOf = (wants: Wants, table: Table): Wanted => {
  let wanted = wants.get(table)
  if (wanted === undefined) {
    wanted = { keys: new Map(), uniques: new Map() }
    wants.set(table, wanted)
  }
  return wanted
}

export const uniqueText = (values: ReadonlyArray<Value>): string => values.join("\u0000")

class Guess implements Transaction {
  constructor(
    private readonly wants: Wants,
    private readonly memory: Memory,
    readonly nowMs: bigint
  ) {}

  readonly drafts = []

  newId(): string {
    return ""
  }

  get<T extends Table>(table: T, key: Key<T>): Effect.Effect<Row<T> | undefined, StoreError> {
    const raw: RawRow = key
    const text = keyText(table.key, raw)
    wantedOf(this.wants, table).keys.set(text, raw)
    // The memory holds rows of this table under its keys.
    return Effect.succeed(this.memory.get(table, text) as Row<T> | undefined)
  }

  find<C extends Columns, K extends string, U extends string>(
    table: Table<C, K, U>,
    unique: NoInfer<U>,
    values: ReadonlyArray<Value>
  ): Effect.Effect<RowOf<C> | undefined, StoreError> {
    const { uniques } = wantedOf(this.wants, table)
    const wanted = uniques.get(unique) ?? new Map<string, ReadonlyArray<Value>>()
    uniques.set(unique, wanted.set(uniqueText(values), values))
    return Effect.succeed(undefined)
  }

  select<T extends Table>(): Effect.Effect<ReadonlyArray<Row<T>>, StoreError> {
    return Effect.succeed([])
  }

  selectWithin<T extends Table>(): Effect.Effect<Page<Row<T>>, StoreError> {
    return Effect.succeed({ rows: [], isAll: true })
  }

  put(): void {}

  remove(): void {}

  append(): void {}
}
