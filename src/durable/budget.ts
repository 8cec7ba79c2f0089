/**
 * What a run may spend on its decisions, and what it has spent.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { EffectSemantics, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { begin, find, readable, reserved, rowOf, settle, writable } from "./act.js"
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
 * ChargeBudget adds whenever it is called, so each charge has a record of its own, with what was spent before it. They are
 * made one after the other: only the last can be open, and a later life settles it before it charges anything else, since
 * the budget says whether it was made.
 */
export const charged = (life: Life, decision: number, { tokens = 0, usd = 0 }: Budget): Effect.Effect<void> =>
  life.mode === "finished" || (tokens === 0 && usd === 0)
    ? Effect.void
    : life.state.charging.withPermits(1)(charge(life, { decision, tokens: String(whole(tokens)), usd }))

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

interface Charge extends Schema.Schema.Type<typeof Charge> {}

const Charge = Schema.Struct({ decision: Schema.Int, tokens: Schema.String, usd: Schema.Finite })

const Spent = Schema.Struct({ tokens: Schema.String, usd: Schema.Number })

const record = Json.codec(Schema.Struct({ charge: Charge, spent: Spent }))

const sameSpent = Schema.equivalence(Spent)

const placeOf = (life: Life, nth: number) => reserved(life, `charge/${nth}`)

const charge = Effect.fnUntraced(function* (life: Life, asked: Charge) {
  const before = life.state.charged ?? (yield* chargedBefore(life))
  life.state.charged = before
  if (before.includes(asked.decision)) return
  const requestJson = yield* writable(life, "a charge", record.encode({ charge: asked, spent: yield* spentBy(life) }))
  // Interrupted from here on, it may be open: whoever charges next has to look.
  life.state.charged = undefined
  const place = placeOf(life, before.length)
  const row = yield* begin(life, { place, tool: "run.charge", requestJson, semantics: EffectSemantics.OBSERVE_ONLY })
  yield* spend(life, asked)
  yield* settle(life, row, { status: EffectStatus.CONFIRMED })
  life.state.charged = [...before, asked.decision]
})

/** The decisions that are charged for, in the order of their charges. */
const chargedBefore = Effect.fnUntraced(function* (life: Life) {
  const decisions: Array<number> = []
  while (true) {
    const place = placeOf(life, decisions.length)
    const known = yield* find(life, place.key)
    if (known === undefined) return decisions
    const { charge, spent } = yield* readable(life, place.key, record.decode(known.requestJson))
    if (known.status !== EffectStatus.CONFIRMED) {
      if (sameSpent(spent, yield* spentBy(life))) yield* spend(life, charge)
      yield* settle(life, rowOf(known, true), { status: EffectStatus.CONFIRMED })
    }
    decisions.push(charge.decision)
  }
})

const spend = (life: Life, { tokens, usd }: Charge) =>
  ask(life, life.tape.chargeBudget({ runId: life.runId, usd, tokens: BigInt(tokens) }))

const spentBy = (life: Life): Effect.Effect<typeof Spent.Type> =>
  Effect.map(ask(life, life.tape.admitBudget({ runId: life.runId })), ({ budget }) => ({
    tokens: String(budget?.tokensSpent ?? 0n),
    usd: budget?.usdSpent ?? 0
  }))

const whole = (tokens: number): bigint => BigInt(Math.max(0, Math.ceil(tokens)))
