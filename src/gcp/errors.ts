/** What Google's services, and the way to them, fail with. */
import * as Schema from "effect/Schema"

/**
 * A package of Google's that is needed here is not installed. They are optional peers of this one.
 *
 * @since 0.1.0
 * @category errors
 */
export class MissingDependency extends Schema.TaggedError<MissingDependency>("effect-tape/gcp/MissingDependency")(
  "MissingDependency",
  { package: Schema.String, cause: Schema.optional(Schema.Defect) }
) {
  override get message(): string {
    return `${this.package} is not installed: npm install ${this.package}`
  }
}

/**
 * A client of Google's cannot be set up: no credentials, no project, or a package that cannot be loaded.
 *
 * @since 0.1.0
 * @category errors
 */
export class SetupFailed extends Schema.TaggedError<SetupFailed>("effect-tape/gcp/SetupFailed")("SetupFailed", {
  /** The package whose client it is. */
  package: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message(): string {
    return `${this.package} cannot be used: ${this.detail}`
  }
}

/**
 * The names of gRPC's status codes as Google writes them, from 1 on.
 *
 * @since 0.1.0
 * @category models
 */
export const Code = Schema.Literal(
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED"
)

/**
 * @since 0.1.0
 * @category models
 */
export type Code = typeof Code.Type

/**
 * A call to a service of Google's failed.
 *
 * @since 0.1.0
 * @category errors
 */
export class GoogleError extends Schema.TaggedError<GoogleError>("effect-tape/gcp/GoogleError")("GoogleError", {
  /** `Publish`, `CreateTask` … */
  call: Schema.String,
  /** The topic, queue or task. */
  resource: Schema.String,
  code: Code,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  /**
   * - `request`: refused for what was in it; sent again it would be again.
   * - `receiver`: refused whatever is in it, until somebody mends the resource or its permissions.
   * - `busy`: refused for now.
   * - `unknown`: it may have happened, the answer is missing.
   */
  get refusal(): "request" | "receiver" | "busy" | "unknown" {
    return refusals[this.code] ?? "unknown"
  }

  override get message(): string {
    return `${this.call} to ${this.resource}: ${this.code}${this.detail === "" ? "" : `: ${this.detail}`}`
  }
}

/** A rejection of Google's client, understood by its code, never by its text. */
export const googleError = (call: string, resource: string, cause: unknown): GoogleError => {
  const number = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined
  const code = (typeof number === "number" ? Code.literals[number - 1] : undefined) ?? "UNKNOWN"
  return new GoogleError({ call, resource, code, detail: sentenceOf(cause).slice(0, longestDetail), cause })
}

/** The sentence of whatever was thrown. */
export const sentenceOf = (cause: unknown): string => {
  if (typeof cause !== "object" || cause === null) return String(cause)
  // gRPC's own words, without the code in front.
  if ("details" in cause && typeof cause.details === "string" && cause.details !== "") return cause.details
  return "message" in cause ? String(cause.message) : "an error without a message"
}

const longestDetail = 500

const refusals: { readonly [C in Code]?: "request" | "receiver" | "busy" } = {
  INVALID_ARGUMENT: "request",
  OUT_OF_RANGE: "request",
  NOT_FOUND: "receiver",
  ALREADY_EXISTS: "receiver",
  PERMISSION_DENIED: "receiver",
  FAILED_PRECONDITION: "receiver",
  UNIMPLEMENTED: "receiver",
  UNAUTHENTICATED: "busy",
  RESOURCE_EXHAUSTED: "busy"
}
