/** The agent's program: ask a model for a plan, wire the money, give back the bank's receipt. */

import { Effect, Schema } from "effect"
import { Durable, Outbox } from "effect-tape"

const Plan = Schema.Struct({ account: Schema.String, amount: Schema.Number })

export const WireMoney = Outbox.tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input: Plan,
  output: Schema.Struct({ wireId: Schema.String }),
  businessKey: ({ account, amount }) => `${account}:${amount}:2026-11-22`,
  waitForResult: true
})

/** Stands for a model: it costs money, and is slow to say the same thing twice. */
const askModel = (invoice: string) =>
  Effect.as(
    Effect.sync(() => process.stdout.write(`${JSON.stringify({ asked: "plan" })}\n`)),
    {
      account: "ACME",
      amount: invoice.length * 20
    }
  )

export const Payment = Durable.app("payment", {
  input: Schema.Struct({ invoice: Schema.String }),
  output: Schema.Struct({ wireId: Schema.String }),
  tools: [WireMoney],
  *run({ invoice }) {
    const { runId } = yield* Durable.info
    yield* Effect.sync(() => process.stdout.write(`${JSON.stringify({ run: runId })}\n`))
    const plan = yield* Durable.decide({ model: "planner-1", request: invoice, response: Plan }, askModel(invoice))
    return yield* WireMoney(plan)
  }
})
