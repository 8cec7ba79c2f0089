/**
 * Values that programs share: versioned, written by compare-and-set, watched as they change.
 *
 * A store is a namespace of the tape and the schema of what is in it. It is itself only a value: each call finds the tape
 * in its context.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Client from "./Client.js"
import type * as Errors from "./Errors.js"
import * as Subject from "./internal/Subject.js"
import { defaultRetry, versionOf, watchFrom, writeAbsent } from "./values/calls.js"
import {
  about,
  type JournaledChange,
  reading,
  type ValueMismatch,
  type Versioned,
  type WatchedChange
} from "./values/reading.js"

export {
  type Change,
  type JournaledChange,
  ValueMismatch,
  type Versioned,
  type WatchedChange
} from "./values/reading.js"

/**
 * What every call of a store can fail with.
 *
 * @since 0.1.0
 * @category errors
 */
export type ValueError = Errors.TapeError | ValueMismatch

/**
 * How a value is written.
 *
 * @since 0.1.0
 * @category models
 */
export interface SetOptions {
  /**
   * What it must replace, or else the write fails with `Conflict`: this version, deletions having one too; `"absent"`:
   * nothing, it was never written or is deleted; `0`: nothing, it was never written. Defaults to whatever is there.
   */
  readonly ifVersion?: number | bigint | "absent" | undefined
  /** Who writes, for the record. Defaults to empty. */
  readonly writer?: string | undefined
}

/**
 * How a value is updated.
 *
 * @since 0.1.0
 * @category models
 */
export interface UpdateOptions extends Pick<SetOptions, "writer"> {
  /**
   * When to read and write again, another write having come between. Defaults to 10 ms, doubled to at most half a second,
   * widely jittered, 20 times.
   */
  readonly retry?: Schedule.Schedule<unknown, Errors.Conflict> | undefined
}

/**
 * How a value is watched.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchOptions extends Pick<Client.TailOptions, "resume"> {
  /** The version that was seen last: each version after it comes. Defaults to none: the current one comes first. */
  readonly after?: number | bigint | undefined
}

/**
 * How the changes of a namespace are followed.
 *
 * @since 0.1.0
 * @category models
 */
export interface ChangesOptions extends Pick<Client.TailOptions, "resume"> {
  /** The `globalSeq` that was seen last. Defaults to all that the journal has. */
  readonly after?: bigint | undefined
}

/**
 * The values of one namespace. Every call can fail with {@link ValueError}.
 *
 * @since 0.1.0
 * @category models
 */
export interface Store<in out A, out R = never> {
  readonly namespace: string
  /** The schema of the values, as a reaction or another store may take it. */
  readonly schema: Schema.Schema<A, unknown, R>

  /** The current value; none when it was never written, or is deleted. */
  readonly get: (key: string) => Effect.Effect<Option.Option<Versioned<A>>, ValueError, Client.TapeClient | R>

  /** Writes the next version, whatever is there, unless `ifVersion` says what it must be. */
  readonly set: (
    key: string,
    value: A,
    options?: SetOptions
  ) => Effect.Effect<Versioned<A>, ValueError, Client.TapeClient | R>

  /** Writes what `f` makes of the current value. Nothing is lost: `f` runs again when another write came between. */
  readonly update: (
    key: string,
    f: (current: Option.Option<A>) => A,
    options?: UpdateOptions
  ) => Effect.Effect<Versioned<A>, ValueError, Client.TapeClient | R>

  /** As `update`, with an effect, which may run several times. When it fails, nothing is written. */
  readonly updateEffect: <E2, R2>(
    key: string,
    f: (current: Option.Option<A>) => Effect.Effect<A, E2, R2>,
    options?: UpdateOptions
  ) => Effect.Effect<Versioned<A>, ValueError | E2, Client.TapeClient | R | R2>

  /**
   * Deletes the value, whatever it is: the version of the deletion, which counts like a write; none when it was never
   * written.
   */
  readonly remove: (key: string) => Effect.Effect<Option.Option<number>, Errors.TapeError, Client.TapeClient>

  /**
   * The current value, if it was ever written, then every version once, in order, deletions too. It survives its connection,
   * as {@link Client.tailEvents} does. It fails with `PreconditionFailed` when the versions after `after` are no longer
   * kept, and with `ValueMismatch` at a version that does not fit: `after` that version it goes on.
   */
  readonly watch: (
    key: string,
    options?: WatchOptions
  ) => Stream.Stream<WatchedChange<A>, ValueError, Client.TapeClient | R>

  /** The changes of all keys, in the order of the journal, as far as it is kept. It survives its connection. */
  readonly changes: (options?: ChangesOptions) => Stream.Stream<JournaledChange<A>, ValueError, Client.TapeClient | R>
}

/**
 * The values of a namespace. Without a schema they are the JSON that they are, unchecked.
 *
 * @example
 * import { Values } from "effect-tape"
 * import { Effect, Option, Schema } from "effect"
 *
 * const Rates = Values.make("treasury", { value: Schema.Number })
 *
 * const program = Effect.gen(function* () {
 *   const first = yield* Rates.set("fx", 1.08)
 *   yield* Rates.set("fx", 1.09, { ifVersion: first.version })
 *   yield* Rates.update("fx", Option.match({ onNone: () => 1, onSome: (rate) => rate + 0.01 }))
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <A = unknown, I = unknown, R = never>(
  namespace: string,
  options: { readonly value?: Schema.Schema<A, I, R> | undefined } = {}
): Store<A, R> => {
  // Without a schema nothing is inferred for A, so it is its default, unknown; and what I is concerns nobody.
  const schema = (options.value ?? Schema.Unknown) as Schema.Schema<A, unknown, R>
  const values = reading(namespace, schema)

  const write = Effect.fnUntraced(function* (
    key: string,
    value: A,
    { ifVersion, writer = "" }: SetOptions
  ): Effect.fn.Return<Versioned<A>, ValueError, Client.TapeClient | R> {
    const tape = yield* Client.TapeClient
    const request = { namespace, key, valueJson: yield* values.encode(key, value), writer }
    const record =
      ifVersion === "absent"
        ? yield* writeAbsent(tape, request)
        : // left out, the field would be 0 on the wire: only create
          yield* tape.writeValue({
            ...request,
            ifVersion: ifVersion === undefined ? -1n : yield* versionOf("WriteValue", request, ifVersion)
          })
    return { ...about(record), value }
  })

  const updateEffect = <E2, R2>(
    key: string,
    f: (current: Option.Option<A>) => Effect.Effect<A, E2, R2>,
    { retry = defaultRetry, writer }: UpdateOptions = {}
  ): Effect.Effect<Versioned<A>, ValueError | E2, Client.TapeClient | R | R2> =>
    Effect.flatMap(Schedule.driver(retry), (driver) => {
      const attempt: Effect.Effect<Versioned<A>, ValueError | E2, Client.TapeClient | R | R2> = Effect.gen(
        function* () {
          const record = yield* held(key)
          const current = Option.map(yield* values.current(record), ({ value }) => value)
          const next = yield* f(current)
          // of all conflicts only that of this write is tried again, not one that `f` met
          return yield* Effect.catchTag(
            write(key, next, { ifVersion: record?.version ?? 0n, writer }),
            "Conflict",
            (conflict) =>
              Effect.matchEffect(driver.next(conflict), {
                onFailure: () => Effect.fail(conflict),
                onSuccess: () => attempt
              })
          )
        }
      )
      return attempt
    })

  const held = (key: string) =>
    Effect.map(
      Effect.flatMap(Client.TapeClient, (tape) => tape.getValue({ namespace, key })),
      ({ value }) => value
    )

  return {
    namespace,
    schema,
    get: (key) => Effect.flatMap(held(key), values.current),
    set: (key, value, options = {}) => write(key, value, options),
    update: (key, f, options) => updateEffect(key, (current) => Effect.sync(() => f(current)), options),
    updateEffect,
    remove: (key) =>
      Effect.map(
        Effect.flatMap(Client.TapeClient, (tape) => tape.deleteValue({ namespace, key })),
        ({ deleted, version }) => (deleted ? Option.some(Number(version)) : Option.none())
      ),
    watch: (key, { after = 0n, resume } = {}) =>
      versionOf("WatchValue", { namespace, key }, after).pipe(
        Effect.map((from) => watchFrom(namespace, key, from, resume)),
        Stream.unwrap,
        Stream.mapEffect(values.watched)
      ),
    changes: ({ after = 0n, resume } = {}) =>
      // any verb, any key
      Client.tailBySubject(
        { subjectPattern: `/tape/value/*/${Subject.encode(namespace)}/*`, fromGlobalSeq: after },
        { resume }
      ).pipe(Stream.mapEffect(values.journaled), Stream.filterMap(identity))
  }
}
