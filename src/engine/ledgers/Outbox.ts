/**
 * Effects that a dispatcher sends: due, claimed, tried, observed.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type {
  ClaimEffectDispatchRequest,
  ListEffectsToDispatchRequest,
  RecordDispatchAttemptRequest,
  RecordExternalObservationRequest
} from "../../gen/tape/v1/tape_pb.js"
import {
  ClaimEffectDispatchResponseSchema,
  EffectDispatchMode,
  EffectResolution,
  EffectSemantics,
  EffectStatus,
  ListEffectsToDispatchResponseSchema
} from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import * as Journal from "../Journal.js"
import type { Reader } from "../store/Transaction.js"
import { type EffectRow, Effects } from "../store/tables.js"
import { after, limitOf, nowOr, requireRun } from "./common.js"
import { change, isSettled, lookUp, outcomeWord, requireEffect, toRecord, unclaimed } from "./effects/rows.js"
import * as Obligations from "./Obligations.js"

const defaultClaimMs = 60_000n

/** Pending outbox effects that are due and that nobody has claimed, the longest due first. */
export const listDue = Effect.fnUntraced(function* (
  reader: Reader,
  request: ListEffectsToDispatchRequest,
  nowMs: bigint
) {
  const now = nowOr(request.nowMs, nowMs)
  const byConnector = request.connector === "" ? [] : [request.connector]
  const rows = yield* reader.select(
    Effects,
    `where status = ${EffectStatus.PENDING} and dispatch_mode = ${EffectDispatchMode.OUTBOX}
       ${byConnector.map(() => "and connector = ?").join("")} and next_dispatch_at_ms <= ?
       and (dispatch_claimed_by = '' or dispatch_claim_expires_at_ms <= ?)
     order by next_dispatch_at_ms, ts_ms limit ?`,
    [...byConnector, now, now, limitOf(request.limit, 200)]
  )
  return create(ListEffectsToDispatchResponseSchema, { effects: rows.map(toRecord) })
})

/** Claims an effect for one dispatcher; the loser is shown who has it. */
export const claim = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: ClaimEffectDispatchRequest) {
  if (request.claimer === "") {
    return yield* Refusal.invalid("claimer is required")
  }
  yield* requireRun(tx, request.runId)
  const row = yield* lookUp(tx, request.runId, request.idempotencyKey)
  if (row === undefined) {
    return create(ClaimEffectDispatchResponseSchema, { acquired: false })
  }
  if (!isClaimable(row, tx.nowMs)) {
    return create(ClaimEffectDispatchResponseSchema, { acquired: false, effect: toRecord(row) })
  }
  const claimed = {
    ...row,
    dispatchClaimedBy: request.claimer,
    dispatchClaimExpiresAtMs: after(tx.nowMs, request.leaseTtlMs, defaultClaimMs),
    // A claimer that never reported may have acted: whoever comes next must be able to tell.
    lastDispatchError:
      row.dispatchClaimedBy === "" ? row.lastDispatchError : `claim of ${row.dispatchClaimedBy} expired unreported`
  }
  tx.put(Effects, claimed)
  return create(ClaimEffectDispatchResponseSchema, { acquired: true, effect: toRecord(claimed) })
})

/** Records an attempt that did not succeed: tried again later, or unknown when no later time is given. */
export const recordAttempt = Effect.fnUntraced(function* (
  context: Journal.Context,
  request: RecordDispatchAttemptRequest
) {
  const row = yield* requireEffect(context.tx, request.runId, request.idempotencyKey)
  if (isSettled(row) || isUndecidable(row)) {
    return toRecord(row)
  }
  const isRetried = request.nextDispatchAtMs > 0n
  const changed = {
    ...row,
    ...unclaimed,
    status: isRetried ? EffectStatus.PENDING : EffectStatus.UNKNOWN,
    dispatchAttempts: row.dispatchAttempts + 1,
    nextDispatchAtMs: isRetried ? request.nextDispatchAtMs : 0n,
    lastDispatchError: request.error
  }
  const status = isRetried ? "pending" : "unknown"
  const payload = {
    dispatch_attempts: changed.dispatchAttempts,
    error: changed.lastDispatchError,
    idempotency_key: row.idempotencyKey,
    next_dispatch_at_ms: changed.nextDispatchAtMs,
    status,
    tool: row.toolName,
    transition: isRetried ? "dispatch-retry-scheduled" : "dispatch-unknown"
  }
  return yield* change(context, changed, [[status, payload]])
})

/** Records what the counterparty says of an effect, and what follows from it. */
export const recordObservation = Effect.fnUntraced(function* (
  context: Journal.Context,
  request: RecordExternalObservationRequest
) {
  const { compensateOnDuplicateKind: kind, errorJson, externalRef, resolution, responseJson } = request
  const transition = resolutionWord(resolution)
  if (transition === undefined) {
    return yield* Refusal.invalid(`resolution ${resolution} is not one of 1 to 5`)
  }
  const row = yield* requireEffect(context.tx, request.runId, request.idempotencyKey)
  const isDuplicate = resolution === EffectResolution.DUPLICATE && kind !== "" && row.status !== EffectStatus.FAILED
  const record = isSettled(row)
    ? toRecord(row)
    : yield* change(
        context,
        { ...row, ...unclaimed, ...resolved(row, resolution, context.tx.nowMs), responseJson, errorJson, externalRef },
        [
          [
            outcomeWord(resolved(row, resolution, context.tx.nowMs).status) ?? "pending",
            {
              external_ref: externalRef,
              idempotency_key: row.idempotencyKey,
              status: "observed",
              tool: row.toolName,
              transition: `observed-${transition}`
            }
          ]
        ]
      )
  if (isDuplicate) {
    yield* Obligations.register(context, {
      runId: row.runId,
      effectKey: row.idempotencyKey,
      kind,
      payloadJson: Journal.stringify({
        external_ref: externalRef,
        idempotency_key: row.idempotencyKey,
        reason: "duplicate-observed"
      }),
      compensatorRef: "",
      maxAttempts: 0
    })
  }
  return record
})

const isClaimable = (row: EffectRow, nowMs: bigint): boolean =>
  row.status === EffectStatus.PENDING &&
  row.dispatchMode === EffectDispatchMode.OUTBOX &&
  row.nextDispatchAtMs <= nowMs &&
  (row.dispatchClaimedBy === "" || row.dispatchClaimExpiresAtMs <= nowMs)

/** Only an observation or a reconciliation settles it: a late report must not send it out again. */
const isUndecidable = (row: EffectRow): boolean =>
  row.status === EffectStatus.UNKNOWN && row.semantics === EffectSemantics.NON_IDEMPOTENT

const resolved = (
  row: EffectRow,
  resolution: EffectResolution,
  nowMs: bigint
): Pick<EffectRow, "status" | "nextDispatchAtMs"> => {
  const { nextDispatchAtMs } = row
  switch (resolution) {
    case EffectResolution.CONFIRMED:
    case EffectResolution.DUPLICATE:
      return { status: EffectStatus.CONFIRMED, nextDispatchAtMs }
    case EffectResolution.ABSENT:
      return row.semantics === EffectSemantics.IDEMPOTENT
        ? { status: EffectStatus.PENDING, nextDispatchAtMs: nowMs }
        : { status: EffectStatus.FAILED, nextDispatchAtMs }
    case EffectResolution.STUCK:
      return { status: EffectStatus.UNKNOWN, nextDispatchAtMs }
    default:
      return { status: EffectStatus.FAILED, nextDispatchAtMs }
  }
}

const resolutionWord = (resolution: EffectResolution): string | undefined =>
  resolution === EffectResolution.UNSPECIFIED ? undefined : EffectResolution[resolution]?.toLowerCase()
