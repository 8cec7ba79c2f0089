/**
 * The types that tie tools, runs and apps together.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import type { YieldWrap } from "effect/Utils"
import type { TapeClient } from "../Client.js"
import type { ToolLike } from "../outbox/ToolLike.js"
import type { EffectFailed, EffectUnknown, RunError } from "./errors.js"
import type { CurrentRun } from "./run.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export declare const UsesId: unique symbol

/**
 * A mark in the requirements of a tool call: which tool it was. Never provided; an app that lists the tool discharges
 * it. Invariant in the name, so that one tool never stands for another.
 *
 * @since 0.1.0
 * @category models
 */
export interface Uses<in out Name extends string> {
  readonly [UsesId]: Types.Invariant<Name>
}

/**
 * Settings of one call of a tool.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolCallOptions {
  /**
   * The call's own name within the run. Without it a call is known by its position (decision, tool, how many calls before
   * it), which is stable only for calls made one after another: concurrent calls need a key.
   */
  readonly key?: string | undefined
}

/**
 * What a body or a check is told of the call it serves.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  /** The same in every attempt and every life of the run: hand it to a counterparty that dedupes. */
  readonly idempotencyKey: string
  readonly runId: string
  readonly tool: string
  /** 1 for the first attempt of this life of the run. */
  readonly attempt: number
}

/**
 * What undoes an effect, for whoever works the obligations: from the recorded input and output, as parsed JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Compensable<out R> {
  readonly compensate?:
    | ((input: unknown, output: unknown, call: Call) => Effect.Effect<unknown, unknown, R>)
    | undefined
}

/**
 * A tool that runs inside the agent.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tool<in out Name extends string, in I, out A, out E, out R> extends ToolLike<R>, Compensable<R> {
  (input: I, options?: ToolCallOptions): Effect.Effect<A, E | EffectFailed | EffectUnknown, R | CurrentRun | Uses<Name>>
  readonly name: Name
  readonly connector?: undefined
}

/**
 * Any tool, inline or outbox.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyTool extends ToolLike, Compensable<unknown> {
  (input: never, options?: ToolCallOptions): Effect.Effect<unknown, unknown, unknown>
}

/**
 * The services that a tool needs.
 *
 * @since 0.1.0
 * @category type-level
 */
export type ContextOf<T> = T extends ToolLike<infer R> ? R : never

/**
 * The names of the tools that requirements `R` speak of and `Tools` does not list.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Unlisted<R, Tools extends ReadonlyArray<AnyTool>> = 0 extends 1 & R
  ? never
  : Exclude<R extends Uses<infer Name> ? Name : never, Tools[number]["name"]>

/**
 * What of the requirements `R` of a run must come from outside.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Outside<R> = R extends CurrentRun | TapeClient | Scope.Scope | Uses<infer _> ? never : R

/**
 * The failures of a bare generator's effects.
 *
 * @since 0.1.0
 * @category type-level
 */
export type YieldError<Y> = [Y] extends [never]
  ? never
  : Y extends YieldWrap<Effect.Effect<infer _A, infer E, infer _R>>
    ? E
    : never

/**
 * The requirements of a bare generator's effects.
 *
 * @since 0.1.0
 * @category type-level
 */
export type YieldContext<Y> = [Y] extends [never]
  ? never
  : Y extends YieldWrap<Effect.Effect<infer _A, infer _E, infer R>>
    ? R
    : never

/**
 * Who asks for a run. Together with the app's name they are its identity: the same four, the same run.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunIds {
  readonly user: string
  readonly session: string
  readonly invocation: string
  /** Kept with the run, beside those of the app and the process; never changed afterwards. */
  readonly labels?: { readonly [name: string]: string } | undefined
  /**
   * What the run's tools may ask for. Granted when the run begins, never changed. Defaults to those of the app's
   * `identity`, else those of the process (`Identity.layer`): none unless given.
   */
  readonly scopes?: ReadonlyArray<string> | undefined
  /** Part by part, this goes before the app's `identity` and that of the process. */
  readonly identity?: RunIdentity | undefined
}

/**
 * On whose behalf a run acts. Kept with the run for whoever reads the journal; a part that is left out is the process's.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunIdentity {
  /** Defaults to the identity's of the process, else to its `Tenancy`'s. */
  readonly tenantId?: string | undefined
  readonly actor?: string | undefined
  readonly subject?: string | undefined
  readonly agentId?: string | undefined
  readonly instance?: string | undefined
  readonly route?: string | undefined
}

/**
 * On whose behalf all runs of an app act, and what they may do.
 *
 * @since 0.1.0
 * @category models
 */
export interface AppIdentity extends RunIdentity, Pick<RunIds, "labels" | "scopes"> {}

/**
 * A durable program.
 *
 * @since 0.1.0
 * @category models
 */
export interface App<out Name extends string, in I, out A, out E, out R> {
  readonly name: Name
  readonly tools: ReadonlyArray<AnyTool>
  /**
   * Open, resume or join the run of these ids, and see it to its end.
   *
   * The same ids are the same run: a finished one gives its recorded outcome, one that another process drives is followed
   * to its end, an abandoned one is taken up where its journal stops. The input that was recorded first is the one that
   * counts. Interrupting `start` leaves the run resumable.
   */
  readonly start: (ids: RunIds, input: I) => Effect.Effect<A, E | RunError, R | TapeClient>
  /**
   * Take up a run by its id, with the input in its journal. While another process holds its lease the run is joined, or,
   * with `whenHeld: "fail"`, left alone with `LeaseHeld`.
   */
  readonly redrive: (runId: string, options?: RedriveOptions) => Effect.Effect<A, E | RunError, R | TapeClient>
  /**
   * End a run as CANCELLED. Whoever drives it notices at its next durable call or heartbeat; what was done stays done. Gives
   * whether it is cancelled: a run that ended otherwise, or is being compensated, is not.
   */
  readonly cancel: (runId: string, reason?: string) => Effect.Effect<boolean, RunError, TapeClient>
}

/**
 * @since 0.1.0
 * @category models
 */
export interface RedriveOptions {
  /**
   * What to do while another process drives the run, or while it waits at a gate: see it to its end, or fail with
   * `LeaseHeld` or `RunParked`. Defaults to `"join"`.
   */
  readonly whenHeld?: "join" | "fail" | undefined
}

/**
 * Any app, as recovery sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface AnyApp<out R = unknown> {
  readonly name: string
  readonly tools: ReadonlyArray<AnyTool>
  readonly redrive: (runId: string, options?: RedriveOptions) => Effect.Effect<unknown, unknown, R | TapeClient>
}

/**
 * The services that apps need, beside the tape.
 *
 * @since 0.1.0
 * @category type-level
 */
export type AppContext<T> = T extends App<string, never, unknown, unknown, infer R> ? R : never
