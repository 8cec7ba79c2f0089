/**
 * What remains of effects whose rows were pruned, and what a pruned run no longer takes.
 */
import * as Effect from "effect/Effect"
import { EffectDispatchMode, EffectSemantics } from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import type { StoreError } from "../StoreError.js"
import type { Reader } from "../store/Transaction.js"
import { type EffectRow, EffectSnapshots, PrunedBusinessKeys, type Run, Runs } from "../store/tables.js"

/** Bits of a run's `retention`. */
export const Retained = {
  all: 0,
  /** Some of its effects may only be in a snapshot. */
  snapshotted: 1,
  /** Some of its effects are gone: nobody could tell a repeat from something new. */
  pruned: 2,
  /** Nothing is left to prune. */
  done: 4
} as const

export const isPruned = (run: Run): boolean => (run.retention & Retained.pruned) !== 0

/** Refuses what would be new on a run that has forgotten some of what it did. */
export const requireRetained = (run: Run, what: string): Effect.Effect<void, Refusal> =>
  isPruned(run)
    ? Refusal.precondition(
        `effects of this run were pruned: no ${what} can be told from a repeat, so none begins on it`
      )
    : Effect.void

/** An effect as a snapshot has it. */
export const recall = (
  reader: Reader,
  runId: string,
  idempotencyKey: string
): Effect.Effect<EffectRow | undefined, StoreError> =>
  Effect.flatMap(reader.get(Runs, { runId }), (run) =>
    run === undefined || run.retention === Retained.all
      ? Effect.succeed(undefined)
      : reader.get(EffectSnapshots, { runId, idempotencyKey })
  )

/** A pruned effect by its business key: as a snapshot has it, else with nothing but its keys and its status. */
export const recallBusinessKey = Effect.fnUntraced(function* (
  reader: Reader,
  connector: string,
  businessKey: string
): Effect.fn.Return<EffectRow | undefined, StoreError> {
  const left = yield* reader.get(PrunedBusinessKeys, { connector, businessKey })
  if (left === undefined) {
    return undefined
  }
  const { idempotencyKey, runId, seq, status } = left
  return (
    (yield* recall(reader, runId, idempotencyKey)) ?? {
      runId,
      idempotencyKey,
      seq,
      decisionIndex: 0n,
      toolName: "",
      status,
      requestJson: "",
      responseJson: "",
      errorJson: "",
      tsMs: 0n,
      semantics: EffectSemantics.UNSPECIFIED,
      dispatchMode: EffectDispatchMode.UNSPECIFIED,
      businessKey,
      connector,
      dispatchAttempts: 0,
      nextDispatchAtMs: 0n,
      externalRef: "",
      dispatchClaimedBy: "",
      dispatchClaimExpiresAtMs: 0n,
      lastDispatchError: "",
      scope: ""
    }
  )
})
