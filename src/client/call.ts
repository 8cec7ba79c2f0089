/**
 * The settings of a call: what it is given, what its fiber carries, and the defaults.
 */
import * as Duration from "effect/Duration"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import { metadataOf } from "../observability/tracing.js"

export interface Metadata {
  readonly [key: string]: string
}

export interface Settings {
  readonly metadata: Metadata
  /** In milliseconds; `Infinity` is none. */
  readonly timeout: number
}

const noMetadata: Metadata = {}

export const currentMetadata: FiberRef.FiberRef<Metadata> = globalValue(
  Symbol.for("effect-tape/Client/currentMetadata"),
  () => FiberRef.unsafeMake(noMetadata)
)

export const currentTimeout: FiberRef.FiberRef<number | undefined> = globalValue(
  Symbol.for("effect-tape/Client/currentTimeout"),
  () => FiberRef.unsafeMake<number | undefined>(undefined)
)

/** The settings of one call, or the sentence that says what is wrong with its metadata. */
export const settingsOf = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  options:
    | { readonly timeout?: Duration.DurationInput | undefined; readonly metadata?: Metadata | undefined }
    | undefined,
  defaultTimeout: number
): Settings | string => {
  const timeout =
    options?.timeout === undefined
      ? (fiber.getFiberRef(currentTimeout) ?? defaultTimeout)
      : Duration.toMillis(options.timeout)
  const ambient = fiber.getFiberRef(currentMetadata)
  const trace = fiber.currentSpan === undefined ? undefined : metadataOf(fiber.currentSpan)
  if (options?.metadata === undefined && ambient === noMetadata) return { metadata: trace ?? noMetadata, timeout }
  const settings = checked({ ...ambient, ...options?.metadata }, timeout)
  if (trace === undefined || typeof settings === "string" || "traceparent" in settings.metadata) return settings
  return { metadata: { ...trace, ...settings.metadata }, timeout }
}

// ---- internal ----

// what gRPC can carry as text; the in-process client refuses the same, so that a program does not learn it in production
const checked = (metadata: Metadata, timeout: number): Settings | string => {
  const lower: { [key: string]: string } = {}
  for (const [name, value] of Object.entries(metadata)) {
    const key = name.toLowerCase()
    if (!/^[0-9a-z_.-]+$/.test(key) || key.startsWith("grpc-") || key.endsWith("-bin")) {
      return `metadata key ${JSON.stringify(name)} cannot be sent: letters, digits, "_", "-" and "." only, neither "grpc-…" nor "…-bin"`
    }
    if (typeof value !== "string" || !/^[ -~]*$/.test(value)) {
      return `metadata ${key} cannot be sent: its value must be printable ASCII text`
    }
    lower[key] = value
  }
  return { metadata: lower, timeout }
}
