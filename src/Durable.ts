/**
 * Programs that survive their process: what they decide and do is in a journal before it counts.
 *
 * - {@link app} is a durable program, {@link tool} an effect it may have; `Outbox.tool` is one that a dispatcher sends.
 * - {@link decide} asks a model once, {@link sample} looks at the world once; later lives read the record.
 * - {@link gate} waits for a person or another program, {@link sleep} for a time; the run is parked meanwhile.
 * - {@link compensate} undoes what was done, {@link cancel} stops and leaves it.
 * - A call inside `run` fails only with what its author can answer: a tool's declared error, {@link EffectFailed},
 *   {@link EffectUnknown} or {@link GateTimedOut}. Whatever else ends a run (a lost lease, a cancellation, trouble with the tape) cannot be caught
 *   inside it; `start` and `redrive` tell it as a {@link RunError}.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { CurrentRun, type Drift } from "./durable/run.js"

export { app, type Failure, type Output } from "./durable/app.js"
export { type CompensationContext, type Compensator, compensatorsOf } from "./durable/compensate.js"
export { type DecideOptions, decide, now, policyVersion, random, sample, uuid } from "./durable/decide.js"
export type { Budget } from "./durable/definition.js"
export {
  AckLost,
  BudgetExceeded,
  EffectFailed,
  EffectUnknown,
  GateTimedOut,
  LeaseHeld,
  LeaseLost,
  RecordUnreadable,
  RunCancelled,
  RunCompensated,
  RunError,
  RunFailed,
  RunFinished,
  RunParked,
  RunRefused,
  RunStuck,
  ScopeDenied,
  TapeTrouble,
  ToolMisconfigured
} from "./durable/errors.js"
export { Approval, type GateOptions, gate, sleep } from "./durable/gate.js"
export { layerSettings, layerSettingsConfig, type RunSettings, Settings } from "./durable/lease.js"
export { CurrentRun, Drift, type Life } from "./durable/run.js"
export { type ToolOptions, tool } from "./durable/tool.js"
export type {
  AnyApp,
  AnyTool,
  App,
  AppContext,
  AppIdentity,
  Call,
  Compensable,
  ContextOf,
  Outside,
  RedriveOptions,
  RunIdentity,
  RunIds,
  Tool,
  ToolCallOptions,
  Unlisted,
  Uses,
  UsesId,
  YieldContext,
  YieldError
} from "./durable/types.js"
export { cancel, compensate } from "./durable/undo.js"

/**
 * The run that a program is part of.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunInfo {
  readonly runId: string
  readonly app: string
  /** Whether an earlier life of the run left records behind. */
  readonly resumed: boolean
}

/**
 * The run that this program is part of.
 *
 * @since 0.1.0
 * @category durable
 */
export const info: Effect.Effect<RunInfo, never, CurrentRun> = Effect.map(CurrentRun, ({ app, mode, runId }) => ({
  runId,
  app,
  resumed: mode !== "first"
}))

/**
 * The calls of this life, so far, that asked for something else than what is recorded in their place. The records were
 * used; each was logged as a warning.
 *
 * @since 0.1.0
 * @category durable
 */
export const drifts: Effect.Effect<ReadonlyArray<Drift>, never, CurrentRun> = Effect.map(CurrentRun, ({ state }) => [
  ...state.drifts
])
