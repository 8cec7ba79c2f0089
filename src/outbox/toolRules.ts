/**
 * Rules for all outbox tools of a program.
 *
 * @since 0.1.0
 */
import { ToolMisconfigured } from "../durable/errors.js"
import { tool } from "./tool.js"

/**
 * What all tools of a program have to keep to.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolRules {
  /**
   * Refuses a non-idempotent tool without a `scope` when it is made, as a tape that insists on scopes would refuse its
   * calls. A tool may be let through by `unsafeWithoutScope`. Defaults to `false`.
   */
  readonly requireScope?: boolean | undefined
}

/**
 * {@link tool}, for a program whose tools have to keep to rules; one that does not throws `ToolMisconfigured`.
 *
 * ```ts
 * import { Outbox } from "effect-tape"
 * import { Schema } from "effect"
 *
 * const tool = Outbox.toolWith({ requireScope: true })
 *
 * export const WireMoney = tool("wire_money", {
 *   connector: "bank.wire",
 *   semantics: "non_idempotent",
 *   input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
 *   output: Schema.Struct({ wireId: Schema.String }),
 *   businessKey: (wire) => `${wire.account}:${wire.amount}`,
 *   scope: "wires:send"
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const toolWith = ({ requireScope = false }: ToolRules): typeof tool => {
  const make = (name: string, options: Scoped): unknown => {
    if (requireScope) checkScope(name, options)
    // The caller sees the signature of `tool`, and no other: what he gives has been checked against it.
    return tool(name, options as never)
  }
  return make as typeof tool
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

/** The part of a tool's options that says what its runs must have been granted. */
interface Scoped {
  readonly semantics: string
  readonly scope?: string | undefined
  readonly unsafeWithoutScope?: boolean | undefined
}

/** Throws when a tool that needs a scope has none. */
const checkScope = (tool: string, { scope = "", semantics, unsafeWithoutScope = false }: Scoped): void => {
  if (semantics !== "non_idempotent" || scope !== "" || unsafeWithoutScope) return
  const reason = "non_idempotent needs a scope here: add scope, or unsafeWithoutScope if its runs may do without"
  throw new ToolMisconfigured({ tool, reason })
}
