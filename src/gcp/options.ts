/** What Google's services have in common. */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { Dispatched, Observed, Request } from "../connectors/protocol.js"
import type { GoogleError } from "./errors.js"

/**
 * How a service of Google's is reached.
 *
 * @since 0.1.0
 * @category models
 */
export interface GoogleOptions {
  /** Defaults to the project of the credentials, or of the machine. */
  readonly projectId?: string | undefined
  /**
   * `host:port` of an emulator: no TLS, no credentials. Defaults to Google's own service; for Pub/Sub to
   * `PUBSUB_EMULATOR_HOST` if that is set.
   */
  readonly emulator?: string | undefined
  /** Limits one call. Defaults to 10 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /**
   * Further options for the constructor of Google's client (`credentials`, `keyFilename`, `apiEndpoint` …). Defaults to
   * none: Application Default Credentials.
   */
  readonly google?: { readonly [option: string]: unknown } | undefined
}

/**
 * How to ask the one who acts on messages, or on tasks, what became of an effect.
 *
 * @since 0.1.0
 * @category models
 */
export type Observe<R> = (request: Request) => Effect.Effect<Observed, unknown, R>

/** An effect that was not accepted, or whose acceptance is in doubt. */
export const refused = (error: GoogleError): Dispatched =>
  error.refusal === "unknown"
    ? { _tag: "unknown", error: error.message }
    : { _tag: "failed", error: error.message, final: error.refusal !== "busy" }

export const jsonOf = (value: unknown): string => JSON.stringify(value) ?? "null"
