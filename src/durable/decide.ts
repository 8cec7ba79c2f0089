/**
 * What a run learns from outside itself: decisions of a model, and samples of the world.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import { type DecisionRecord, EffectSemantics, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { begin, find, place, readable, settle, writable } from "./act.js"
import { admitted, type Budget, charged } from "./budget.js"
import { RunFinished } from "./errors.js"
import * as Json from "./json.js"
import { ask, CurrentRun, compare, enter, type Life, sealed, stop } from "./run.js"

/**
 * What is asked, of whom, and how the answer is written down.
 *
 * @since 0.1.0
 * @category models
 */
export interface DecideOptions<A, I, R> {
  /** Who decides. */
  readonly model: string
  /** What is asked: anything that has a form in JSON. */
  readonly request: unknown
  readonly response: Schema.Schema<A, I, R>
  /** Why, for whoever reads the journal. Defaults to nothing. */
  readonly rationale?: string | ((response: NoInfer<A>) => string) | undefined
  /** Under which policy. Defaults to nothing. */
  readonly policyVersion?: string | undefined
  /** What it cost: charged to the run's budget when the answer is recorded, once. Defaults to nothing. */
  readonly cost?: Budget | ((response: NoInfer<A>) => Budget) | undefined
  /**
   * What it may cost: when the run's budget does not cover it, the model is not asked and the run stops with
   * `BudgetExceeded`. Defaults to `cost` if that is no function, else to nothing.
   */
  readonly estimate?: Budget | undefined
}

/**
 * Asks once. The answer is recorded before it is used; a later life of the run gets the record, and `effect` is not run.
 *
 * Decisions are known by their order in the run; the first is decision 0. Those that are made at the same time have to
 * begin in the same order in every life, as the branches of one `Effect.all` do.
 *
 * @since 0.1.0
 * @category durable
 */
export const decide = <A, I, IR, E, R>(
  options: DecideOptions<A, I, IR>,
  effect: Effect.Effect<NoInfer<A>, E, R>
): Effect.Effect<A, E, R | IR | CurrentRun> =>
  Effect.flatMap(enter("a decision"), (life) => {
    const ordinal = ++life.state.decision
    // A decision that was not made leaves its ordinal to the next: a retry must not move the decisions after it.
    const release = Effect.sync(() => {
      if (life.state.decision === ordinal) life.state.decision = ordinal - 1
    })
    return Effect.onExit(decided(life, ordinal, options, effect), (exit) =>
      Exit.isSuccess(exit) ? Effect.void : release
    )
  })

const decided = Effect.fnUntraced(function* <A, I, IR, E, R>(
  life: Life,
  ordinal: number,
  options: DecideOptions<A, I, IR>,
  effect: Effect.Effect<NoInfer<A>, E, R>
) {
  const { model, policyVersion = "", rationale = "" } = options
  const { runId } = life
  const name = `decision ${ordinal}`
  const response = Json.codec(options.response)
  const requestJson = yield* writable(life, `${name}'s request`, Json.write(options.request))
  const { cost, estimate = typeof cost === "function" ? undefined : cost } = options
  const same = Effect.fnUntraced(function* (recorded: DecisionRecord) {
    yield* compare(life, `${name} (model)`, JSON.stringify(recorded.model), JSON.stringify(model))
    yield* compare(life, name, recorded.requestJson, requestJson)
    const answer = yield* readable(life, name, response.decode(recorded.responseJson))
    if (cost !== undefined) yield* charged(life, ordinal, typeof cost === "function" ? cost(answer) : cost)
    life.state.policyVersion = recorded.policyVersion
    return answer
  })
  if (life.mode !== "first") {
    const { decision, found } = yield* ask(life, life.tape.getDecision({ runId, decisionIndex: BigInt(ordinal) }))
    if (found && decision !== undefined) return yield* same(decision)
  }
  if (estimate !== undefined || cost !== undefined) yield* admitted(life, ordinal, estimate)
  if (life.mode === "finished") return yield* stop(life, new RunFinished({ runId, asked: name }))
  const answer = yield* Effect.annotateLogs(sealed(life, name, effect), "decision_index", ordinal)
  const responseJson = yield* writable(life, `${name}'s response`, response.encode(answer))
  const record = life.tape.recordDecision({
    runId,
    decisionIndex: BigInt(ordinal),
    model,
    requestJson,
    responseJson,
    rationale: typeof rationale === "string" ? rationale : rationale(answer),
    policyVersion
  })
  return yield* same(yield* ask(life, Effect.uninterruptible(record)))
})

/**
 * Whether the latest decision is recorded under this policy version: a branch that a later life of the run takes again,
 * although the program's policy has changed since. `false` before the first decision.
 *
 * @since 0.1.0
 * @category durable
 */
export const policyVersion = (version: string): Effect.Effect<boolean, never, CurrentRun> =>
  Effect.map(CurrentRun, ({ state }) => state.policyVersion === version && version !== "")

/**
 * Looks at the world once: a clock, a random number, a price. What was seen is journaled as an observe-only effect, and
 * every later life of the run sees the same. Samples are known by their name and order within the current decision.
 *
 * @since 0.1.0
 * @category durable
 */
export const sample = <A, I, IR, E, R>(
  name: string,
  schema: Schema.Schema<A, I, IR>,
  effect: Effect.Effect<NoInfer<A>, E, R>
): Effect.Effect<A, E, R | IR | CurrentRun> =>
  Effect.flatMap(enter(`sample ${name}`), (life) => {
    const tool = `sample.${name}`
    const at = place(life, tool, undefined)
    return Effect.onExit(sampled(life, tool, at, Json.codec(schema), effect), (exit) =>
      Exit.isSuccess(exit) ? Effect.void : at.release
    )
  })

const sampled = Effect.fnUntraced(function* <A, IR, E, R>(
  life: Life,
  tool: string,
  at: ReturnType<typeof place>,
  codec: Json.Codec<A, IR>,
  effect: Effect.Effect<A, E, R>
) {
  const read = (json: string) => readable(life, at.key, codec.decode(json))
  if (life.mode !== "first") {
    const record = yield* find(life, at.key)
    if (record?.status === EffectStatus.CONFIRMED) return yield* read(record.responseJson)
    if (life.mode === "finished") return yield* stop(life, new RunFinished({ runId: life.runId, asked: at.key }))
  }
  // Looking changes nothing, so it comes first: what fails to be seen leaves no intent behind.
  const seen = yield* sealed(life, tool, effect)
  const responseJson = yield* writable(life, at.key, codec.encode(seen))
  const row = yield* begin(life, { place: at, tool, requestJson: "", semantics: EffectSemantics.OBSERVE_ONLY })
  if (row.status === EffectStatus.CONFIRMED) return yield* read(row.responseJson)
  return yield* read((yield* settle(life, row, { status: EffectStatus.CONFIRMED, responseJson })).responseJson)
})

/**
 * The time, journaled.
 *
 * @since 0.1.0
 * @category durable
 */
export const now: Effect.Effect<DateTime.Utc, never, CurrentRun> = Effect.suspend(() =>
  sample("now", Schema.DateTimeUtc, Effect.map(Clock.currentTimeMillis, DateTime.unsafeMake))
)

/**
 * A random number of [0, 1), journaled.
 *
 * @since 0.1.0
 * @category durable
 */
export const random: Effect.Effect<number, never, CurrentRun> = Effect.suspend(() =>
  sample("random", Schema.Number, Random.next)
)

/**
 * A random UUID (version 4), journaled.
 *
 * @since 0.1.0
 * @category durable
 */
export const uuid: Effect.Effect<string, never, CurrentRun> = Effect.suspend(() =>
  sample(
    "uuid",
    Schema.String,
    Effect.sync(() => crypto.randomUUID())
  )
)
