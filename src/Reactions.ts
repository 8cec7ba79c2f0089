/**
 * What the journal starts: typed handlers of its entries, runs of agents, messages to brokers.
 *
 * A reaction is declared ({@link onValueChanged}, {@link on} …), registered under an id that stays the same, and from then
 * on matched by the server, entry by entry. What matches becomes a task, which {@link layer} hands to the handler.
 *
 * @since 0.1.0
 */
export { type Claimed, type ClaimOptions, claim } from "./reactions/claim.js"
export * from "./reactions/declare.js"
export { dispatchOnce, type LoopOptions, layer, type OnceOptions } from "./reactions/dispatcher.js"
export type {
  DecisionRecorded,
  EffectChanged,
  Event,
  GateChanged,
  Matched,
  RunChanged,
  ValueChanged,
  ValueDeleted
} from "./reactions/events.js"
export { describe, Outcome } from "./reactions/outcome.js"
export { Permanent } from "./reactions/permanent.js"
export {
  type Action,
  type ContextOf,
  type Kind,
  type Reaction,
  ReactionMisconfigured,
  type ReactionOptions
} from "./reactions/reaction.js"
export { idOf, type RegisterOptions, register } from "./reactions/register.js"
export type { DispatchOptions, Publication } from "./reactions/settings.js"
