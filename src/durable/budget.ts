/**
 * What a run may spend on its decisions, and what it has spent.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { EffectSemantics, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { begin, readable, reserved, settle } from "./act.js"
import type { Budget } from "./definition.js"
import { BudgetExceeded } from "./errors.js"
import * as Json from "./json.js"
import { ask, type Life, stop } from "./run.js"

export type { Budget }

/** Sets what the run may spend. What it has spent stays. */
export const limited = (life: Life, { tokens = 0, usd = 0 }: Budget): Effect.Effect<void> =>
  Effect.asVoid(ask(life, life.tape.setBudget({ runId: life.runId, usdCap: usd, tokenCap: whole(tokens) })))

/** Stops the run when its budget does not cover the estimate. */
export const admitted = (life: Life, decision: number, estimate: Budget = {}): Effect.Effect<void> => {
  const { tokens = 0, usd = 0 } = estimate
  const asked = life.tape.admitBudget({ runId: life.runId, usdEstimate: usd, tokenEstimate: whole(tokens) })
  return Effect.flatMap(ask(life, asked), ({ admitted, reason }) =>
    admitted ? Effect.void : stop(life, new BudgetExceeded({ runId: life.runId, decision, reason }))
  )
}

/**
 * Charges a decision once, over all lives of the run.
 *
 * ChargeBudget adds whenever it is called, so the charge has a record of its own, with what was spent before it: a later
 * life that finds it open sees from the budget whether it was made.
 */
export const charged = (life: Life, decision: number, { tokens = 0, usd = 0 }: Budget): Effect.Effect<void> =>
  life.mode === "finished" || (tokens === 0 && usd === 0)
    ? Effect.void
    : life.state.charging.withPermits(1)(charge(life, decision, usd, whole(tokens)))

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const charge = Effect.fnUntraced(function* (life: Life, decision: number, usd: number, tokens: bigint) {
  const { runId, tape } = life
  const place = reserved(life, `charge/${decision}`)
  const known =
    life.mode === "first" ? undefined : (yield* ask(life, tape.getEffect({ runId, idempotencyKey: place.key }))).effect
  if (known?.status === EffectStatus.CONFIRMED) return
  const spent = yield* spentBy(life)
  const requestJson = known?.requestJson ?? spent
  const row = yield* begin(life, { place, tool: "run.charge", requestJson, semantics: EffectSemantics.OBSERVE_ONLY })
  if (row.status === EffectStatus.CONFIRMED) return
  if (requestJson === spent) yield* ask(life, tape.chargeBudget({ runId, usd, tokens }))
  yield* settle(life, row, { status: EffectStatus.CONFIRMED })
})

const spentBy = (life: Life): Effect.Effect<string> =>
  Effect.flatMap(ask(life, life.tape.admitBudget({ runId: life.runId })), ({ budget }) =>
    readable(
      life,
      "its budget",
      Json.write({ usd_spent: budget?.usdSpent ?? 0, tokens_spent: String(budget?.tokensSpent ?? 0n) })
    )
  )

const whole = (tokens: number): bigint => BigInt(Math.max(0, Math.ceil(tokens)))
