/**
 * What PostgreSQL and the way to it can say, as errors that name no password.
 */
import { StoreError } from "../../StoreError.js"

/** Why a connection gave no answer, or a statement none that we wanted. The code is an SQLSTATE, or Node's. */
export interface Failure {
  readonly code: string
  /** Whether the connection is gone: whether a COMMIT on its way was carried out is then unknown. */
  readonly isLost: boolean
  /** Whether a COMMIT was on its way, and nobody could be asked what became of it: never to be run again blindly. */
  readonly isAmbiguous?: boolean
  readonly detail: string
  readonly cause: unknown
}

export const failureOf = (cause: unknown): Failure => {
  const code = hasCode(cause) ? cause.code : ""
  const isStatement = sqlState.test(code)
  return {
    code,
    isLost: !isStatement || /^(08|57P0)/.test(code) || isFatal(cause),
    detail: cause instanceof Error ? messageOf(cause) : String(cause),
    cause
  }
}

/** Another transaction was there first: the same batch is run again, and sees what the other one has written. */
export const isConflict = ({ code }: Failure): boolean => /^(40001|40P01|23505)$/.test(code)

/** One call's own doing, such as a value that the database cannot hold: the other calls of a batch are not to blame. */
export const isOfOneCall = ({ code }: Failure): boolean => /^(22|23|54)/.test(code)

export const toStoreError = (url: string, failure: Failure): StoreError =>
  new StoreError({
    reason: reasonOf(failure),
    url,
    detail: `${sentenceOf(failure)}${failure.code === "" ? "" : ` (${failure.code})`}`,
    cause: failure.cause
  })

const sqlState = /^[0-9A-Z]{5}$/

const hasCode = (cause: unknown): cause is { readonly code: string } =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"

const isFatal = (cause: unknown): boolean =>
  typeof cause === "object" &&
  cause !== null &&
  "severity" in cause &&
  (cause.severity === "FATAL" || cause.severity === "PANIC")

/** Node tries every address of a name, and says nothing of its own when all of them fail. */
const messageOf = (error: Error): string =>
  error instanceof AggregateError && error.message === ""
    ? error.errors.map((each) => (each instanceof Error ? each.message : String(each))).join("; ")
    : error.message

const sentenceOf = (failure: Failure): string => {
  if (isConflict(failure)) {
    return `other calls kept changing the same rows: ${failure.detail}`
  }
  // A refusal has been heard from the database itself.
  const isUnreachable = failure.isLost && (!sqlState.test(failure.code) || /^(08|57)/.test(failure.code))
  return isUnreachable ? `the database cannot be reached: ${failure.detail}` : failure.detail
}

const reasonOf = (failure: Failure): StoreError["reason"] => {
  const { code } = failure
  if (isConflict(failure) || code === "55P03") {
    return "Busy"
  }
  if (/^(28|3D000|42501|25006)/.test(code)) {
    return "NotWritable"
  }
  if (code === "42P07") {
    return "NotADatabase"
  }
  return code === "53100" ? "Full" : "Unavailable"
}
