/**
 * An app, taken apart into what driving a run needs.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { TapeClient } from "../Client.js"
import type { Compensator } from "./compensate.js"
import { EffectFailed, EffectUnknown, GateTimedOut } from "./errors.js"
import type * as Json from "./json.js"
import type { CurrentRun } from "./run.js"
import type { AppIdentity } from "./types.js"

/** The failures that durable calls may add to a run's own. */
export type CallError = EffectFailed | EffectUnknown | GateTimedOut

/** How those are journaled, beside the app's own errors. */
export const CallError = Schema.Union(EffectFailed, EffectUnknown, GateTimedOut)

/**
 * What a run may spend. A part that is left out (or not positive) is not limited.
 *
 * @since 0.1.0
 * @category models
 */
export interface Budget {
  /** US dollars. */
  readonly usd?: number | undefined
  /** Whole tokens. */
  readonly tokens?: number | undefined
}

/** `R` is what comes from outside. */
export interface Definition<I, A, E, R> {
  readonly name: string
  readonly input: Json.Codec<I, R>
  /** Absent: the outcome is not journaled, and a finished run is replayed. */
  readonly output: Json.Codec<A, R> | undefined
  /** Absent: a failure is not journaled, and `start` takes a failed run up again. */
  readonly error: Json.Codec<E, R> | undefined
  readonly budget: Budget | undefined
  readonly identity: AppIdentity | undefined
  /** Whether a typed failure undoes what was done. */
  readonly compensates: boolean
  readonly compensatorOf: (kind: string) => Compensator<R | TapeClient> | undefined
  readonly program: (input: I) => Effect.Effect<A, E, R | CurrentRun | Scope.Scope | TapeClient>
}
