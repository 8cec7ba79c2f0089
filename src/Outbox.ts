/**
 * Intents that are recorded first and carried out, once, by a dispatcher.
 *
 * @since 0.1.0
 */

export { dispatchOnce, dispatchOne, type LoopOptions, layer, type Requirements } from "./outbox/dispatcher.js"
export type { EffectKey } from "./outbox/dispatchOne.js"
export * from "./outbox/envelope.js"
export { describe, Outcome } from "./outbox/outcome.js"
export type { DispatchOptions } from "./outbox/settings.js"
export type { CheckContext, ConnectorOf, StatusQuery, ToolLike } from "./outbox/ToolLike.js"
export * from "./outbox/tool.js"
export * from "./outbox/toolRules.js"
