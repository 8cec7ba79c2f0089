/**
 * An app, taken apart into what driving a run needs.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { TapeClient } from "../Client.js"
import { EffectFailed, EffectUnknown } from "./errors.js"
import type * as Json from "./json.js"
import type { CurrentRun } from "./run.js"

/** The failures that every tool call may add to a run's own. */
export type CallError = EffectFailed | EffectUnknown

/** How those are journaled, beside the app's own errors. */
export const CallError = Schema.Union(EffectFailed, EffectUnknown)

/** `R` is what comes from outside. */
export interface Definition<I, A, E, R> {
  readonly name: string
  readonly input: Json.Codec<I, R>
  /** Absent: the outcome is not journaled, and a finished run is replayed. */
  readonly output: Json.Codec<A, R> | undefined
  /** Absent: a failure is not journaled, and `start` takes a failed run up again. */
  readonly error: Json.Codec<E, R> | undefined
  readonly program: (input: I) => Effect.Effect<A, E, R | CurrentRun | Scope.Scope | TapeClient>
}
