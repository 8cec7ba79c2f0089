/** The dispatcher of tasks. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { type Desk, open } from "./desk.js"
import { run } from "./loop.js"
import type { Outcome } from "./outcome.js"
import { type ContextOf, type Reaction, ReactionMisconfigured } from "./reaction.js"
import { distinct, register, registeredId } from "./register.js"
import { type DispatchOptions, resolve } from "./settings.js"
import type { Unit } from "./turn.js"

/**
 * How the dispatcher's loops run.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoopOptions<RP = never> extends DispatchOptions<RP> {
  /** How long a reaction with nothing due rests; a matching entry in the journal wakes it. Defaults to 500 milliseconds. */
  readonly pollInterval?: Duration.DurationInput | undefined
}

/**
 * How one pass runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface OnceOptions<RP = never> extends DispatchOptions<RP> {
  /** At most about how many tasks of each reaction. Defaults to 1,000. */
  readonly limit?: number | undefined
}

/**
 * Registers reactions and handles their tasks in supervised fibers of this layer's scope, one for each reaction: a busy or
 * slow one holds up no other. Tasks are claimed when a handler can start, from all shards, and handled at least once:
 *
 * - A handler that succeeds has its task acknowledged; one that fails, dies or takes too long has it tried again later,
 *   with its error, until it is a dead letter; failing with {@link Permanent} it is one at once. Several dispatchers of one
 *   reaction share its tasks, each with its own slots.
 * - When the scope closes nothing more is claimed, and what runs has `grace` to end; what is interrupted then is given back.
 *
 * `agent` reactions are registered; their runs are begun by the server and driven by `Reactors.layerRecover`.
 *
 * @example
 * import { Reactions } from "effect-tape"
 * import { Effect, Schema } from "effect"
 *
 * const Repricing = Reactions.onValueChanged("reprice", {
 *   namespace: "treasury",
 *   value: Schema.Number,
 *   run: ({ key, value }) => Effect.log(`${key} is ${value}`)
 * })
 *
 * export const Reacting = Reactions.layer([Repricing], { app: "treasury" })
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const Rs extends ReadonlyArray<Reaction<unknown>>, RP = never>(
  reactions: Rs,
  options: LoopOptions<RP>
): Layer.Layer<never, TapeError | ReactionMisconfigured, TapeClient | ContextOf<Rs[number]> | RP> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const desks = yield* prepare(reactions, options)
      yield* Effect.addFinalizer(() =>
        Effect.forEach(desks, ({ desk }) => desk.drain, { concurrency: "unbounded", discard: true })
      )
      yield* Effect.forkScoped(
        Effect.forEach(desks, ({ desk, unit }) => run(unit, desk, options.pollInterval ?? "500 millis"), {
          concurrency: "unbounded",
          discard: true
        })
      )
    })
  )

/**
 * One pass: tasks that are due now are claimed and handled, and the outcomes told, in the order of their ends. For tests,
 * cron and CLIs. Fails only when reactions cannot be registered or tasks not be claimed; what runs by then is ended first.
 *
 * @since 0.1.0
 * @category dispatching
 */
export const dispatchOnce = <const Rs extends ReadonlyArray<Reaction<unknown>>, RP = never>(
  reactions: Rs,
  options: OnceOptions<RP>
): Effect.Effect<ReadonlyArray<Outcome>, TapeError | ReactionMisconfigured, TapeClient | ContextOf<Rs[number]> | RP> =>
  Effect.gen(function* () {
    const outcomes: Array<Outcome> = []
    const onOutcome = (outcome: Outcome) =>
      Effect.suspend(() => {
        outcomes.push(outcome)
        return options.onOutcome?.(outcome) ?? Effect.void
      })
    const desks = yield* prepare(reactions, { ...options, onOutcome })
    yield* Effect.forEach(desks, ({ desk }) => pass(desk, options.limit ?? 1000), {
      concurrency: "unbounded",
      discard: true
    })
    return outcomes
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

export const pass = <R>(desk: Desk<R>, limit: number): Effect.Effect<void, TapeError, R | TapeClient> =>
  Effect.gen(function* () {
    let seen = 0
    let more = true
    while (more && seen < limit) {
      yield* desk.vacancy
      const answer = yield* desk.take
      seen += answer.taken
      more = answer.more
    }
    yield* desk.idle
  }).pipe(Effect.onExit((exit) => (exit._tag === "Success" ? Effect.void : desk.drain)))

const prepare = <const Rs extends ReadonlyArray<Reaction<unknown>>, RP>(reactions: Rs, options: DispatchOptions<RP>) =>
  Effect.gen(function* () {
    type R = ContextOf<Rs[number]> | RP
    if (options.register === false) yield* distinct(reactions, options.app)
    else yield* register(reactions, options)
    const settings = yield* resolve(options)
    // ContextOf is what these reactions need, read off their own types; a list of them widens it to unknown.
    const units = (reactions as ReadonlyArray<Reaction<R>>).flatMap((reaction): ReadonlyArray<Unit<R>> => {
      const id = registeredId(reaction, options.app)
      const { publish } = options
      if (reaction.kind === "task") return [{ id, reaction }]
      return reaction.kind === "publish" && publish !== undefined
        ? [{ id, reaction: published(reaction, publish) }]
        : []
    })
    if (units.length === 0) yield* nothingToDo(reactions)
    return yield* Effect.forEach(units, (unit) => Effect.map(open(unit, settings), (desk) => ({ unit, desk })))
  })

export const published = <R, RP>(
  reaction: Reaction<R>,
  publish: NonNullable<DispatchOptions<RP>["publish"]>
): Reaction<R | RP> => ({
  ...reaction,
  prepare: (task) =>
    Effect.succeed(Effect.suspend(() => publish({ target: reaction.target, reaction: reaction.name, task })))
})

/** A set of `agent` reactions has nothing to dispatch, rightly; an empty set is a mistake. */
const nothingToDo = (reactions: ReadonlyArray<Reaction<unknown>>): Effect.Effect<void, ReactionMisconfigured> =>
  reactions.length === 0
    ? Effect.fail(new ReactionMisconfigured({ reaction: "", reason: "there are no reactions to dispatch" }))
    : Effect.logInfo("no task is handled here: these reactions are left to the server and to bridges")
