/** What tests of the testing helpers wire money with. */
import { Schema } from "effect"
import { TestConnector } from "effect-tape/testing"

export const Wire = Schema.Struct({ wireId: Schema.String })

/** Of a tool that wires money, all but how often it may be sent. */
export const wiring = {
  connector: "bank.wire",
  input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
  output: Wire,
  businessKey: (wire: { readonly account: string; readonly amount: number }) => `${wire.account}:${wire.amount}`,
  waitForResult: true
} as const

export const ids = (invocation = "A-1") => ({ user: "u", session: "s", invocation })

export const bank = TestConnector.confirms(({ id }) => ({ wireId: id }))
