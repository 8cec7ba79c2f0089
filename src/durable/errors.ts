/**
 * What a durable call and a durable run can fail with.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { TapeError } from "../Errors.js"

/**
 * The effect is recorded as FAILED, with an error that the tool's `error` schema does not describe; or its input could
 * not be written down, and nothing was begun.
 *
 * @since 0.1.0
 * @category errors
 */
export class EffectFailed extends Schema.TaggedError<EffectFailed>("effect-tape/Durable/EffectFailed")("EffectFailed", {
  tool: Schema.String,
  /** The key that the counterparty saw; empty when nothing was begun. */
  idempotencyKey: Schema.String,
  /** What is recorded, parsed JSON. */
  error: Schema.Unknown,
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.tool} failed: ${this.reason}${this.idempotencyKey === "" ? "" : ` (${this.idempotencyKey})`}`
  }
}

/**
 * Nobody can say whether the effect happened. It is not repeated; a status check, a reconciler or a person settles it.
 *
 * @since 0.1.0
 * @category errors
 */
export class EffectUnknown extends Schema.TaggedError<EffectUnknown>("effect-tape/Durable/EffectUnknown")(
  "EffectUnknown",
  { tool: Schema.String, idempotencyKey: Schema.String, reason: Schema.String }
) {
  override get message(): string {
    return `the outcome of ${this.tool} is unknown: ${this.reason} (${this.idempotencyKey})`
  }
}

/**
 * Nobody opened the gate in time. A later life of the run sees the same, and the program may open another gate.
 *
 * @since 0.1.0
 * @category errors
 */
export class GateTimedOut extends Schema.TaggedError<GateTimedOut>("effect-tape/Durable/GateTimedOut")("GateTimedOut", {
  runId: Schema.String,
  gate: Schema.String
}) {
  override get message(): string {
    return `nobody opened gate ${this.gate} of run ${this.runId} in time`
  }
}

/**
 * Raised by a tool's body: the request went out, its answer was lost. The effect becomes UNKNOWN and is checked, not
 * repeated blindly. It need not be part of the tool's `error` schema.
 *
 * @since 0.1.0
 * @category errors
 */
export class AckLost extends Schema.TaggedError<AckLost>("effect-tape/Durable/AckLost")("AckLost", {
  reason: Schema.optionalWith(Schema.String, { default: () => "the answer was lost" })
}) {
  override get message(): string {
    return this.reason
  }
}

/**
 * The run was cancelled (EndRun with CANCELLED), here or elsewhere.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunCancelled extends Schema.TaggedError<RunCancelled>("effect-tape/Durable/RunCancelled")("RunCancelled", {
  runId: Schema.String
}) {
  override get message(): string {
    return `run ${this.runId} was cancelled`
  }
}

/**
 * The run is STUCK: a person has to look at it before it can go on.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunStuck extends Schema.TaggedError<RunStuck>("effect-tape/Durable/RunStuck")("RunStuck", {
  runId: Schema.String
}) {
  override get message(): string {
    return `run ${this.runId} is stuck: settle its open effects and obligations, then end it`
  }
}

/**
 * The run waits at a gate, and nobody here waits with it; asked for with `whenHeld: "fail"` only. Opened, the gate makes the
 * run recoverable.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunParked extends Schema.TaggedError<RunParked>("effect-tape/Durable/RunParked")("RunParked", {
  runId: Schema.String,
  gate: Schema.String
}) {
  override get message(): string {
    return `run ${this.runId} waits at gate ${this.gate}`
  }
}

/**
 * The program asked for compensation: what the run did was undone, and the run ended FAILED.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunCompensated extends Schema.TaggedError<RunCompensated>("effect-tape/Durable/RunCompensated")(
  "RunCompensated",
  { runId: Schema.String }
) {
  override get message(): string {
    return `run ${this.runId} was compensated: what it did is undone`
  }
}

/**
 * What the run may spend does not cover its next decision: the model was not asked, and the run ended FAILED. With a higher
 * budget (`SetBudget`), `start` takes it up again.
 *
 * @since 0.1.0
 * @category errors
 */
export class BudgetExceeded extends Schema.TaggedError<BudgetExceeded>("effect-tape/Durable/BudgetExceeded")(
  "BudgetExceeded",
  { runId: Schema.String, decision: Schema.Number, reason: Schema.String }
) {
  override get message(): string {
    return `run ${this.runId}, decision ${this.decision}: ${this.reason}`
  }
}

/**
 * The run ended FAILED elsewhere, and its error is not among what the app's `error` schema describes.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunFailed extends Schema.TaggedError<RunFailed>("effect-tape/Durable/RunFailed")("RunFailed", {
  runId: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `run ${this.runId} failed: ${this.reason}`
  }
}

/**
 * The run is finished, and its journal has no record of something the program asks for, so that its outcome cannot be
 * told from the records. An app with `output` (and `error`) journals its outcome and needs no replay.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunFinished extends Schema.TaggedError<RunFinished>("effect-tape/Durable/RunFinished")("RunFinished", {
  runId: Schema.String,
  /** What the program asked for that is not recorded. */
  asked: Schema.String
}) {
  override get message(): string {
    return `run ${this.runId} is finished and has no record of ${this.asked}: give the app an output schema to journal outcomes`
  }
}

/**
 * The run's lease is no longer ours: the program was interrupted, so that two processes never drive one run.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseLost extends Schema.TaggedError<LeaseLost>("effect-tape/Durable/LeaseLost")("LeaseLost", {
  runId: Schema.String,
  /** Who holds it now; empty when unknown. */
  owner: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `the lease of run ${this.runId} was lost: ${this.reason}`
  }
}

/**
 * Another process drives the run; asked for with `whenHeld: "fail"` only.
 *
 * @since 0.1.0
 * @category errors
 */
export class LeaseHeld extends Schema.TaggedError<LeaseHeld>("effect-tape/Durable/LeaseHeld")("LeaseHeld", {
  runId: Schema.String,
  owner: Schema.String
}) {
  override get message(): string {
    return `run ${this.runId} is driven by ${this.owner}`
  }
}

/**
 * The scope that a tool needs was not granted to the run. Scopes are granted when a run begins and never change, so the
 * run ends FAILED.
 *
 * @since 0.1.0
 * @category errors
 */
export class ScopeDenied extends Schema.TaggedError<ScopeDenied>("effect-tape/Durable/ScopeDenied")("ScopeDenied", {
  runId: Schema.String,
  tool: Schema.String,
  scope: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `run ${this.runId} may not call ${this.tool}: ${this.detail}`
  }
}

/**
 * What is recorded does not fit the schema that reads it: the program or its schemas changed since it was written.
 *
 * @since 0.1.0
 * @category errors
 */
export class RecordUnreadable extends Schema.TaggedError<RecordUnreadable>("effect-tape/Durable/RecordUnreadable")(
  "RecordUnreadable",
  { runId: Schema.String, record: Schema.String, reason: Schema.String }
) {
  override get message(): string {
    return `run ${this.runId}: what is recorded as ${this.record} cannot be read: ${this.reason}`
  }
}

/**
 * The run was not begun or taken up: the sentence says why.
 *
 * @since 0.1.0
 * @category errors
 */
export class RunRefused extends Schema.TaggedError<RunRefused>("effect-tape/Durable/RunRefused")("RunRefused", {
  app: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `${this.app}: ${this.reason}`
  }
}

/**
 * The tape refused a call or stayed away for longer than the run was willing to wait. The run can be taken up again.
 *
 * @since 0.1.0
 * @category errors
 */
export class TapeTrouble extends Schema.TaggedError<TapeTrouble>("effect-tape/Durable/TapeTrouble")("TapeTrouble", {
  /** Empty when the run was not begun. */
  runId: Schema.String,
  cause: TapeError
}) {
  override get message(): string {
    return this.cause.message
  }
}

/**
 * How a run can stop, beside its own typed failure.
 *
 * @since 0.1.0
 * @category errors
 */
export const RunError = Schema.Union(
  RunCancelled,
  RunStuck,
  RunFailed,
  RunFinished,
  RunParked,
  RunCompensated,
  BudgetExceeded,
  LeaseLost,
  LeaseHeld,
  ScopeDenied,
  RecordUnreadable,
  RunRefused,
  TapeTrouble
)

/**
 * @since 0.1.0
 * @category errors
 */
export type RunError = typeof RunError.Type

/**
 * A tool that is defined in a way that cannot be kept safe. Thrown where the tool is defined: it is a mistake in the
 * program, seen when it starts.
 *
 * @since 0.1.0
 * @category errors
 */
export class ToolMisconfigured extends Schema.TaggedError<ToolMisconfigured>("effect-tape/Durable/ToolMisconfigured")(
  "ToolMisconfigured",
  { tool: Schema.String, reason: Schema.String }
) {
  override get message(): string {
    return this.tool === "" ? this.reason : `tool ${this.tool}: ${this.reason}`
  }
}
