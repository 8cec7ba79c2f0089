/**
 * Everything a call to a tape can fail with, as a closed union a caller can branch on.
 *
 * One table (`statusOf` / `fromStatus`) maps errors to gRPC status codes and back, for the client, the server and the
 * engine: a failure is the same error in-process and over the wire.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The gRPC status codes, by number, as they travel.
 *
 * @since 0.1.0
 * @category status
 */
export const Status = {
  Ok: 0,
  Cancelled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16
} as const

/**
 * @since 0.1.0
 * @category status
 */
export type Status = (typeof Status)[keyof typeof Status]

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

/**
 * What came back instead of an answer, and of which call.
 *
 * @since 0.1.0
 * @category status
 */
export interface Failure {
  readonly rpc: string
  readonly code: number
  readonly detail: string
  readonly ids: Ids
  /** See {@link Unavailable}; `true` unless the call is known not to have left, or is harmless to repeat. */
  readonly maybeApplied?: boolean | undefined
}

/**
 * The typed error for a gRPC status. Total: a code that is not in the table is `Internal`.
 *
 * The reference server answers INTERNAL for some mistakes of the caller; its message forms are recognised here, so that
 * a program sees the same error from either server.
 *
 * @since 0.1.0
 * @category status
 */
export const fromStatus = (failure: Failure): TapeError => {
  const { code, detail, ids, maybeApplied = true, rpc } = failure
  const props = { rpc, detail, ids }
  switch (code === Status.Internal || code === Status.Unknown ? meantByReference(detail) : code) {
    case Status.NotFound:
      return new NotFound(props)
    case Status.InvalidArgument:
    case Status.OutOfRange:
      return new InvalidRequest(props)
    case Status.AlreadyExists:
    case Status.Aborted:
      return new Conflict(props)
    case Status.FailedPrecondition:
      return new PreconditionFailed(props)
    case Status.PermissionDenied:
      return new PermissionDenied(props)
    case Status.Unauthenticated:
      return new Unauthenticated(props)
    case Status.ResourceExhausted:
      return new ResourceExhausted(props)
    case Status.Unavailable:
      return new Unavailable({ ...props, maybeApplied })
    case Status.DeadlineExceeded:
      return new DeadlineExceeded(props)
    case Status.Cancelled:
      return new Cancelled(props)
    case Status.Unimplemented:
      return new Unimplemented(props)
    default:
      return new Internal(props)
  }
}

/**
 * The gRPC status of a typed error.
 *
 * @since 0.1.0
 * @category status
 */
export const statusOf = (error: TapeError): Status => statusByTag[error._tag]

const statusByTag: { readonly [Tag in TapeError["_tag"]]: Status } = {
  NotFound: Status.NotFound,
  InvalidRequest: Status.InvalidArgument,
  Conflict: Status.Aborted,
  PreconditionFailed: Status.FailedPrecondition,
  PermissionDenied: Status.PermissionDenied,
  Unauthenticated: Status.Unauthenticated,
  ResourceExhausted: Status.ResourceExhausted,
  Unavailable: Status.Unavailable,
  DeadlineExceeded: Status.DeadlineExceeded,
  Cancelled: Status.Cancelled,
  Unimplemented: Status.Unimplemented,
  Internal: Status.Internal
}

const referenceForms: ReadonlyArray<readonly [form: RegExp, status: Status]> = [
  [/version conflict/, Status.Aborted],
  [/NON_IDEMPOTENT|business_key.*connector|owner is required/, Status.InvalidArgument],
  [/not terminal|not settled/, Status.FailedPrecondition],
  [/no run for|not found/, Status.NotFound]
]

const meantByReference = (detail: string): Status =>
  referenceForms.find(([form]) => form.test(detail))?.[1] ?? Status.Internal
