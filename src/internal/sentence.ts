import * as Cause from "effect/Cause"

/** Why something failed, as a person may read it: a message where there is one. */
export const sentenceOf = (cause: Cause.Cause<unknown>): string => sentenceOfError(Cause.squash(cause))

/** The same of an error, whatever a user's code has failed with. */
export const sentenceOfError = (error: unknown): string =>
  error instanceof Error
    ? error.message || error.name
    : typeof error === "string"
      ? error
      : Cause.pretty(Cause.fail(error))
