/** Which tasks may be handed out. Every query here is served by an index, whatever the table's size. */
import * as Effect from "effect/Effect"
import { TaskStatus } from "../../../gen/tape/v1/tape_pb.js"
import type { StoreError } from "../../StoreError.js"
import { type Page, sizerOf } from "../../store/Room.js"
import type { Value } from "../../store/Table.js"
import type { Reader, Transaction } from "../../store/Transaction.js"
import { type TaskRow, Tasks } from "../../store/tables.js"

export interface Wanted {
  readonly reactionId: string
  /** Negative means any. */
  readonly shard: number
  readonly nowMs: bigint
  readonly limit: bigint
  /** What an answer may take. */
  readonly bytes: number
}

/** Pending and due, in the order in which they are to be done: fresh ones by source, before all that wait to be tried again. */
export const due = Effect.fnUntraced(function* (
  reader: Reader,
  wanted: Wanted
): Effect.fn.Return<ReadonlyArray<TaskRow>, StoreError> {
  const rows: Array<TaskRow> = []
  let last: TaskRow | undefined
  // Page by page: rows are read for as long as an answer has room for their payloads.
  do {
    const size = wanted.limit - BigInt(rows.length)
    const page: Page<TaskRow> = yield* reader.selectWithin(
      Tasks,
      `where reaction_id = ? ${inShard(wanted)} and status = ${TaskStatus.PENDING} and next_attempt_at_ms <= ?
         ${last === undefined ? "" : "and (next_attempt_at_ms, source_global_seq) > (?, ?)"}
       order by next_attempt_at_ms, source_global_seq limit ?`,
      [
        ...scope(wanted),
        wanted.nowMs,
        ...(last === undefined ? [] : [last.nextAttemptAtMs, last.sourceGlobalSeq]),
        size < pageSize ? size : pageSize
      ],
      wanted
    )
    rows.push(...page.rows)
    const isEnd = !page.isAll || page.rows.length < pageSize || fitting(rows, wanted.bytes).length < rows.length
    last = isEnd ? undefined : page.rows.at(-1)
  } while (last !== undefined && BigInt(rows.length) < wanted.limit)
  return rows
})

/** Claimed by somebody whose lease has run out, with attempts left. */
export const silent = (tx: Transaction, wanted: Wanted, dlqAfterN: number) =>
  expired(tx, wanted, "attempts < ?", dlqAfterN)

/** The same, with no attempt left. */
export const abandoned = (tx: Transaction, wanted: Wanted, dlqAfterN: number) =>
  expired(tx, { ...wanted, limit: pageSize }, "attempts >= ?", dlqAfterN)

/** As many as fit into an answer, at least one: a claim whose answer is too large to arrive would only wear tasks out. */
export const fitting = (rows: ReadonlyArray<TaskRow>, bytes: number): ReadonlyArray<TaskRow> => {
  let room = bytes
  const end = rows.findIndex((row, index) => {
    room -= sizeOf(row)
    return index > 0 && room < 0
  })
  return end === -1 ? rows : rows.slice(0, end)
}

const pageSize = 64n

const sizeOf = sizerOf(Tasks)

const expired = (tx: Transaction, wanted: Wanted, attempts: string, dlqAfterN: number) =>
  // One that is just being completed elsewhere is not silent.
  Effect.map(
    tx.selectWithin(
      Tasks,
      `where reaction_id = ? ${inShard(wanted)} and status = ${TaskStatus.CLAIMED} and lease_expires_at_ms < ?
       and ${attempts} order by lease_expires_at_ms limit ?`,
      [...scope(wanted), wanted.nowMs, dlqAfterN, wanted.limit],
      { bytes: wanted.bytes, passOver: true }
    ),
    ({ rows }) => rows
  )

const inShard = ({ shard }: Wanted): string => (shard < 0 ? "" : "and shard = ?")

const scope = ({ reactionId, shard }: Wanted): ReadonlyArray<Value> => (shard < 0 ? [reactionId] : [reactionId, shard])
