/** What a reaction is: which entries it is about, and what they start. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Task } from "../gen/tape/v1/tape_pb.js"
import * as Subject from "../internal/Subject.js"
import type { Unreadable } from "./events.js"

/**
 * A reaction, or a set of them, that could not work.
 *
 * @since 0.1.0
 * @category errors
 */
export class ReactionMisconfigured extends Schema.TaggedError<ReactionMisconfigured>(
  "effect-tape/Reactions/ReactionMisconfigured"
)("ReactionMisconfigured", { reaction: Schema.String, reason: Schema.String }) {
  override get message(): string {
    return `reaction ${JSON.stringify(this.reaction)}: ${this.reason}`
  }
}

/**
 * How a reaction behaves; the same for every kind of entry.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReactionOptions {
  /** A CEL predicate, judged by the server: `payload`, `subject`, `kind`, `run_id` … Defaults to none: all match. */
  readonly where?: string | undefined
  /** How many handlers of one dispatcher run at a time. Defaults to 1. */
  readonly maxConcurrency?: number | undefined
  /** How many handlers of one dispatcher start in a second, evenly spaced; a whole number. Defaults to no limit. */
  readonly rateLimit?: number | undefined
  /** At most one run in this time for each subject (each key of a value). Defaults to no debouncing. */
  readonly debounce?: Duration.DurationInput | undefined
  /**
   * Which change of a window is handled, per dispatcher: with `trailing` the last one, when the window is over; with
   * `leading` the first one, at once, so that the last may go unseen. Retries are never debounced. Defaults to `trailing`.
   */
  readonly debounceEdge?: "leading" | "trailing" | undefined
  /** How long a handler may take. Defaults to, and is at most, nine tenths of the dispatcher's lease. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How often a handler that failed is run again before its task is a dead letter. Defaults to 5. */
  readonly retries?: number | undefined
  /** The wait before the first retry; doubled by the server for each further one, to at most an hour. Defaults to 1 second. */
  readonly backoff?: Duration.DurationInput | undefined
  /** After how many attempts, those of crashed dispatchers included, a task is a dead letter. Defaults to 5. */
  readonly deadLetterAfter?: number | undefined
  /** Into how many shards the server divides tasks, by run. Defaults to 1. */
  readonly shards?: number | undefined
  /** Whether a reaction that is registered for the first time leaves out what is in the journal by then. Defaults to `false`. */
  readonly bootstrapFromHead?: boolean | undefined
  /** The id to register under. Defaults to {@link idOf} the app and the name. */
  readonly id?: string | undefined
}

/**
 * What a match starts: a handler here (`run`), a run of an agent (`agent`, begun by the server), or a message to a broker
 * (`publish`, its target). Exactly one of them.
 *
 * @since 0.1.0
 * @category models
 */
export type Action<Event, R> =
  | {
      readonly run: (event: Event) => Effect.Effect<unknown, unknown, R>
      readonly agent?: undefined
      readonly publish?: undefined
    }
  | { readonly agent: string; readonly run?: undefined; readonly publish?: undefined }
  | { readonly publish: string; readonly run?: undefined; readonly agent?: undefined }

/**
 * @since 0.1.0
 * @category models
 */
export type Kind = "task" | "agent" | "publish"

/** {@link ReactionOptions} with nothing left open; times in milliseconds. */
export interface Settings {
  readonly where: string
  readonly maxConcurrency: number
  readonly rateLimit: number | undefined
  readonly debounceMs: number
  readonly debounceEdge: "leading" | "trailing"
  readonly timeoutMs: number
  readonly retries: number
  readonly backoffMs: number
  readonly deadLetterAfter: number
  readonly shards: number
  readonly bootstrapFromHead: boolean
}

/**
 * A declared reaction: a value, known to nobody until it is registered. `R` is what its handler needs.
 *
 * @since 0.1.0
 * @category models
 */
export interface Reaction<out R = never> {
  readonly name: string
  readonly subjectPattern: string
  readonly kind: Kind
  /** The app of an `agent` reaction, the target of a `publish` one; else empty. */
  readonly target: string
  readonly id: string | undefined
  readonly settings: Settings
  /** Decodes a task; what comes out runs the handler. */
  readonly prepare: (task: Task) => Effect.Effect<Effect.Effect<unknown, unknown, R>, Unreadable, R>
}

/**
 * What the handlers of reactions need.
 *
 * @since 0.1.0
 * @category type-level
 */
export type ContextOf<One> = One extends Reaction<infer R> ? R : never

/** Throws what is wrong with a declaration that compiles, as a `ReactionMisconfigured`. */
export const make = <Event, R>(
  name: string,
  subjectPattern: string,
  options: ReactionOptions & Action<Event, R>,
  read: (task: Task) => Effect.Effect<Event, Unreadable, R>
): Reaction<R> => {
  const refuse = (reason: string): never => {
    throw new ReactionMisconfigured({ reaction: name, reason })
  }
  const whole = (option: string, value: number, least: number): number =>
    Number.isInteger(value) && value >= least && value <= mostOnWire
      ? value
      : refuse(`${option} is ${value}: it has to be a whole number from ${least} to ${mostOnWire}`)
  const millis = (option: string, value: Duration.DurationInput, least: number): number =>
    whole(`${option} in milliseconds`, Math.ceil(Duration.toMillis(value)), least)

  if (name === "") refuse("a reaction needs a name: its id, by which a restart finds it again, is made of it")
  const problem = Subject.patternProblem(subjectPattern)
  if (problem !== undefined) refuse(`${subjectPattern}: ${problem}`)
  const { agent, publish, run } = options
  const given = Object.entries({ run, agent, publish }).flatMap(([key, value]) => (value === undefined ? [] : [key]))
  if (given.length > 1) refuse(`has ${given.join(" and ")}: one of run, agent and publish, not several`)
  if (given.length === 0) refuse("has nothing to do: add run (a handler here), agent (an app) or publish (a target)")
  if (agent === "" || publish === "") refuse(`${given.join("")} is empty`)
  return {
    name,
    subjectPattern,
    kind: agent !== undefined ? "agent" : publish !== undefined ? "publish" : "task",
    target: agent ?? publish ?? "",
    id: options.id === "" ? undefined : options.id,
    settings: {
      where: options.where ?? "",
      maxConcurrency: whole("maxConcurrency", options.maxConcurrency ?? 1, 1),
      rateLimit: options.rateLimit === undefined ? undefined : whole("rateLimit", options.rateLimit, 1),
      debounceMs: millis("debounce", options.debounce ?? 0, 0),
      debounceEdge: options.debounceEdge ?? "trailing",
      timeoutMs: options.timeout === undefined ? Infinity : Duration.toMillis(options.timeout),
      retries: whole("retries", options.retries ?? 5, 0),
      backoffMs: millis("backoff", options.backoff ?? "1 second", 1),
      deadLetterAfter: whole("deadLetterAfter", options.deadLetterAfter ?? 5, 1),
      shards: whole("shards", options.shards ?? 1, 1),
      bootstrapFromHead: options.bootstrapFromHead ?? false
    },
    // Without `run` nobody asks: only tasks are handled here.
    prepare: (task) => Effect.map(read(task), (event) => Effect.suspend(() => run?.(event) ?? Effect.void))
  }
}

/** int32. */
const mostOnWire = 2_147_483_647
