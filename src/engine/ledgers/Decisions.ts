/**
 * What the model decided, written once: a re-drive reads it instead of asking again.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import {
  DecisionRecordSchema,
  type GetDecisionRequest,
  GetDecisionResponseSchema,
  type RecordDecisionRequest
} from "../../gen/tape/v1/tape_pb.js"
import * as Journal from "../Journal.js"
import * as Subject from "../Subject.js"
import type { Reader } from "../store/Transaction.js"
import { Decisions } from "../store/tables.js"
import { requireOpen, requireRun } from "./common.js"

/** Records a decision; the first one under an index stands, and every later call gets it back. */
export const record = Effect.fnUntraced(function* (context: Journal.Context, request: RecordDecisionRequest) {
  const { tx } = context
  const { decisionIndex, model, policyVersion, rationale, requestJson, responseJson, runId } = request
  const run = yield* requireRun(tx, runId)
  const existing = yield* tx.get(Decisions, { runId, decisionIndex })
  if (existing !== undefined) {
    return create(DecisionRecordSchema, existing)
  }
  yield* requireOpen(run, "decision")
  const { seqCursor: seq } = Journal.append(context, run, {
    kind: "decision",
    subject: Subject.make("decision", "recorded", runId, decisionIndex.toString()),
    payload: { decision_index: decisionIndex, model, policy_version: policyVersion, rationale }
  })
  const row = { runId, decisionIndex, seq, model, requestJson, responseJson, rationale, policyVersion, tsMs: tx.nowMs }
  tx.put(Decisions, row)
  return create(DecisionRecordSchema, row)
})

export const get = (reader: Reader, { decisionIndex, runId }: GetDecisionRequest) =>
  Effect.map(reader.get(Decisions, { runId, decisionIndex }), (row) =>
    create(
      GetDecisionResponseSchema,
      row === undefined ? { found: false } : { found: true, decision: create(DecisionRecordSchema, row) }
    )
  )
