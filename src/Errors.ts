/**
 * Everything a call to a tape can fail with, as a closed union a caller can branch on.
 *
 * One table (`statusOf` / `fromStatus`) maps errors to gRPC status codes and back, for the client, the server and the
 * engine: a failure is the same error in-process and over the wire.
 *
 * @since 0.1.0
 */
import {
  Cancelled,
  Conflict,
  DeadlineExceeded,
  Internal,
  InvalidRequest,
  NotFound,
  PermissionDenied,
  PreconditionFailed,
  ResourceExhausted,
  type TapeError,
  Unauthenticated,
  Unavailable,
  Unimplemented
} from "./errors/model.js"

export * from "./errors/model.js"

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
  readonly ids: TapeError["ids"]
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
