/**
 * Compaction: a run that is over and settled lets go of its texts and keeps what they were about.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type { CompactRunRequest, ListCompactableRunsRequest } from "../../gen/tape/v1/tape_pb.js"
import {
  CompactRunResponseSchema,
  EffectStatus,
  ListCompactableRunsResponseSchema,
  ObligationStatus
} from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import * as Journal from "../Journal.js"
import * as Subject from "../Subject.js"
import { gather } from "../store/gather.js"
import type { Reader } from "../store/Transaction.js"
import { Decisions, Effects, Obligations, Runs } from "../store/tables.js"
import { limitOf, nowOr, requireRun, statusWord } from "./common.js"
import { isFinal, toState } from "./Runs.js"

/** Runs that ended before a time and have not been compacted, the one that ended first first. */
export const listCompactable = Effect.fnUntraced(function* (
  reader: Reader,
  request: ListCompactableRunsRequest,
  nowMs: bigint
) {
  const runs = yield* reader.select(
    Runs,
    "where compacted_at_ms = 0 and ended_at_ms > 0 and ended_at_ms < ? order by ended_at_ms limit ?",
    [nowOr(request.beforeMs, nowMs), limitOf(request.limit, 100)]
  )
  return create(ListCompactableRunsResponseSchema, { runs: runs.map(toState) })
})

/** Empties the texts of a run's decisions and effects, once. */
export const compact = Effect.fnUntraced(function* (context: Journal.Context, { runId }: CompactRunRequest) {
  const { tx } = context
  const run = yield* requireRun(tx, runId)
  if (run.compactedAtMs > 0n) {
    return create(CompactRunResponseSchema, { alreadyCompacted: true })
  }
  if (!isFinal(run.status)) {
    return yield* Refusal.precondition(`run ${JSON.stringify(runId)} is ${statusWord(run.status)}, not terminal`)
  }
  yield* requireSettled(tx, runId)
  const decisions = (yield* gather(tx, Decisions, runId, (row) => ({
    hadText: hasText(row.requestJson, row.responseJson, row.rationale),
    saved: bytes(row.requestJson, row.responseJson),
    emptied: { ...row, requestJson: "", responseJson: "", rationale: "" }
  }))).filter(({ hadText }) => hadText)
  const effects = (yield* gather(tx, Effects, runId, (row) => ({
    hadText: hasText(row.requestJson, row.responseJson, row.errorJson),
    saved: bytes(row.requestJson, row.responseJson, row.errorJson),
    emptied: { ...row, requestJson: "", responseJson: "", errorJson: "" }
  }))).filter(({ hadText }) => hadText)
  decisions.forEach(({ emptied }) => tx.put(Decisions, emptied))
  effects.forEach(({ emptied }) => tx.put(Effects, emptied))
  const bytesSaved = sum([...decisions, ...effects], ({ saved }) => saved)
  Journal.append(
    context,
    { ...run, compactedAtMs: tx.nowMs },
    {
      kind: "run",
      subject: Subject.make("run", "compacted", run.appName, run.userId, run.sessionId, runId),
      payload: {
        bytes_saved: bytesSaved,
        compacted_at_ms: tx.nowMs,
        decisions_zeroed: decisions.length,
        effects_zeroed: effects.length,
        run_id: runId
      }
    }
  )
  return create(CompactRunResponseSchema, {
    decisionsZeroed: BigInt(decisions.length),
    effectsZeroed: BigInt(effects.length),
    bytesSaved: BigInt(bytesSaved)
  })
})

const requireSettled = Effect.fnUntraced(function* (reader: Reader, runId: string) {
  const [obligation] = yield* reader.select(
    Obligations,
    `where run_id = ? and status in (${ObligationStatus.PENDING}, ${ObligationStatus.COMMITTED}) limit 1`,
    [runId]
  )
  const [effect] = yield* reader.select(
    Effects,
    `where run_id = ? and status in (${EffectStatus.PENDING}, ${EffectStatus.UNKNOWN}) limit 1`,
    [runId]
  )
  if (obligation !== undefined) {
    return yield* Refusal.precondition(`not settled: obligation ${obligation.seq} is open`)
  }
  if (effect !== undefined) {
    const { idempotencyKey, status } = effect
    return yield* Refusal.precondition(
      `not settled: effect ${JSON.stringify(idempotencyKey)} is ${EffectStatus[status]?.toLowerCase()}`
    )
  }
})

const hasText = (...texts: ReadonlyArray<string>): boolean => texts.some((text) => text !== "")

const bytes = (...texts: ReadonlyArray<string>): number => sum(texts, (text) => Buffer.byteLength(text))

const sum = <A>(items: ReadonlyArray<A>, of: (item: A) => number): number =>
  items.reduce((total, item) => total + of(item), 0)
