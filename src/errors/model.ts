/**
 * The errors themselves; `Errors.ts` has the statuses they travel as.
 */
import * as Schema from "effect/Schema"

const fields = {
  /** The RPC that failed, as in the contract: `BeginRun`. */
  rpc: Schema.String,
  /** What the tape said, one sentence. */
  detail: Schema.String,
  /** The ids the request named, in the contract's words: `{ run_id: "…" }`. */
  ids: Schema.Record({ key: Schema.String, value: Schema.String })
}

const sentence = (error: { readonly rpc: string; readonly detail: string; readonly ids: Ids }): string => {
  const ids = Object.entries(error.ids).map(([name, value]) => `${name} ${JSON.stringify(value)}`)
  return `${error.rpc}: ${error.detail}${ids.length === 0 ? "" : ` (${ids.join(", ")})`}`
}

type Ids = { readonly [name: string]: string }

/**
 * The run, effect, obligation or task that the call names does not exist.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotFound extends Schema.TaggedError<NotFound>("effect-tape/Errors/NotFound")("NotFound", fields) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * The request is malformed or asks for something that is never allowed. Sending it again cannot help.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>("effect-tape/Errors/InvalidRequest")(
  "InvalidRequest",
  fields
) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * Somebody else was first: a version moved under a compare-and-set. Read again, then decide.
 *
 * @since 0.1.0
 * @category errors
 */
export class Conflict extends Schema.TaggedError<Conflict>("effect-tape/Errors/Conflict")("Conflict", fields) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * The state does not allow the call: the lease is held by another, the run is finished, the claim was lost.
 *
 * @since 0.1.0
 * @category errors
 */
export class PreconditionFailed extends Schema.TaggedError<PreconditionFailed>("effect-tape/Errors/PreconditionFailed")(
  "PreconditionFailed",
  fields
) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * The run was not granted the scope that the call needs.
 *
 * @since 0.1.0
 * @category errors
 */
export class PermissionDenied extends Schema.TaggedError<PermissionDenied>("effect-tape/Errors/PermissionDenied")(
  "PermissionDenied",
  fields
) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * The caller could not be identified: a token is missing, expired or could not be minted.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unauthenticated extends Schema.TaggedError<Unauthenticated>("effect-tape/Errors/Unauthenticated")(
  "Unauthenticated",
  fields
) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * A limit was passed: message size, list length, open streams. The detail names it.
 *
 * @since 0.1.0
 * @category errors
 */
export class ResourceExhausted extends Schema.TaggedError<ResourceExhausted>("effect-tape/Errors/ResourceExhausted")(
  "ResourceExhausted",
  fields
) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * The tape could not be reached, or went away during the call.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unavailable extends Schema.TaggedError<Unavailable>("effect-tape/Errors/Unavailable")("Unavailable", {
  ...fields,
  /** `true` when the call may have been applied although its answer was lost: look before repeating it. */
  maybeApplied: Schema.Boolean
}) {
  override get message(): string {
    return `${sentence(this)}${this.maybeApplied ? "; it may have been applied" : ""}`
  }
}

/**
 * No answer came within the call's deadline. The call may have been applied.
 *
 * @since 0.1.0
 * @category errors
 */
export class DeadlineExceeded extends Schema.TaggedError<DeadlineExceeded>("effect-tape/Errors/DeadlineExceeded")(
  "DeadlineExceeded",
  fields
) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * The other side ended the call. (A cancellation of our own is an interruption, not an error.)
 *
 * @since 0.1.0
 * @category errors
 */
export class Cancelled extends Schema.TaggedError<Cancelled>("effect-tape/Errors/Cancelled")("Cancelled", fields) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * This tape does not know the RPC, or not yet.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unimplemented extends Schema.TaggedError<Unimplemented>("effect-tape/Errors/Unimplemented")(
  "Unimplemented",
  fields
) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * A bug on the other side.
 *
 * @since 0.1.0
 * @category errors
 */
export class Internal extends Schema.TaggedError<Internal>("effect-tape/Errors/Internal")("Internal", fields) {
  override get message(): string {
    return sentence(this)
  }
}

/**
 * Everything a call to a tape can fail with.
 *
 * @since 0.1.0
 * @category errors
 */
export const TapeError = Schema.Union(
  NotFound,
  InvalidRequest,
  Conflict,
  PreconditionFailed,
  PermissionDenied,
  Unauthenticated,
  ResourceExhausted,
  Unavailable,
  DeadlineExceeded,
  Cancelled,
  Unimplemented,
  Internal
)

/**
 * @since 0.1.0
 * @category errors
 */
export type TapeError = typeof TapeError.Type

/**
 * Whether a value is one of the errors of {@link TapeError}.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTapeError: (value: unknown) => value is TapeError = Schema.is(TapeError)
