/**
 * Results that are bounded by their size, not only by their number: a row may hold a text of some bytes or of millions.
 */
import type { Table, Value } from "./Table.js"

/** How much of a result there is room for. */
export interface Room {
  /** Of text, and of a little more for each row: see {@link rowBytes}. */
  readonly bytes: number
  /** Rows that come whatever their size; one by default, so that a reader gets on. */
  readonly atLeast?: number
  /** For a claim: passes over rows that another server is at work on, instead of waiting for it. */
  readonly passOver?: boolean
}

/** The first rows of a result, as many as there is room for. */
export interface Page<A> {
  readonly rows: ReadonlyArray<A>
  /** Whether the result ends here; `false` when only its size did not allow for more. */
  readonly isAll: boolean
}

/** What a row takes beside its texts, generously: its numbers, and the names of its fields in a message. */
export const rowBytes = 300

/** Of a page that a subscriber reads. */
export const pageBytes = 1024 * 1024

/** The columns of a table that may be long. */
export const textsOf = (table: Table): ReadonlyArray<string> =>
  table.columnNames.filter((column) => table.columns[column]!.kind === "text")

/** How much room a row of a table takes: no less than its record takes in a message. */
export const sizerOf = (table: Table): ((row: { readonly [column: string]: Value }) => number) => {
  const texts = textsOf(table)
  return (row) => texts.reduce((size, column) => size + Buffer.byteLength(String(row[column])), rowBytes)
}

/** The length of all texts of a row, in UTF-16 units: cheaper than its size. */
export const textLength = (row: { readonly [column: string]: Value | undefined }): number => {
  let length = 0
  for (const column in row) {
    const value = row[column]
    length += typeof value === "string" ? value.length : 0
  }
  return length
}
