/** An effect's row: found by the keys that lead to it, changed together with the journal. */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import { type EffectRecord, EffectRecordSchema, EffectStatus } from "../../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../../Handlers.js"
import * as Journal from "../../Journal.js"
import type { StoreError } from "../../StoreError.js"
import * as Subject from "../../Subject.js"
import type { Reader, Transaction } from "../../store/Transaction.js"
import { EffectAliases, type EffectRow, Effects, type Run } from "../../store/tables.js"
import { type Answer, requireRun } from "../common.js"
import { recall } from "../retained.js"

/**
 * The effect under a key of a run; a business key may have led to an effect of another run, or of the same. Where the
 * row was pruned, the one that a snapshot has.
 */
export const lookUp = Effect.fnUntraced(function* (reader: Reader, runId: string, idempotencyKey: string) {
  const own = yield* reader.get(Effects, { runId, idempotencyKey })
  if (own !== undefined) {
    return own
  }
  const ownerRunId = (yield* reader.get(EffectAliases, { runId, idempotencyKey }))?.ownerRunId ?? runId
  const owned = ownerRunId === runId ? undefined : yield* reader.get(Effects, { runId: ownerRunId, idempotencyKey })
  return owned ?? (yield* recall(reader, ownerRunId, idempotencyKey))
})

/** The effect under a key of a run, for a write. */
export const requireEffect = Effect.fnUntraced(function* (
  tx: Transaction,
  runId: string,
  idempotencyKey: string
): Effect.fn.Return<EffectRow, Refusal | StoreError> {
  yield* requireRun(tx, runId)
  const row = yield* lookUp(tx, runId, idempotencyKey)
  return row ?? (yield* Refusal.notFound(`effect ${JSON.stringify(idempotencyKey)} does not exist`))
})

/** Stores a changed effect with the entries that tell of it, in the journal of the run that owns it. */
export const change = (
  context: Journal.Context,
  row: EffectRow,
  entries: ReadonlyArray<readonly [verb: string, payload: Journal.Payload]>
): Answer<EffectRecord> =>
  Effect.map(requireRun(context.tx, row.runId), (owner) => {
    const changed = { ...row, tsMs: context.tx.nowMs }
    context.tx.put(Effects, changed)
    entries.reduce<Run>(
      (run, [verb, payload]) =>
        Journal.append(context, run, { kind: "effect", subject: subjectOf(verb, row.toolName, row.runId), payload }),
      owner
    )
    return toRecord(changed)
  })

/** The fields of a row that nobody is dispatching. */
export const unclaimed = { dispatchClaimedBy: "", dispatchClaimExpiresAtMs: 0n }

/** Confirmed and failed rows do not move. */
export const isSettled = (row: EffectRow): boolean =>
  row.status === EffectStatus.CONFIRMED || row.status === EffectStatus.FAILED

export const toRecord = (row: EffectRow): EffectRecord => create(EffectRecordSchema, row)

export const subjectOf = (verb: string, tool: string, runId: string): string =>
  Subject.make("effect", verb, tool, runId)

/** `confirmed`, `failed`, `unknown`; nothing for what is not an outcome. */
export const outcomeWord = (status: EffectStatus): string | undefined => {
  switch (status) {
    case EffectStatus.CONFIRMED:
      return "confirmed"
    case EffectStatus.FAILED:
      return "failed"
    case EffectStatus.UNKNOWN:
      return "unknown"
    default:
      return undefined
  }
}
