/**
 * Durable programs as values.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { YieldWrap } from "effect/Utils"
import type { TapeClient } from "../Client.js"
import { type Compensator, compensatorsOf } from "./compensate.js"
import { type Budget, CallError } from "./definition.js"
import { RunRefused, ToolMisconfigured } from "./errors.js"
import * as Json from "./json.js"
import { cancel, redrive, start } from "./open.js"
import type { CurrentRun } from "./run.js"
import type { AnyTool, App, AppIdentity, ContextOf, Outside, Unlisted, YieldContext, YieldError } from "./types.js"

/**
 * The result of a run: what the `output` schema says, else what `run` gives.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Output<A, B> = unknown extends A ? B : A

/**
 * The failure of a run: what the `error` schema says and tool calls add, else what `run` fails with.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Failure<X, E> = unknown extends X ? E : X | Extract<E, CallError>

type Guard<R, E, X, Tools extends ReadonlyArray<AnyTool>> = ([Unlisted<R, Tools>] extends [never]
  ? unknown
  : { readonly tools: `run calls "${Unlisted<R, Tools>}": add it to tools, or recovery cannot settle it` }) &
  ([Undeclared<E, X>] extends [never] ? unknown : { readonly error: Unjournaled<Undeclared<E, X>> })

type Undeclared<E, X> = 0 extends 1 & E ? never : unknown extends X ? never : Exclude<E, X | CallError>

type Unjournaled<E> = E extends { readonly _tag: infer Tag extends string }
  ? `run fails with "${Tag}", which the error schema does not describe`
  : "run fails with what the error schema does not describe"

/**
 * A durable program. What it decides and does is journaled as it goes; after a crash another process takes it up where
 * its journal stops, and what was done is not done again.
 *
 * - `run` is a generator method, `Effect.fn(function*(input) {…})` or a function that gives an Effect.
 * - `tools` are the tools that `run` calls; one that is missing does not compile.
 * - With `output` the result is journaled when the run ends, and `start` on the finished run gives it back; with `error`
 *   so is a typed failure. Without them a finished run is replayed from its records, and a FAILED one is taken up again by
 *   `start`. `EffectFailed`, `EffectUnknown` and `GateTimedOut` are always journaled beside the errors of `error`.
 * - A typed failure ends the run FAILED. A defect ends nothing: the lease runs out, and recovery (or the next `start`) takes
 *   the run up again. Nor does an interruption: it gives the lease back, so that can be at once.
 *
 * ```ts
 * import { Durable } from "effect-tape"
 * import { Effect, Schema } from "effect"
 *
 * export const Greet = Durable.app("greet", {
 *   input: Schema.Struct({ name: Schema.String }),
 *   output: Schema.String,
 *   *run({ name }) {
 *     const words = yield* Durable.decide(
 *       { model: "poet-1", request: name, response: Schema.String },
 *       Effect.succeed(`Hello, ${name}`)
 *     )
 *     return words
 *   }
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const app = <
  const Name extends string,
  I,
  IE,
  IR,
  B extends A,
  E = never,
  R = never,
  Y extends YieldWrap<Effect.Effect<unknown, unknown, unknown>> = never,
  const Tools extends ReadonlyArray<AnyTool> = readonly [],
  A = unknown,
  AE = unknown,
  AR = never,
  X = unknown,
  XE = unknown,
  XR = never
>(
  name: Name,
  options: {
    /** Journaled when the run begins; recovery reads it from there. */
    readonly input: Schema.Schema<I, IE, IR>
    readonly output?: Schema.Schema<A, AE, AR> | undefined
    readonly error?: Schema.Schema<X, XE, XR> | undefined
    readonly tools?: Tools | undefined
    /**
     * What its decisions may spend; set when a run begins. A decision with a `cost` that it does not cover stops the run
     * with `BudgetExceeded`. Defaults to no limit.
     */
    readonly budget?: Budget | undefined
    /** On whose behalf its runs act, where that is another than the process (`Identity`). */
    readonly identity?: AppIdentity | undefined
    /** `"compensate"`: a typed failure undoes what was done before the run ends. Defaults to `"keep"`. */
    readonly onFailure?: "keep" | "compensate" | undefined
    readonly run: (input: I) => Effect.Effect<B, E, R> | Generator<Y, B, never>
  } & Guard<R | YieldContext<Y>, E | YieldError<Y>, X, Tools>
): App<
  Name,
  I,
  Output<A, B>,
  Failure<X, E | YieldError<Y>>,
  IR | AR | XR | ContextOf<Tools[number]> | Outside<R | YieldContext<Y>>
> => {
  type Needs = IR | AR | XR | ContextOf<Tools[number]> | Outside<R | YieldContext<Y>>
  type Result = Output<A, B>
  type Failed = Failure<X, E | YieldError<Y>>
  const { error, input, output, run, tools = [] } = options
  checked(name, { input, output, error }, tools)
  const definition = {
    name,
    input: Json.codec(input),
    // The guards above tie B and E to the schemas; the compiler cannot follow them through the conditional types.
    output: output === undefined ? undefined : (Json.codec(output) as unknown as Json.Codec<Result, AR>),
    error:
      error === undefined
        ? undefined
        : (Json.codec(Schema.Union(error, CallError)) as unknown as Json.Codec<Failed, XR>),
    budget: options.budget,
    identity: options.identity,
    compensates: options.onFailure === "compensate",
    // The tools' own context is part of what the app needs.
    compensatorOf: compensatorsOf(tools) as (kind: string) => Compensator<Needs | TapeClient> | undefined,
    program: (value: I) =>
      program(run(value)) as Effect.Effect<Result, Failed, Needs | CurrentRun | Scope.Scope | TapeClient>
  }
  return {
    name,
    tools,
    cancel: (runId, reason = "") => cancel(name, runId, reason),
    start: (ids, value) => start<I, Result, Failed, Needs>(definition, ids, value),
    redrive: (runId, redriveOptions) => redrive<I, Result, Failed, Needs>(definition, runId, redriveOptions)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const program = <Y extends YieldWrap<Effect.Effect<unknown, unknown, unknown>>, B, E, R>(
  given: Effect.Effect<B, E, R> | Generator<Y, B, never>
): Effect.Effect<B, E | YieldError<Y>, R | YieldContext<Y>> =>
  Effect.isEffect(given)
    ? given
    : // A bare generator is what Effect.gen calls for; it is used once, by the one life that asked for it.
      (Effect.gen(() => given as Generator<never, B, never>) as Effect.Effect<
        B,
        E | YieldError<Y>,
        R | YieldContext<Y>
      >)

/** Throws what is wrong with a definition that compiles. */
const checked = (
  name: string,
  schemas: { readonly [part: string]: Schema.Schema.All | undefined },
  tools: ReadonlyArray<AnyTool>
): void => {
  if (name === "") throw new RunRefused({ app: name, reason: "an app needs a name" })
  for (const [part, schema] of Object.entries(schemas)) {
    const foreign = schema === undefined ? undefined : Json.unencodable(schema)
    if (foreign !== undefined) {
      throw new RunRefused({ app: name, reason: `its ${part} cannot be journaled: ${foreign}` })
    }
  }
  const names = new Set<string>()
  for (const tool of tools) {
    if (names.has(tool.name)) {
      const reason = "is listed twice: two tools of one name share their places in the journal; rename one"
      throw new ToolMisconfigured({ tool: tool.name, reason })
    }
    names.add(tool.name)
  }
}
