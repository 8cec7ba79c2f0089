/** How subjects are written and patterns read: the engine and the SDK must agree to the letter. */

/**
 * One dimension as it stands in a subject: the characters that mean something in subjects, patterns and URLs become
 * `%XX`, empty becomes `_`, everything else (`:`, `@`, `+`, non-ASCII text) stays.
 */
export const encode = (dimension: string): string =>
  dimension === "" ? "_" : dimension.replace(reserved, (character) => `%${hex(character)}`)

// oxlint-disable-next-line no-control-regex -- control characters are among what is encoded
const reserved = /[/ *%?#\\\u0000-\u001f\u007f]/g

const hex = (character: string): string => character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")

/** Why a pattern cannot be used, or `undefined` when it can. */
export const patternProblem = (pattern: string): string | undefined => {
  const segments = pattern.split("/")
  return segments.slice(0, -1).includes("**") ? "** is only allowed as the last segment of a pattern" : undefined
}
