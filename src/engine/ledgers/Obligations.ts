/**
 * What has to be undone, and who is undoing it.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type {
  ClaimObligationRequest,
  ListObligationsRequest,
  ListUnresolvedObligationsRequest,
  ObligationRecord,
  RecordObligationAttemptRequest,
  RegisterCompensationRequest,
  ResolveObligationRequest
} from "../../gen/tape/v1/tape_pb.js"
import {
  ClaimObligationResponseSchema,
  ListObligationsResponseSchema,
  ListUnresolvedObligationsResponseSchema,
  ObligationRecordSchema,
  ObligationStatus
} from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import * as Journal from "../Journal.js"
import type { StoreError } from "../StoreError.js"
import * as Subject from "../Subject.js"
import type { Reader, Transaction } from "../store/Transaction.js"
import { type Obligation, Obligations } from "../store/tables.js"
import { type Answer, after, limitOf, mergeSorted, nowOr, requireRun } from "./common.js"
import { requireRetained } from "./retained.js"

const defaultClaimMs = 60_000n
const defaultAttempts = 5

/** Registers a compensation, due at once; one per run, effect and kind. */
export const register = Effect.fnUntraced(function* (
  context: Journal.Context,
  request: Omit<RegisterCompensationRequest, "$typeName">
) {
  const { tx } = context
  const { compensatorRef, effectKey, kind, payloadJson, runId } = request
  const run = yield* requireRun(tx, runId)
  const existing = yield* tx.find(Obligations, "cause", [runId, effectKey, kind])
  if (existing !== undefined) {
    return toRecord(existing)
  }
  yield* requireRetained(run, "obligation")
  const { seqCursor: seq } = Journal.append(context, run, {
    kind: "obligation",
    subject: subjectOf("registered", kind, runId),
    payload: { effect_key: effectKey, kind, status: "pending", transition: "registered" }
  })
  const row = {
    runId,
    seq,
    effectKey,
    kind,
    payloadJson,
    status: ObligationStatus.PENDING,
    tsMs: tx.nowMs,
    compensatorRef,
    attempts: 0,
    maxAttempts: request.maxAttempts > 0 ? request.maxAttempts : defaultAttempts,
    nextAttemptAtMs: tx.nowMs,
    lastError: "",
    claimedBy: "",
    claimExpiresAtMs: 0n,
    resultJson: ""
  }
  tx.put(Obligations, row)
  return toRecord(row)
})

/** Claims a due obligation, or one whose claimer went silent; the loser is shown who has it. */
export const claim = Effect.fnUntraced(function* (context: Journal.Context, request: ClaimObligationRequest) {
  const { tx } = context
  if (request.claimer === "") {
    return yield* Refusal.invalid("claimer is required")
  }
  yield* requireRun(tx, request.runId)
  const row = yield* tx.get(Obligations, { runId: request.runId, seq: request.obligationSeq })
  if (row === undefined) {
    return create(ClaimObligationResponseSchema, { acquired: false })
  }
  if (!isClaimable(row, tx.nowMs)) {
    return create(ClaimObligationResponseSchema, { acquired: false, obligation: toRecord(row) })
  }
  const claimed = {
    ...row,
    status: ObligationStatus.COMMITTED,
    claimedBy: request.claimer,
    claimExpiresAtMs: after(tx.nowMs, request.leaseTtlMs, defaultClaimMs)
  }
  const obligation = yield* change(context, claimed, "committed", {
    claimer: request.claimer,
    status: "committed",
    transition: "claimed"
  })
  return create(ClaimObligationResponseSchema, { acquired: true, obligation })
})

/** Records an attempt that failed: tried again later, or stuck when no later time is given or no attempt is left. */
export const recordAttempt = Effect.fnUntraced(function* (
  context: Journal.Context,
  request: RecordObligationAttemptRequest
) {
  const row = yield* requireObligation(context.tx, request.runId, request.obligationSeq)
  if (isSettled(row)) {
    return toRecord(row)
  }
  const attempts = row.attempts + 1
  const isRetried = request.nextAttemptAtMs > 0n && attempts < row.maxAttempts
  const status = isRetried ? "pending" : "stuck"
  const changed = {
    ...row,
    ...unclaimed,
    status: isRetried ? ObligationStatus.PENDING : ObligationStatus.STUCK,
    attempts,
    lastError: request.error,
    nextAttemptAtMs: isRetried ? request.nextAttemptAtMs : 0n
  }
  return yield* change(context, changed, status, {
    attempts,
    error: request.error,
    next_attempt_at_ms: changed.nextAttemptAtMs,
    status,
    transition: isRetried ? "retry-scheduled" : "stuck"
  })
})

/** Settles an obligation. What is compensated never moves; what is stuck only moves to compensated. */
export const resolve = Effect.fnUntraced(function* (context: Journal.Context, request: ResolveObligationRequest) {
  const { status } = request
  if (status !== ObligationStatus.COMPENSATED && status !== ObligationStatus.STUCK) {
    return yield* Refusal.invalid(`status ${status} does not resolve an obligation: COMPENSATED or STUCK does`)
  }
  const row = yield* requireObligation(context.tx, request.runId, request.obligationSeq)
  if (row.status === ObligationStatus.COMPENSATED || row.status === status) {
    return toRecord(row)
  }
  const word = status === ObligationStatus.STUCK ? "stuck" : "compensated"
  return yield* change(context, { ...row, ...unclaimed, status, resultJson: request.resultJson }, word, {
    status: word,
    transition: "resolved"
  })
})

/** The obligations of a run, the newest first: the order in which to undo. */
export const list = Effect.fnUntraced(function* (reader: Reader, request: ListObligationsRequest, maxListed: number) {
  const { onlyUnresolved, runId, statusFilter } = request
  const open = `and status not in (${ObligationStatus.COMPENSATED}, ${ObligationStatus.STUCK})`
  const rows = yield* reader.select(
    Obligations,
    `where run_id = ? ${statusFilter > 0 ? "and status = ?" : onlyUnresolved ? open : ""} order by seq desc limit ?`,
    [runId, ...(statusFilter > 0 ? [statusFilter] : []), BigInt(maxListed + 1)]
  )
  return create(ListObligationsResponseSchema, { obligations: rows.map(toRecord) })
})

/** What is waiting to be undone in all runs, the longest due first. No flag at all means pending and claim-expired. */
export const listUnresolved = Effect.fnUntraced(function* (
  reader: Reader,
  request: ListUnresolvedObligationsRequest,
  nowMs: bigint
) {
  const limit = limitOf(request.limit, 500)
  const now = nowOr(request.nowMs, nowMs)
  const { includeCommittedExpired, includePending, includeStuck } = request
  const withPending = includePending || (!includeStuck && !includeCommittedExpired)
  const select = (condition: string, parameters: ReadonlyArray<bigint>) =>
    reader.select(Obligations, `where ${condition} order by next_attempt_at_ms, ts_ms limit ?`, [...parameters, limit])
  const lists = [
    withPending ? yield* select(`status = ${ObligationStatus.PENDING} and next_attempt_at_ms <= ?`, [now]) : [],
    withPending || includeCommittedExpired
      ? yield* select(
          `status = ${ObligationStatus.COMMITTED} and claim_expires_at_ms > 0 and claim_expires_at_ms <= ?`,
          [now]
        )
      : [],
    includeStuck ? yield* select(`status = ${ObligationStatus.STUCK}`, []) : []
  ]
  const rows = mergeSorted(
    lists,
    limit,
    (row) => row.nextAttemptAtMs,
    (row) => row.tsMs
  )
  return create(ListUnresolvedObligationsResponseSchema, { obligations: rows.map(toRecord) })
})

/** Whether something of a run is being undone, or was: then the run is not taken up again. */
export const hasCompensated = (reader: Reader, runId: string): Answer<boolean> =>
  Effect.map(
    reader.select(
      Obligations,
      `where run_id = ? and status in (${ObligationStatus.COMMITTED}, ${ObligationStatus.COMPENSATED}) limit 1`,
      [runId]
    ),
    (rows) => rows.length > 0
  )

const requireObligation = Effect.fnUntraced(function* (
  tx: Transaction,
  runId: string,
  seq: bigint
): Effect.fn.Return<Obligation, Refusal | StoreError> {
  yield* requireRun(tx, runId)
  const row = yield* tx.get(Obligations, { runId, seq })
  return row ?? (yield* Refusal.notFound(`obligation ${seq} does not exist`))
})

const change = (
  context: Journal.Context,
  row: Obligation,
  verb: string,
  payload: { readonly [key: string]: Journal.Payload }
): Answer<ObligationRecord> =>
  Effect.map(requireRun(context.tx, row.runId), (run) => {
    const changed = { ...row, tsMs: context.tx.nowMs }
    context.tx.put(Obligations, changed)
    Journal.append(context, run, {
      kind: "obligation",
      subject: subjectOf(verb, row.kind, row.runId),
      payload: { effect_key: row.effectKey, kind: row.kind, obligation_seq: row.seq, ...payload }
    })
    return toRecord(changed)
  })

const isClaimable = (row: Obligation, nowMs: bigint): boolean =>
  (row.status === ObligationStatus.PENDING && row.nextAttemptAtMs <= nowMs) ||
  (row.status === ObligationStatus.COMMITTED && row.claimExpiresAtMs > 0n && row.claimExpiresAtMs <= nowMs)

const isSettled = (row: Obligation): boolean =>
  row.status === ObligationStatus.COMPENSATED || row.status === ObligationStatus.STUCK

const unclaimed = { claimedBy: "", claimExpiresAtMs: 0n }

const subjectOf = (verb: string, kind: string, runId: string): string => Subject.make("obligation", verb, kind, runId)

const toRecord = (row: Obligation): ObligationRecord => create(ObligationRecordSchema, row)
