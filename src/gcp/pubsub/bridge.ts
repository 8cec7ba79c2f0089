/** Publish reactions, bridged to Pub/Sub. */
import type * as ConfigError from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { TapeClient } from "../../Client.js"
import type { TapeError } from "../../Errors.js"
import { HandlerKind, type Reaction as Registered } from "../../gen/tape/v1/tape_pb.js"
import * as Reactions from "../../Reactions.js"
import { type Desk, open } from "../../reactions/desk.js"
import { pass, published } from "../../reactions/dispatcher.js"
import { run } from "../../reactions/loop.js"
import { resolve } from "../../reactions/settings.js"
import type { Unit } from "../../reactions/turn.js"
import { PubSubClient } from "./client.js"
import { checkTopic, type PublicationOptions, publication } from "./publication.js"
import { declared } from "./registered.js"
import { accepted, topicName } from "./topic.js"

/**
 * What is bridged, and how.
 *
 * @since 0.1.0
 * @category models
 */
export interface BridgeOptions extends PublicationOptions, Omit<Reactions.DispatchOptions, "publish" | "app"> {
  /**
   * The reactions, which are registered first. Defaults to every `publish` reaction that the tape knows, in whatever
   * language it was declared, if its target is a topic.
   */
  readonly reactions?: ReadonlyArray<Reactions.Reaction> | undefined
  /** The program that `reactions` belong to, as for `Reactions.register`: needed with them, unless each has an `id`. */
  readonly app?: string | undefined
  /** Which of those that the tape knows. Defaults to all of them. */
  readonly where?:
    | ((reaction: { readonly id: string; readonly name: string; readonly target: string }) => boolean)
    | undefined
}

/**
 * How the bridge's loops run.
 *
 * @since 0.1.0
 * @category models
 */
export interface BridgeLoopOptions extends BridgeOptions, Pick<Reactions.LoopOptions, "pollInterval"> {
  /** How often the tape is asked for reactions that are new, changed or gone. Defaults to 30 seconds. */
  readonly refresh?: Duration.DurationInput | undefined
}

/**
 * How one pass runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface BridgeOnceOptions extends BridgeOptions, Pick<Reactions.OnceOptions, "limit"> {}

/**
 * Publishes what `publish` reactions match, each to its own target, in supervised fibers of this layer's scope, one for
 * each reaction; see {@link publication} for the message and for what becomes of a failure.
 *
 * It is a dispatcher like `Reactions.layer`, with the reaction's own slots, rate and retries: a task is acknowledged when
 * Pub/Sub has acknowledged its message, so each is published at least once. A run's messages are published in the order of
 * the journal as long as its reaction has one slot and none of them has to be tried again: `tape-global-seq` tells.
 *
 * @example
 * import { Reactions } from "effect-tape"
 * import { PubSub } from "effect-tape/gcp"
 * import { Layer } from "effect"
 *
 * const Wires = Reactions.onEffectConfirmed("wires", { tool: "wire_money", publish: "projects/bank/topics/wires" })
 *
 * export const Bridge = PubSub.layerBridge({ reactions: [Wires], app: "bank" }).pipe(Layer.provide(PubSub.layer()))
 *
 * @since 0.1.0
 * @category bridging
 */
export const layerBridge = (
  options: BridgeLoopOptions = {}
): Layer.Layer<
  never,
  TapeError | Reactions.ReactionMisconfigured | ConfigError.ConfigError,
  TapeClient | PubSubClient
> => {
  const { reactions } = options
  return Layer.unwrapEffect(
    Effect.map(check(options), () =>
      reactions === undefined
        ? following(options)
        : Reactions.layer(reactions, { ...options, app: options.app ?? "", publish: publication(options) })
    )
  )
}

/**
 * One pass over the tasks that are due now; answers what became of each. For tests, cron and CLIs.
 *
 * @since 0.1.0
 * @category bridging
 */
export const bridgeOnce = (
  options: BridgeOnceOptions = {}
): Effect.Effect<
  ReadonlyArray<Reactions.Outcome>,
  TapeError | Reactions.ReactionMisconfigured | ConfigError.ConfigError,
  TapeClient | PubSubClient
> =>
  Effect.gen(function* () {
    yield* check(options)
    const { reactions } = options
    if (reactions !== undefined) {
      return yield* Reactions.dispatchOnce(reactions, {
        ...options,
        app: options.app ?? "",
        publish: publication(options)
      })
    }
    const outcomes: Array<Reactions.Outcome> = []
    const settings = yield* resolve({
      ...options,
      onOutcome: (outcome) =>
        Effect.suspend(() => {
          outcomes.push(outcome)
          return options.onOutcome?.(outcome) ?? Effect.void
        })
    })
    const { units } = yield* known(options)
    yield* Effect.forEach(
      units,
      (unit) => Effect.flatMap(open(unit, settings), (desk) => pass(desk, options.limit ?? 1000)),
      { concurrency: "unbounded", discard: true }
    )
    return outcomes
  })

// ---- internal ----

/** Refuses what could only end in dead letters. */
const check = (options: BridgeOptions) =>
  Effect.gen(function* () {
    yield* checkTopic(options)
    const { projectId } = yield* PubSubClient
    for (const { kind, name, target } of options.reactions ?? []) {
      const reason =
        kind !== "publish"
          ? "it is not a publish reaction, and only those are bridged"
          : topicName(projectId, target) === undefined
            ? `its target ${JSON.stringify(target)} is not a topic: ${accepted}`
            : undefined
      if (reason !== undefined) return yield* new Reactions.ReactionMisconfigured({ reaction: name, reason })
    }
  })

interface Known {
  readonly units: ReadonlyArray<Unit<PubSubClient>>
  /** Names of those left to others: their target is no topic. */
  readonly left: ReadonlyArray<string>
}

/** The publish reactions that the tape knows, as units to work on. */
const known = (options: BridgeOptions): Effect.Effect<Known, TapeError, TapeClient | PubSubClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { projectId } = yield* PubSubClient
    const listed = yield* tape.listReactions({})
    const wanted = listed.reactions.filter(
      (row) => row.handlerKind === HandlerKind.PUBLISH && !row.deleted && (options.where?.(aboutOf(row)) ?? true)
    )
    const isOurs = ({ publishTarget }: Registered) =>
      topicName(projectId, publishTarget === "" ? (options.topic ?? "") : publishTarget) !== undefined
    const publish = publication(options)
    return {
      units: wanted.filter(isOurs).map((row) => ({ id: row.reactionId, reaction: published(declared(row), publish) })),
      left: wanted.filter((row) => !isOurs(row)).map(({ name, publishTarget }) => `${name} (${publishTarget})`)
    }
  })

const aboutOf = ({ name, publishTarget, reactionId }: Registered) => ({ id: reactionId, name, target: publishTarget })

interface AtWork {
  /** What the unit was made of: another one replaces it. */
  readonly made: string
  readonly desk: Desk<PubSubClient>
}

const following = (options: BridgeLoopOptions): Layer.Layer<never, TapeError, TapeClient | PubSubClient> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const settings = yield* resolve(options)
      const atWork = new Map<string, AtWork>()
      yield* Effect.addFinalizer(() =>
        Effect.forEach(atWork.values(), ({ desk }) => desk.drain, { concurrency: "unbounded", discard: true })
      )
      // Opened after the finalizer was added, so ended before it runs: nothing is claimed any more when desks are drained.
      const loops = yield* FiberMap.make<string>()
      let said = ""

      const stop = (id: string, { desk }: AtWork) =>
        Effect.zipRight(
          FiberMap.remove(loops, id),
          Effect.suspend(() => {
            atWork.delete(id)
            return Effect.forkDaemon(desk.drain)
          })
        )

      const begin = (unit: Unit<PubSubClient>) =>
        Effect.flatMap(open(unit, settings), (desk) => {
          atWork.set(unit.id, { made: madeOf(unit), desk })
          return FiberMap.run(loops, unit.id, run(unit, desk, options.pollInterval ?? "500 millis"))
        })

      const refresh = Effect.gen(function* () {
        const { left, units } = yield* known(options)
        const made = new Map(units.map((unit) => [unit.id, madeOf(unit)]))
        for (const [id, entry] of atWork) if (made.get(id) !== entry.made) yield* stop(id, entry)
        for (const unit of units) if (!atWork.has(unit.id)) yield* begin(unit)
        const now = `${atWork.size} publish reactions are bridged${left.length === 0 ? "" : `; left to others: ${left.join(", ")}`}`
        if (now !== said) yield* Effect.logInfo(now)
        said = now
      })

      yield* refresh
      yield* Effect.sleep(options.refresh ?? "30 seconds").pipe(
        Effect.zipRight(refresh),
        Effect.catchAllCause((cause) =>
          Effect.suspend(() => {
            const again = said === unlisted
            said = unlisted
            return again ? Effect.void : Effect.logWarning(unlisted, cause)
          })
        ),
        Effect.repeat(Schedule.forever),
        Effect.annotateLogs({ module: "PubSub", fiber: "bridge" }),
        Effect.forkScoped
      )
    })
  )

const unlisted = "the tape's reactions cannot be listed; those that are known are bridged on"

const madeOf = ({ reaction: { name, settings, subjectPattern, target } }: Unit<PubSubClient>): string =>
  JSON.stringify([name, subjectPattern, target, settings])
