/**
 * Tasks: what a reaction found, handed out under a lease until somebody has done it.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type {
  ClaimTasksRequest,
  CompleteTaskRequest,
  ListTasksRequest,
  NackTaskRequest,
  Task
} from "../../gen/tape/v1/tape_pb.js"
import {
  ClaimTasksResponseSchema,
  CompleteTaskResponseSchema,
  ListTasksResponseSchema,
  NackTaskResponseSchema,
  TaskSchema,
  TaskStatus
} from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import type * as Journal from "../Journal.js"
import type { StoreError } from "../StoreError.js"
import type { Reader, Transaction } from "../store/Transaction.js"
import { Reactions, type TaskRow, Tasks } from "../store/tables.js"
import { after, limitOf, mergeSorted, nowOr } from "./common.js"
import { defaults } from "./Reactions.js"
import * as claimable from "./tasks/claimable.js"

const defaultLeaseMs = 60_000n
const longestDelayMs = 3_600_000n

/**
 * Hands out tasks of a reaction to one owner: those that are due, and those whose owner went silent. What went silent
 * for the last time goes to the dead letters instead.
 */
export const claim = Effect.fnUntraced(function* (
  { tx }: Journal.Context,
  request: ClaimTasksRequest,
  maxBytes: number
) {
  const { owner, reactionId } = request
  yield* requireOwner(owner)
  const reaction = yield* tx.get(Reactions, { reactionId })
  if (reaction === undefined || reaction.deleted) {
    return create(ClaimTasksResponseSchema, {})
  }
  const nowMs = nowOr(request.nowMs, tx.nowMs)
  const wanted = { reactionId, shard: request.shard, nowMs, limit: limitOf(request.max, 16), bytes: maxBytes }
  // All that is selected is selected before the first write.
  const dead = yield* claimable.abandoned(tx, wanted, reaction.dlqAfterN)
  const silent = yield* claimable.silent(tx, wanted, reaction.dlqAfterN)
  const due = yield* claimable.due(tx, wanted)
  for (const row of dead) {
    tx.put(Tasks, {
      ...row,
      ...unleased,
      status: TaskStatus.DLQ,
      lastError: `lease expired after attempt ${row.attempts}, last owner ${row.leaseOwner}`
    })
  }
  const ordered = mergeSorted(
    [silent, due],
    wanted.limit,
    (row) => row.nextAttemptAtMs,
    (row) => row.sourceGlobalSeq
  )
  const leased = ordered.map((row) => ({
    ...row,
    status: TaskStatus.CLAIMED,
    attempts: row.attempts + 1,
    leaseOwner: owner,
    leaseExpiresAtMs: after(nowMs, request.leaseMs, defaultLeaseMs)
  }))
  const claimed = claimable.fitting(leased, maxBytes)
  claimed.forEach((row) => tx.put(Tasks, row))
  return create(ClaimTasksResponseSchema, { tasks: claimed.map(toRecord) })
})

/** Records that a task is done. A repeat by the one who completed it is answered alike. */
export const complete = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: CompleteTaskRequest) {
  const { owner } = request
  yield* requireOwner(owner)
  const row = yield* requireTask(tx, request.taskId)
  if (row.status === TaskStatus.DONE && row.finishedBy === owner) {
    return create(CompleteTaskResponseSchema, { task: toRecord(row) })
  }
  yield* requireLease(row, owner)
  const done = { ...row, ...unleased, status: TaskStatus.DONE, finishedBy: owner, finishedAtMs: tx.nowMs }
  tx.put(Tasks, done)
  return create(CompleteTaskResponseSchema, { task: toRecord(done) })
})

/** Gives a task back: it is tried again later, or goes to the dead letters when it is hopeless. */
export const nack = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: NackTaskRequest) {
  yield* requireOwner(request.owner)
  const row = yield* requireTask(tx, request.taskId)
  yield* requireLease(row, request.owner)
  const { dlqAfterN, retryBackoffMs } = (yield* tx.get(Reactions, row)) ?? defaults
  const isHopeless = request.permanent || row.attempts >= dlqAfterN
  const returned = {
    ...row,
    ...unleased,
    lastError: request.error,
    ...(isHopeless
      ? { status: TaskStatus.DLQ }
      : { status: TaskStatus.PENDING, nextAttemptAtMs: tx.nowMs + delayMs(retryBackoffMs, row.attempts) })
  }
  tx.put(Tasks, returned)
  return create(NackTaskResponseSchema, { task: toRecord(returned) })
})

/** The tasks of a reaction, the newest first. */
export const list = (reader: Reader, { limit, reactionId, status }: ListTasksRequest) =>
  Effect.map(
    reader.select(
      Tasks,
      `where reaction_id = ? ${status === TaskStatus.UNSPECIFIED ? "" : "and status = ?"}
       order by first_global_seq desc limit ?`,
      [reactionId, ...(status === TaskStatus.UNSPECIFIED ? [] : [status]), limitOf(limit, 200)]
    ),
    (rows) => create(ListTasksResponseSchema, { tasks: rows.map(toRecord) })
  )

const requireOwner = (owner: string): Effect.Effect<void, Refusal> =>
  owner === "" ? Effect.fail(Refusal.invalid("owner is required")) : Effect.void

const requireTask = Effect.fnUntraced(function* (
  tx: Transaction,
  taskId: string
): Effect.fn.Return<TaskRow, Refusal | StoreError> {
  const row = yield* tx.get(Tasks, { taskId })
  return row ?? (yield* Refusal.notFound(`task ${JSON.stringify(taskId)} does not exist`))
})

/** A lease that has run out still counts until somebody else has the task. */
const requireLease = (row: TaskRow, owner: string): Effect.Effect<void, Refusal> =>
  row.status === TaskStatus.CLAIMED && row.leaseOwner === owner
    ? Effect.void
    : Effect.fail(
        Refusal.precondition(
          row.status === TaskStatus.CLAIMED
            ? `the task is claimed by ${JSON.stringify(row.leaseOwner)}, not by ${JSON.stringify(owner)}`
            : `the task is ${TaskStatus[row.status] ?? row.status}, not claimed by ${JSON.stringify(owner)}`
        )
      )

const unleased = { leaseOwner: "", leaseExpiresAtMs: 0n }

const delayMs = (backoffMs: number, attempts: number): bigint => {
  const delay = BigInt(backoffMs) * 2n ** BigInt(Math.min(Math.max(attempts - 1, 0), 20))
  return delay < longestDelayMs ? delay : longestDelayMs
}

const toRecord = (row: TaskRow): Task => {
  const { finishedAtMs: _, finishedBy: __, firstGlobalSeq: ___, ...task } = row
  return create(TaskSchema, task)
}
