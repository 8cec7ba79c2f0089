/**
 * Timers: the engine keeps them and tells which are due; acting is the caller's.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type {
  CancelTimerRequest,
  ListDueTimersRequest,
  ListDueTimersResponse,
  SetTimerRequest,
  TimerRecord
} from "../../gen/tape/v1/tape_pb.js"
import { CancelTimerResponseSchema, ListDueTimersResponseSchema, TimerRecordSchema } from "../../gen/tape/v1/tape_pb.js"
import type * as Journal from "../Journal.js"
import type { StoreError } from "../StoreError.js"
import type { Reader } from "../store/Transaction.js"
import { type Timer, Timers } from "../store/tables.js"
import { isOver, limitOf, nowOr, requireOpen, requireRun } from "./common.js"

/** Sets a timer; a repeat replaces it and arms it again. */
export const set = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: SetTimerRequest) {
  const { fireAtMs, kind, payloadJson, runId } = request
  const run = yield* requireRun(tx, runId)
  const timerId = request.timerId === "" ? tx.newId() : request.timerId
  const existing = yield* tx.get(Timers, { runId, timerId })
  if (existing === undefined) {
    yield* requireOpen(run, "timer")
  } else if (isOver(run)) {
    return toRecord(existing)
  }
  const row = {
    runId,
    timerId,
    fireAtMs,
    kind,
    payloadJson,
    fired: false,
    createdAtMs: existing?.createdAtMs ?? tx.nowMs
  }
  tx.put(Timers, row)
  return toRecord(row)
})

/** Removes a timer that has not fired. */
export const cancel = Effect.fnUntraced(function* ({ tx }: Journal.Context, { runId, timerId }: CancelTimerRequest) {
  const timer = yield* tx.get(Timers, { runId, timerId })
  const cancelled = timer !== undefined && !timer.fired
  if (cancelled) {
    tx.remove(Timers, { runId, timerId })
  }
  return create(CancelTimerResponseSchema, { cancelled })
})

/** Timers that are due, the earliest first. */
export const listDue = (
  reader: Reader,
  request: ListDueTimersRequest,
  nowMs: bigint
): Effect.Effect<ListDueTimersResponse, StoreError> =>
  Effect.map(reader.select(Timers, isDue, [nowOr(request.nowMs, nowMs), limitOf(request.limit, 200)]), toResponse)

/** The same, and marks each as fired, for exactly one caller: no more than one answer has room for. */
export const claimDue = ({ tx }: Journal.Context, request: ListDueTimersRequest, maxBytes: number) =>
  Effect.map(
    tx.selectWithin(Timers, isDue, [nowOr(request.nowMs, tx.nowMs), limitOf(request.limit, 200)], {
      bytes: maxBytes,
      passOver: true
    }),
    ({ rows }) => {
      const fired = rows.map((row) => ({ ...row, fired: true }))
      fired.forEach((row) => tx.put(Timers, row))
      return toResponse(fired)
    }
  )

const isDue = "where fired = 0 and fire_at_ms <= ? order by fire_at_ms limit ?"

const toResponse = (rows: ReadonlyArray<Timer>): ListDueTimersResponse =>
  create(ListDueTimersResponseSchema, { timers: rows.map(toRecord) })

const toRecord = (row: Timer): TimerRecord => create(TimerRecordSchema, row)
