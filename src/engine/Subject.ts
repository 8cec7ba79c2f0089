/**
 * Subjects (`/tape/<kind>/<verb>/<dims…>`) and the patterns that select them.
 *
 * @since 0.1.0
 */
import { encode } from "../internal/Subject.js"

/**
 * A subject from its kind, its verb and its dimensions, each encoded.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (kind: string, verb: string, ...dimensions: ReadonlyArray<string>): string =>
  `/tape/${kind}/${verb}${dimensions.map((dimension) => `/${encode(dimension)}`).join("")}`

export {
  /**
   * One dimension as it stands in a subject: the characters that mean something in subjects, patterns and URLs become
   * `%XX`, empty becomes `_`, everything else (`:`, `@`, `+`, non-ASCII text) stays.
   *
   * @since 0.1.0
   * @category encoding
   */
  encode,
  /**
   * Why a pattern cannot be used, or `undefined` when it can.
   *
   * @since 0.1.0
   * @category patterns
   */
  patternProblem
} from "../internal/Subject.js"

/**
 * The test for a pattern: segment by segment, `*` is exactly one segment, `**` (last) is any number of them, and the
 * empty pattern is everything.
 *
 * @since 0.1.0
 * @category patterns
 */
export const matcher = (pattern: string): ((subject: string) => boolean) => {
  if (pattern === "" || pattern === "**") {
    return () => true
  }
  const wanted = pattern.split("/")
  const open = wanted.at(-1) === "**"
  const fixed = open ? wanted.slice(0, -1) : wanted
  return (subject) => {
    const segments = subject.split("/")
    return (
      (open ? segments.length >= fixed.length : segments.length === fixed.length) &&
      fixed.every((segment, index) => segment === "*" || segment === segments[index])
    )
  }
}
