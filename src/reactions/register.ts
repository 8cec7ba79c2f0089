/** Making reactions known to the tape. */
import { createHash } from "node:crypto"
import * as Effect from "effect/Effect"
import { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { HandlerKind, type Reaction as Registered } from "../gen/tape/v1/tape_pb.js"
import { type Reaction, ReactionMisconfigured } from "./reaction.js"

/**
 * How reactions are registered.
 *
 * @since 0.1.0
 * @category models
 */
export interface RegisterOptions {
  /**
   * The program that the reactions belong to: ids are made of it and of a reaction's name, so programs that share a tape
   * need names of their own, and each keeps its name.
   */
  readonly app: string
  /**
   * Whether reactions of this app that are registered, but not among these, are deregistered. Reactions with an `id` of
   * their own are never. Defaults to `false`.
   */
  readonly prune?: boolean | undefined
}

/**
 * The id that a reaction has by default: a UUID (version 5) of its app and its name. A restart, a second replica or a
 * changed pattern finds the same row again.
 *
 * @since 0.1.0
 * @category registering
 */
export const idOf = (app: string, name: string): string => {
  const hash = createHash("sha1")
    .update(namespace)
    .update(JSON.stringify([app, name]))
    .digest()
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x50
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80
  return hash.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
}

/** Ours: 5f0f7a52-6f0e-4a63-9d6b-2c1f7c0b9e11. */
const namespace = Buffer.from("5f0f7a526f0e4a639d6b2c1f7c0b9e11", "hex")

/** The id that a reaction is registered under. */
export const registeredId = (reaction: Reaction<unknown>, app: string): string =>
  reaction.id ?? idOf(app, reaction.name)

/**
 * Registers reactions, in order, or changes those that are registered already: any number of times, by any number of
 * replicas. Answers them as the tape keeps them.
 *
 * @since 0.1.0
 * @category registering
 */
export const register = Effect.fnUntraced(function* (
  reactions: ReadonlyArray<Reaction<unknown>>,
  options: RegisterOptions
): Effect.fn.Return<ReadonlyArray<Registered>, TapeError | ReactionMisconfigured, TapeClient> {
  const tape = yield* TapeClient
  const ids = yield* distinct(reactions, options.app)
  const registered = yield* Effect.forEach(reactions, (reaction) =>
    tape.registerReaction(toWire(reaction, registeredId(reaction, options.app)))
  )
  if (options.prune === true) {
    const listed = yield* tape.listReactions({})
    const stale = listed.reactions.filter(
      ({ name, reactionId }) => !ids.has(reactionId) && reactionId === idOf(options.app, name)
    )
    yield* Effect.forEach(stale, ({ reactionId }) => tape.deregisterReaction({ reactionId }), { discard: true })
  }
  return registered
})

/** Two that share an id would overwrite each other. */
export const distinct = (
  reactions: ReadonlyArray<Reaction<unknown>>,
  app: string
): Effect.Effect<ReadonlySet<string>, ReactionMisconfigured> =>
  Effect.suspend(() => {
    const ids = new Set<string>()
    for (const reaction of reactions) {
      if (app === "" && reaction.id === undefined) {
        const reason = "its app is empty: its id, by which a restart finds it again, is made of it"
        return Effect.fail(new ReactionMisconfigured({ reaction: reaction.name, reason }))
      }
      const id = registeredId(reaction, app)
      if (ids.has(id)) {
        const reason = `another reaction of the set has the same ${reaction.id === undefined ? "name" : "id"}`
        return Effect.fail(new ReactionMisconfigured({ reaction: reaction.name, reason }))
      }
      ids.add(id)
    }
    return Effect.succeed(ids)
  })

const kinds = { task: HandlerKind.TASK, agent: HandlerKind.AGENT, publish: HandlerKind.PUBLISH } as const

const toWire = ({ kind, name, settings, subjectPattern, target }: Reaction<unknown>, reactionId: string) => ({
  reactionId,
  name,
  subjectPattern,
  predicateCel: settings.where,
  handlerKind: kinds[kind],
  agentApp: kind === "agent" ? target : "",
  publishTarget: kind === "publish" ? target : "",
  maxConcurrency: settings.maxConcurrency,
  rateLimitPerS: settings.rateLimit ?? 0,
  debounceMs: settings.debounceMs,
  retryMax: settings.retries,
  retryBackoffMs: settings.backoffMs,
  dlqAfterN: settings.deadLetterAfter,
  numShards: settings.shards,
  bootstrapFromHead: settings.bootstrapFromHead
})
