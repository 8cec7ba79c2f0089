/**
 * What an agent does to the world: intent before the act, outcome after it, the recorded outcome ever after.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type {
  BeginEffectRequest,
  BeginEffectResponse,
  CompleteEffectRequest,
  GetEffectRequest,
  GetEffectResponse,
  ListPendingEffectsRequest,
  ReconcileEffectRequest
} from "../../gen/tape/v1/tape_pb.js"
import {
  BeginEffectResponseSchema,
  EffectDispatchMode,
  EffectSemantics,
  EffectStatus,
  GetEffectResponseSchema,
  ListPendingEffectsResponseSchema
} from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import * as Journal from "../Journal.js"
import type { StoreError } from "../StoreError.js"
import * as Subject from "../Subject.js"
import type { Reader, Transaction } from "../store/Transaction.js"
import { EffectAliases, type EffectRow, Effects, type Run } from "../store/tables.js"
import * as Keys from "../validate/keys.js"
import { limitOf, mergeSorted, requireOpen, requireRun } from "./common.js"
import {
  change,
  isSettled,
  lookUp,
  outcomeWord,
  requireEffect,
  subjectOf,
  toRecord,
  unclaimed
} from "./effects/rows.js"
import { scopesOf } from "./Runs.js"
import { recallBusinessKey, requireRetained } from "./retained.js"

/** How strictly effects are authorized. */
export interface Policy {
  /** Whether a non-idempotent effect must name a scope. */
  readonly requireScope: boolean
}

/**
 * Writes the intent of an effect, or answers the one that is recorded under its key. A scope denial is a value, not a
 * failure: its policy entry stays in the journal.
 */
export const begin = Effect.fnUntraced(function* (
  context: Journal.Context,
  request: BeginEffectRequest,
  policy: Policy
): Effect.fn.Return<Either.Either<BeginEffectResponse, Refusal>, Refusal | StoreError> {
  const { tx } = context
  const intent = yield* checkShape(request)
  const run = yield* requireRun(tx, request.runId)
  const denied = denial(run, intent, policy)
  if (denied !== undefined) {
    Journal.append(context, run, policyEntry(run, request))
    return Either.left(Refusal.denied(denied))
  }
  const idempotencyKey = keyOf(request)
  const existing = (yield* lookUp(tx, request.runId, idempotencyKey)) ?? (yield* lookUpBusinessKey(tx, intent))
  if (existing !== undefined) {
    return Either.right(toResponse(existing))
  }
  yield* requireOpen(run, "effect")
  yield* requireRetained(run, "effect")
  const { seqCursor: seq } = Journal.append(context, run, {
    kind: "effect",
    subject: subjectOf("pending", intent.toolName, run.runId),
    payload: {
      business_key: intent.businessKey,
      connector: intent.connector,
      decision_index: intent.decisionIndex,
      dispatch_mode: intent.dispatchMode,
      idempotency_key: idempotencyKey,
      scope: intent.scope,
      semantics: intent.semantics,
      status: "pending",
      tool: intent.toolName
    }
  })
  const row: EffectRow = {
    runId: intent.runId,
    idempotencyKey,
    seq,
    decisionIndex: intent.decisionIndex,
    toolName: intent.toolName,
    status: EffectStatus.PENDING,
    requestJson: intent.requestJson,
    responseJson: "",
    errorJson: "",
    tsMs: tx.nowMs,
    semantics: intent.semantics,
    dispatchMode: intent.dispatchMode,
    businessKey: intent.businessKey,
    connector: intent.connector,
    dispatchAttempts: 0,
    nextDispatchAtMs: intent.dispatchMode === EffectDispatchMode.OUTBOX ? tx.nowMs : 0n,
    externalRef: "",
    dispatchClaimedBy: "",
    dispatchClaimExpiresAtMs: 0n,
    lastDispatchError: "",
    scope: intent.scope
  }
  tx.put(Effects, row)
  return Either.right(toResponse(row))
})

/** Records what became of a pending effect; a settled or unknown one is answered as it is. */
export const complete = Effect.fnUntraced(function* (context: Journal.Context, request: CompleteEffectRequest) {
  const verb = outcomeWord(request.status)
  if (verb === undefined) {
    return yield* Refusal.invalid(
      `status ${request.status} does not complete an effect: CONFIRMED, FAILED or UNKNOWN does`
    )
  }
  yield* requireRun(context.tx, request.runId)
  const row = yield* lookUp(context.tx, request.runId, request.idempotencyKey)
  if (row === undefined) {
    return yield* Refusal.precondition(`complete came before begin: no effect ${quote(request.idempotencyKey)}`)
  }
  if (row.status !== EffectStatus.PENDING) {
    return toRecord(row)
  }
  const { errorJson, responseJson, status } = request
  return yield* change(context, { ...row, status, responseJson, errorJson, ...unclaimed }, [
    [verb, settledPayload(row, verb)]
  ])
})

/** Settles a pending or unknown effect by what somebody found out. */
export const reconcile = Effect.fnUntraced(function* (context: Journal.Context, request: ReconcileEffectRequest) {
  const status = request.resolvedStatus
  const verb = outcomeWord(status)
  if (verb === undefined || status === EffectStatus.UNKNOWN) {
    return yield* Refusal.invalid(`status ${status} does not reconcile an effect: CONFIRMED or FAILED does`)
  }
  const row = yield* requireEffect(context.tx, request.runId, request.idempotencyKey)
  if (isSettled(row)) {
    return toRecord(row)
  }
  const { errorJson, responseJson } = request
  return yield* change(context, { ...row, status, responseJson, errorJson, ...unclaimed }, [
    [
      "reconciled",
      { idempotency_key: row.idempotencyKey, resolved_to: status, status: "reconciled", tool: row.toolName }
    ],
    [verb, settledPayload(row, verb)]
  ])
})

export const get = (
  reader: Reader,
  { idempotencyKey, runId }: GetEffectRequest
): Effect.Effect<GetEffectResponse, StoreError> =>
  Effect.map(lookUp(reader, runId, idempotencyKey), (row) =>
    create(GetEffectResponseSchema, row === undefined ? { found: false } : { found: true, effect: toRecord(row) })
  )

/** Effects nobody knows the outcome of: unknown ones of any age, pending ones that are old enough; oldest first. */
export const listPending = Effect.fnUntraced(function* (reader: Reader, request: ListPendingEffectsRequest) {
  const limit = limitOf(request.limit, 200)
  const both = !request.includePending && !request.includeUnknown
  const unknown =
    both || request.includeUnknown
      ? yield* reader.select(Effects, `where status = ${EffectStatus.UNKNOWN} order by ts_ms limit ?`, [limit])
      : []
  const pending =
    both || request.includePending
      ? yield* reader.select(
          Effects,
          `where status = ${EffectStatus.PENDING} ${request.olderThanMs > 0n ? "and ts_ms < ?" : ""} order by ts_ms limit ?`,
          [...(request.olderThanMs > 0n ? [request.olderThanMs] : []), limit]
        )
      : []
  const effects = mergeSorted([unknown, pending], limit, (row) => row.tsMs).map(toRecord)
  return create(ListPendingEffectsResponseSchema, { effects })
})

const toResponse = ({ errorJson, idempotencyKey, responseJson, seq, status }: EffectRow): BeginEffectResponse =>
  create(BeginEffectResponseSchema, { seq, idempotencyKey, status, responseJson, errorJson })

const settledPayload = (row: EffectRow, status: string) => ({
  idempotency_key: row.idempotencyKey,
  status,
  tool: row.toolName
})

const checkShape = (request: BeginEffectRequest): Effect.Effect<BeginEffectRequest, Refusal> => {
  const semantics = request.semantics === EffectSemantics.UNSPECIFIED ? EffectSemantics.IDEMPOTENT : request.semantics
  const dispatchMode =
    request.dispatchMode === EffectDispatchMode.UNSPECIFIED ? EffectDispatchMode.INLINE : request.dispatchMode
  if (EffectSemantics[semantics] === undefined) {
    return Refusal.invalid(`semantics ${semantics} is not one of 0 to 3`)
  }
  if (EffectDispatchMode[dispatchMode] === undefined) {
    return Refusal.invalid(`dispatch_mode ${dispatchMode} is not one of 0 to 2`)
  }
  if (semantics === EffectSemantics.NON_IDEMPOTENT && dispatchMode !== EffectDispatchMode.OUTBOX) {
    return Refusal.invalid("a NON_IDEMPOTENT effect requires dispatch mode OUTBOX")
  }
  if (request.businessKey !== "" && request.connector === "") {
    return Refusal.invalid("business_key requires connector")
  }
  if (dispatchMode === EffectDispatchMode.OUTBOX && request.connector === "") {
    return Refusal.invalid("dispatch mode OUTBOX requires connector")
  }
  if (Buffer.byteLength(keyOf(request)) > Keys.longest) {
    return Refusal.invalid(`tool_name is too long: the key made of it has more than ${Keys.longest} bytes`)
  }
  return Effect.succeed({ ...request, semantics, dispatchMode })
}

const denial = (run: Run, { scope, semantics }: BeginEffectRequest, policy: Policy): string | undefined => {
  if (scope === "") {
    return policy.requireScope && semantics === EffectSemantics.NON_IDEMPOTENT
      ? "a NON_IDEMPOTENT effect requires a scope here"
      : undefined
  }
  return scopesOf(run).includes(scope) ? undefined : `scope ${quote(scope)} was not granted to the run`
}

const policyEntry = (run: Run, { decisionIndex, scope, toolName }: BeginEffectRequest): Journal.Event => ({
  kind: "policy",
  subject: Subject.make("policy", "denied", toolName, run.runId),
  payload: {
    decision_index: decisionIndex,
    granted_scopes: scopesOf(run),
    required_scope: scope,
    tool: toolName,
    violation: "scope_not_granted"
  }
})

const keyOf = ({ callIndex, customKey, decisionIndex, runId, toolName }: BeginEffectRequest): string => {
  if (customKey !== "") {
    return customKey
  }
  const decision = decisionIndex < 0n ? "no-decision" : `decision-${decisionIndex}`
  return `${runId}/${decision}/${toolName}/${callIndex}`
}

/** The effect that already has the business key; the caller's run can then name it by the key that is answered. */
const lookUpBusinessKey = Effect.fnUntraced(function* (tx: Transaction, intent: BeginEffectRequest) {
  const { businessKey, connector, runId } = intent
  if (businessKey === "") {
    return undefined
  }
  const row =
    (yield* tx.find(Effects, "business", [connector, businessKey])) ??
    (yield* recallBusinessKey(tx, connector, businessKey))
  if (row !== undefined && row.runId !== runId) {
    const { idempotencyKey, runId: ownerRunId } = row
    tx.put(EffectAliases, { runId, idempotencyKey, ownerRunId })
  }
  return row
})

const quote = (text: string): string => JSON.stringify(text)
