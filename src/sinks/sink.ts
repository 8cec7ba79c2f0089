import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { sentenceOfError } from "../internal/sentence.js"
import { type Entry, eventIdOf } from "./entry.js"
import { SinkError, Undelivered } from "./errors.js"

/**
 * Hands entries to a receiver, in order, and ends when it has accepted them all. After a failure any of them may have
 * been accepted; they come again.
 *
 * @since 0.1.0
 * @category models
 */
export type Publish = (entries: ReadonlyArray<Entry>) => Effect.Effect<void, SinkError>

/**
 * A place for journal entries: how to open it, for as long as a scope lasts.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sink<out E = never, out R = never> {
  /** Opens it. `Scope` may be among what it needs. */
  readonly make: Effect.Effect<Publish, E, R>
  /** The most entries that one publish takes. */
  readonly batchSize: number
}

/**
 * Settings of a sink of one's own.
 *
 * @since 0.1.0
 * @category models
 */
export interface SinkOptions {
  /** As errors and logs call it. Defaults to `sink`. */
  readonly name?: string | undefined
  /**
   * The most entries that one publish takes. After a crash, or a publish that failed, a whole batch is repeated.
   * Defaults to 1.
   */
  readonly batchSize?: number | undefined
}

/**
 * A sink of one's own. A publish that fails with {@link Undelivered} or {@link Rejected} says which it was; any other
 * failure, and a defect, is taken as undelivered.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <E, R>(
  open: Effect.Effect<(entries: ReadonlyArray<Entry>) => Effect.Effect<unknown, unknown>, E, R>,
  options: SinkOptions = {}
): Sink<E, R> => ({
  make: Effect.map(open, (publish) => classified(options.name ?? "sink", publish)),
  batchSize: Math.max(1, options.batchSize ?? 1)
})

/**
 * A sink that calls a function with each entry, one after the other. What it needs is taken from where the sink is opened.
 *
 * @example
 * import { Sinks } from "effect-tape"
 * import { Effect } from "effect"
 *
 * export const Announce = Sinks.fromFunction((entry) => Effect.log(entry.subject))
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromFunction = <R>(
  publish: (entry: Entry) => Effect.Effect<unknown, unknown, R>,
  options: Pick<SinkOptions, "name"> = {}
): Sink<never, R> =>
  make(
    Effect.map(
      Effect.context<R>(),
      (context) => (entries: ReadonlyArray<Entry>) =>
        Effect.provide(Effect.forEach(entries, publish, { discard: true }), context)
    ),
    { name: options.name ?? "function" }
  )

// ---- internal ----

const isSinkError = Schema.is(SinkError)

const classified =
  (sink: string, publish: (entries: ReadonlyArray<Entry>) => Effect.Effect<unknown, unknown>): Publish =>
  (entries) =>
    Effect.catchAllCause(
      Effect.asVoid(Effect.suspend(() => publish(entries))),
      (cause): Effect.Effect<never, SinkError> => {
        const error = Cause.squash(cause)
        if (isSinkError(error)) return Effect.fail(error)
        const [first] = entries
        const eventId = first === undefined ? "" : eventIdOf(first)
        return Effect.fail(new Undelivered({ sink, eventId, detail: sentenceOfError(error) }))
      }
    )
