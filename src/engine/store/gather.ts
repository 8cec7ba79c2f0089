/**
 * All rows that a run has in a table, however long their texts are.
 */
import * as Effect from "effect/Effect"
import type { StoreError } from "../StoreError.js"
import { type Page, pageBytes } from "./Room.js"
import { type Row, sqlName, type Table, type Value } from "./Table.js"
import { keyValues, type Reader } from "./Transaction.js"

/** Rows in one page. */
const pageSize = 200

/**
 * What `take` makes of each row of a run, in the order of the table's key, whose first part is the run. Whole rows are
 * held a page at a time only.
 */
export const gather = Effect.fnUntraced(function* <T extends Table, A>(
  reader: Reader,
  table: T,
  runId: string,
  take: (row: Row<T>) => A
): Effect.fn.Return<ReadonlyArray<A>, StoreError> {
  const taken: Array<A> = []
  const by = sqlName(table.key[1]!)
  let after: ReadonlyArray<Value> = []
  while (true) {
    const { isAll, rows }: Page<Row<T>> = yield* reader.selectWithin(
      table,
      `where run_id = ? ${after.length === 0 ? "" : `and ${by} > ?`} order by ${by} limit ?`,
      [runId, ...after, BigInt(pageSize)],
      { bytes: pageBytes }
    )
    for (const row of rows) {
      taken.push(take(row))
    }
    const last = rows.at(-1)
    if (last === undefined || (isAll && rows.length < pageSize)) {
      return taken
    }
    after = keyValues(table, last).slice(1)
  }
})
