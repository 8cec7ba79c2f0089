/**
 * The types of outbox tools, checked by the ordinary `tsc` run.
 */
import { Effect, type Layer, Schema } from "effect"
import type { TapeClient } from "../../src/Client.js"
import type { Connector } from "../../src/Connectors.js"
import * as Durable from "../../src/Durable.js"
import { layer } from "../../src/Outbox.js"
import type { ConnectorOf, ToolLike } from "../../src/outbox/ToolLike.js"
import type { Pending } from "../../src/outbox/tool.js"
import { tool } from "../../src/outbox/tool.js"
import { toolWith } from "../../src/outbox/toolRules.js"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => undefined

class Refused extends Schema.TaggedError<Refused>()("Refused", {}) {}
const input = Schema.Struct({ account: Schema.String, amount: Schema.Number })
const output = Schema.Struct({ wireId: Schema.String })

const WireMoney = tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input,
  output,
  error: Refused,
  businessKey: (wire) => `${wire.account}:${wire.amount}`,
  waitForResult: true
})
same<
  ReturnType<typeof WireMoney>,
  Effect.Effect<
    { readonly wireId: string },
    Refused | Durable.EffectFailed | Durable.EffectUnknown,
    Durable.CurrentRun | Durable.Uses<"wire_money">
  >
>(true)
same<ConnectorOf<typeof WireMoney>, "bank.wire">(true)
export const like: ToolLike = WireMoney

const Notify = tool("notify", { connector: "slack", semantics: "at_least_once", input, output })
same<
  ReturnType<typeof Notify>,
  Effect.Effect<
    Pending<{ readonly wireId: string }, never>,
    Durable.EffectFailed,
    Durable.CurrentRun | Durable.Uses<"notify">
  >
>(true)

const Treasury = Durable.app("treasury", {
  input,
  output: Schema.String,
  tools: [WireMoney, Notify],
  *run(wire) {
    const { wireId } = yield* WireMoney(wire)
    const sent = yield* Notify(wire)
    yield* sent.await
    return wireId
  }
})
export const treasury = Treasury.start

// Other safety nets.
tool("checked", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input,
  output,
  statusCheck: (call) => Effect.succeedSome({ wireId: call.idempotencyKey })
})
tool("undone", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input,
  output,
  compensate: (_, wired) => Effect.log(wired.wireId)
})

// With rules of its own a program keeps the types of all its tools.
const scoped = toolWith({ requireScope: true })
const Wired = scoped("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input,
  output,
  error: Refused,
  businessKey: (wire) => `${wire.account}:${wire.amount}`,
  waitForResult: true,
  scope: "wires:send"
})
same<typeof Wired, typeof WireMoney>(true)
// --- the mistakes ---

// A missing safety net.
tool("bare", {
  connector: "bank.wire",
  // @ts-expect-error non_idempotent needs a safety net: add businessKey, statusCheck, compensate or humanGate
  semantics: "non_idempotent",
  input,
  output
})

scoped("bare", {
  connector: "bank.wire",
  // @ts-expect-error non_idempotent needs a safety net: add businessKey, statusCheck, compensate or humanGate
  semantics: "non_idempotent",
  input,
  output,
  scope: "wires:send"
})

// An option that does not exist.
tool("odd", {
  connector: "bank.wire",
  semantics: "idempotent",
  input,
  output,
  // @ts-expect-error not an option of Outbox.tool
  bussinessKey: () => "x"
})

// A missing connector.
const dispatcher = layer({ tools: [WireMoney, Notify] })
same<
  Connector<"bank.wire"> | Connector<"slack">,
  Extract<Layer.Layer.Context<typeof dispatcher>, Connector<"bank.wire"> | Connector<"slack">>
>(true)
// @ts-expect-error Type 'Connector<"slack">' is not assignable to type 'Connector<"bank.wire">'
export const missing: Layer.Layer<never, unknown, TapeClient | Connector<"bank.wire">> = dispatcher
