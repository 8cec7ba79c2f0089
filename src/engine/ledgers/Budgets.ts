/**
 * What a run may spend, and what it has spent.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type {
  AdmitBudgetRequest,
  AdmitBudgetResponse,
  BudgetState,
  ChargeBudgetRequest,
  SetBudgetRequest
} from "../../gen/tape/v1/tape_pb.js"
import { AdmitBudgetResponseSchema, BudgetStateSchema } from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import type * as Journal from "../Journal.js"
import type { StoreError } from "../StoreError.js"
import type { Reader } from "../store/Transaction.js"
import { type Budget, Budgets } from "../store/tables.js"
import { maxInt64, requireRun } from "./common.js"

/** Sets both caps and keeps what was spent. A cap that is not positive is none. */
export const set = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: SetBudgetRequest) {
  const { runId, tokenCap, usdCap } = request
  yield* requireRun(tx, runId)
  const row = { ...(yield* read(tx, runId)), usdCap, tokenCap }
  tx.put(Budgets, row)
  return toState(row)
})

/** Whether an estimate still fits. It reserves nothing; a refusal is an answer, not an error. */
export const admit = (reader: Reader, request: AdmitBudgetRequest): Effect.Effect<AdmitBudgetResponse, StoreError> =>
  Effect.map(read(reader, request.runId), (row) => {
    const reason = refusal(row, request)
    return create(AdmitBudgetResponseSchema, { admitted: reason === "", reason, budget: toState(row) })
  })

/** Adds to what was spent, also beyond the cap. */
export const charge = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: ChargeBudgetRequest) {
  yield* requireRun(tx, request.runId)
  const before = yield* read(tx, request.runId)
  const tokensSpent = before.tokensSpent + request.tokens
  const usdSpent = before.usdSpent + request.usd
  if (tokensSpent > maxInt64 || tokensSpent < -maxInt64 || !Number.isFinite(usdSpent)) {
    return yield* Refusal.invalid("the amount spent would overflow")
  }
  const row = { ...before, tokensSpent, usdSpent }
  tx.put(Budgets, row)
  return toState(row)
})

const read = (reader: Reader, runId: string): Effect.Effect<Budget, StoreError> =>
  Effect.map(
    reader.get(Budgets, { runId }),
    (row) => row ?? { runId, usdCap: 0, tokenCap: 0n, usdSpent: 0, tokensSpent: 0n }
  )

const refusal = (row: Budget, { tokenEstimate, usdEstimate }: AdmitBudgetRequest): string => {
  if (row.usdCap > 0 && row.usdSpent + usdEstimate > row.usdCap) {
    return `usd cap ${usd(row.usdCap)} would be exceeded: spent ${usd(row.usdSpent)}, estimate ${usd(usdEstimate)}`
  }
  if (row.tokenCap > 0n && row.tokensSpent + tokenEstimate > row.tokenCap) {
    return `token cap ${row.tokenCap} would be exceeded: spent ${row.tokensSpent}, estimate ${tokenEstimate}`
  }
  return ""
}

const usd = (amount: number): string => amount.toFixed(2)

const toState = (row: Budget): BudgetState => create(BudgetStateSchema, row)
