import * as Chunk from "effect/Chunk"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import type { Cursor, CursorStore } from "./cursor.js"
import { cursorValue } from "./cursorValue.js"
import * as Delivery from "./delivery.js"
import type { Entry } from "./entry.js"
import { CursorError, type Rejected, type SinkError } from "./errors.js"
import * as Selection from "./selection.js"
import type { Publish, Sink } from "./sink.js"
import * as Trouble from "./trouble.js"

/**
 * What a relay takes, where it keeps its cursor, and what it does with an entry that is refused.
 *
 * @since 0.1.0
 * @category models
 */
export interface RelayOptions<out CE = never, out CR = TapeClient> {
  /** Tells relays apart: each has a cursor of its own. */
  readonly name: string
  /** Subjects: `*` is one segment, `**` at the end any number. Defaults to `/tape/**`, everything. */
  readonly pattern?: string | undefined
  /** A CEL expression over the entry, evaluated by the tape. An entry for which it fails is left out. */
  readonly where?: string | undefined
  /** Where the cursor is kept. Defaults to `Sinks.cursorValue`, a value in the tape. */
  readonly cursor?: CursorStore<CE, CR> | undefined
  /** Where a relay without a stored cursor begins. Defaults to `start`. */
  readonly from?: "start" | "head" | undefined
  /**
   * What to do with an entry that the receiver refuses for good by the entry's fault: `stop` goes no further until it is
   * accepted; `skip` logs it as an error, tells `onSkipped`, and goes on. Defaults to `stop`.
   */
  readonly onPoison?: "stop" | "skip" | undefined
  /** The place for dead letters: told of each skipped entry before the cursor passes it. If it fails, nothing is skipped. */
  readonly onSkipped?: ((entry: Entry, error: Rejected) => Effect.Effect<unknown, unknown>) | undefined
  /** The cursor is stored after so many accepted entries: about as many come again after a crash. Defaults to 64. */
  readonly saveEvery?: number | undefined
  /** How long the entries in flight may take to be accepted when the relay is interrupted. Defaults to 5 seconds. */
  readonly grace?: Duration.DurationInput | undefined
}

/**
 * How a relay's fiber runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface RelayLoopOptions<out CE = never, out CR = TapeClient> extends RelayOptions<CE, CR> {
  /** How long an accepted entry may wait until the cursor is stored behind it. Defaults to 1 second. */
  readonly saveInterval?: Duration.DurationInput | undefined
  /** How long a relay whose cursor was moved by another one stands by before it looks again. Defaults to 30 seconds. */
  readonly standBy?: Duration.DurationInput | undefined
  /**
   * The wait after a first failure of the sink, the cursor or the tape; doubled for each further one up to a minute,
   * jittered. Defaults to 1 second.
   */
  readonly backOff?: Duration.DurationInput | undefined
}

/**
 * What one tick did. Encodes to JSON with keys in snake_case.
 *
 * @since 0.1.0
 * @category models
 */
export const Relayed = Schema.Struct({
  published: Schema.Int,
  skipped: Schema.Int,
  lastGlobalSeq: Schema.propertySignature(Schema.BigIntFromNumber).pipe(Schema.fromKey("last_global_seq"))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Relayed = typeof Relayed.Type

/**
 * One tick: publishes what has been committed up to now and not been published, stores the cursor, ends. For cron, tests
 * and CLIs.
 *
 * Fails with what the sink failed with, after the cursor of what was accepted is stored; the next tick goes on there. The
 * tape does not tell its journal's end, so each tick leaves a value (`<name>/head` in `tape:relay`) to find it by.
 *
 * @example
 * import { Sinks } from "effect-tape"
 *
 * export const tick = Sinks.relayOnce(
 *   { name: "audit", cursor: Sinks.cursorFile({ path: "audit.cursor" }) },
 *   Sinks.log({ path: "audit.jsonl" })
 * )
 *
 * @since 0.1.0
 * @category relaying
 */
export const relayOnce = <E, R, CE = never, CR = TapeClient>(
  options: RelayOptions<CE, CR>,
  sink: Sink<E, R>
): Effect.Effect<Relayed, E | CE | SinkError | CursorError | TapeError, TapeClient | Exclude<R | CR, Scope.Scope>> =>
  Effect.scoped(
    Effect.gen(function* () {
      const { cursor, publish, selection } = yield* open(options, sink)
      const head = yield* Selection.head(options.name)
      const from = yield* begin(options, cursor, Effect.succeed(head))
      const delivery = yield* Delivery.make(settingsOf(options, sink), publish, cursor, from)
      yield* Selection.upTo(selection, from, head).pipe(
        Stream.runForEachChunk((entries) => delivery.deliver(Chunk.toReadonlyArray(entries))),
        Effect.zipRight(delivery.passed(head)),
        Effect.onError(() => Effect.ignoreLogged(Delivery.within(delivery.save, graceOf(options))))
      )
      yield* delivery.save
      return {
        published: delivery.published(),
        skipped: delivery.skipped(),
        lastGlobalSeq: delivery.position()
      } satisfies Relayed
    })
  )

/**
 * A relay as a supervised fiber of this layer's scope: every entry it selects is published, in order, at least once.
 *
 * The cursor moves only behind entries the sink has accepted, and is stored after `saveEvery` of them or `saveInterval`,
 * and when the scope closes; so a crash repeats a bounded number, and an orderly stop none. Receivers deduplicate on
 * {@link eventIdOf}. A sink that fails holds the relay where it is: it is asked again with growing waits (at least what it
 * asked for), said once when it begins and once when it is over. Entries are read as fast as they are accepted.
 *
 * Two relays of one name: with {@link cursorValue} the second to store notices, stands by for `standBy`, and goes on from
 * where the other one is by then. It takes over from one that died; while both live, an entry may be published by both.
 *
 * The layer fails when the sink cannot be opened, the cursor is damaged or of another tape, or the tape cannot be asked.
 *
 * @example
 * import { Sinks } from "effect-tape"
 * import { Config } from "effect"
 *
 * export const Audit = Sinks.layerRelay(
 *   { name: "audit", pattern: "/tape/effect/**" },
 *   Sinks.webhook({ url: Config.string("AUDIT_URL") })
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRelay = <E, R, CE = never, CR = TapeClient>(
  options: RelayLoopOptions<CE, CR>,
  sink: Sink<E, R>
): Layer.Layer<never, E | CE | CursorError | TapeError, TapeClient | Exclude<R | CR, Scope.Scope>> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const opened = yield* open(options, sink)
      const from = yield* begin(options, opened.cursor, Selection.head(options.name))
      yield* run(options, sink.batchSize, opened, from).pipe(
        Effect.annotateLogs({ module: "Sinks", fiber: "relay", relay: options.name }),
        Effect.forkScoped
      )
    })
  )

/**
 * Several sinks, each with a relay and a cursor of its own (`<name>/<key>`): one that is slow or down holds up no other.
 *
 * @example
 * import { Sinks } from "effect-tape"
 *
 * export const Everywhere = Sinks.layerFanOut(
 *   { name: "audit", cursor: (relay) => Sinks.cursorFile({ path: `cursors/${relay}.json` }) },
 *   { disk: Sinks.log({ path: "audit.jsonl" }), siem: Sinks.webhook({ url: "https://siem.example/tape" }) }
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFanOut = <
  const Sinks extends { readonly [key: string]: Sink<unknown, unknown> },
  CE = never,
  CR = TapeClient
>(
  options: Omit<RelayLoopOptions, "cursor"> & {
    /** Where the cursor of each relay is kept, by the relay's name. Defaults to `Sinks.cursorValue` for all. */
    readonly cursor?: ((relay: string) => CursorStore<CE, CR>) | undefined
  },
  sinks: Sinks
): Layer.Layer<
  never,
  OpenError<Sinks[keyof Sinks]> | CE | CursorError | TapeError,
  TapeClient | Exclude<OpenContext<Sinks[keyof Sinks]> | CR, Scope.Scope>
> =>
  Object.entries(sinks).reduce<
    Layer.Layer<
      never,
      OpenError<Sinks[keyof Sinks]> | CE | CursorError | TapeError,
      TapeClient | Exclude<OpenContext<Sinks[keyof Sinks]> | CR, Scope.Scope>
    >
  >((merged, [key, sink]) => {
    const name = `${options.name}/${key}`
    // A record's values are widened to Sink<unknown, unknown>; this one's types are among those of Sinks.
    const own = sink as Sink<OpenError<Sinks[keyof Sinks]>, OpenContext<Sinks[keyof Sinks]>>
    return Layer.merge(merged, layerRelay({ ...options, name, cursor: options.cursor?.(name) }, own))
  }, Layer.empty)

/**
 * @since 0.1.0
 * @category type-level
 */
export type OpenError<S> = S extends Sink<infer E, unknown> ? E : never

/**
 * @since 0.1.0
 * @category type-level
 */
export type OpenContext<S> = S extends Sink<unknown, infer R> ? R : never

// ---- internal ----

interface Opened<CR> {
  readonly selection: Selection.Selection
  readonly publish: Publish
  readonly cursor: Cursor
  /** Reads the cursor again. */
  readonly reopen: Effect.Effect<Cursor, unknown, CR>
}

const storeOf = <CE, CR>(options: RelayOptions<CE, CR>): CursorStore<CE, CR | TapeClient> =>
  options.cursor ?? cursorValue

const open = <E, R, CE, CR>(options: RelayOptions<CE, CR>, sink: Sink<E, R>) =>
  Effect.gen(function* () {
    const selection = yield* Selection.make(options.pattern, options.where)
    const reopen = storeOf(options).open(options.name)
    const cursor = yield* reopen
    const publish = yield* sink.make
    return { selection, publish, cursor, reopen }
  })

/** The position to begin behind. Where the relay begins at the head, that is stored: a crash must not move it. */
const begin = <E, R>(
  options: RelayOptions<unknown, unknown>,
  cursor: Cursor,
  head: Effect.Effect<bigint, E, R>
): Effect.Effect<bigint, E | CursorError, R> => {
  if (Option.isNone(cursor.position)) {
    return options.from === "head" ? Effect.tap(head, cursor.save) : Effect.succeed(0n)
  }
  const position = cursor.position.value
  if (position === 0n) return Effect.succeed(position)
  return Effect.flatMap(head, (head) =>
    position <= head
      ? Effect.succeed(position)
      : Effect.fail(
          new CursorError({
            reason: "Ahead",
            place: options.name,
            detail: `it is at ${position}, the journal ends at ${head}: it belongs to another tape`
          })
        )
  )
}

const graceOf = (options: RelayOptions<unknown, unknown>): Duration.DurationInput => options.grace ?? "5 seconds"

const settingsOf = (
  options: RelayOptions<unknown, unknown>,
  { batchSize }: Pick<Sink, "batchSize">
): Delivery.Settings => ({
  batchSize,
  saveEvery: Math.max(1, options.saveEvery ?? 64),
  grace: graceOf(options),
  onPoison: options.onPoison ?? "stop",
  onSkipped: options.onSkipped ?? (() => Effect.void)
})

const run = <R>(
  options: RelayLoopOptions<unknown, unknown>,
  batchSize: number,
  opened: Opened<R>,
  from: bigint
): Effect.Effect<never, never, TapeClient | R> =>
  Effect.gen(function* () {
    const backOff = options.backOff ?? "1 second"
    const delivering = Trouble.make("entries cannot be delivered", "entries are delivered again", backOff)
    const saving = Trouble.make("the cursor cannot be stored", "the cursor is stored again", backOff)
    const reading = Trouble.make("the journal cannot be read", "the journal is read again", backOff)
    const settings = settingsOf(options, { batchSize })
    let { cursor } = opened
    let position = from

    const session = Effect.gen(function* () {
      const delivery = yield* Delivery.make(settings, opened.publish, cursor, position)
      const publishing = Selection.tail(opened.selection, position).pipe(
        Stream.runForEachChunk((entries) =>
          Effect.zipRight(
            reading.over,
            delivering.retrying(delivery.deliver(Chunk.toReadonlyArray(entries)), delivery.position)
          )
        )
      )
      const storing = Effect.sleep(options.saveInterval ?? "1 second").pipe(
        Effect.zipRight(Effect.suspend(() => (delivery.isDirty() ? saving.retrying(delivery.save) : Effect.void))),
        Effect.forever
      )
      // Not a race: when one ends, the other is waited for, with what it has in flight.
      yield* Effect.all([publishing, storing], { concurrency: 2, discard: true }).pipe(
        Effect.ensuring(
          Effect.suspend(() => {
            position = delivery.position()
            return delivery.isDirty()
              ? Effect.ignoreLogged(Delivery.within(delivery.save, settings.grace))
              : Effect.void
          })
        )
      )
    })

    const standBy = Effect.gen(function* () {
      yield* Effect.logWarning("another relay of this name is at work; standing by")
      yield* Effect.sleep(options.standBy ?? "30 seconds")
      cursor = yield* reading.retrying(opened.reopen)
      position = Option.getOrElse(cursor.position, () => 0n)
    })

    return yield* session.pipe(
      Effect.catchIf(Trouble.isTaken, () => standBy),
      Effect.catchAllCause(reading.wait),
      Effect.forever
    )
  })
