import * as Chunk from "effect/Chunk"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { within } from "../internal/within.js"
import type { Cursor, CursorStore } from "./cursor.js"
import { cursorValue } from "./cursorValue.js"
import * as Delivery from "./delivery.js"
import { CursorError, type SinkError } from "./errors.js"
import type { Relayed, RelayLoopOptions, RelayOptions } from "./relayOptions.js"
import * as Selection from "./selection.js"
import type { Publish, Sink } from "./sink.js"
import * as Trouble from "./trouble.js"

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
      // From the head, there is nothing up to the head.
      const entries = from < head ? Selection.upTo(selection, from, head) : Stream.empty
      yield* entries.pipe(
        Stream.runForEachChunk((entries) => delivery.deliver(Chunk.toReadonlyArray(entries))),
        Effect.zipRight(delivery.passed(head)),
        Effect.onError(() => Effect.ignoreLogged(within(delivery.save, graceOf(options))))
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
 * The layer fails when the sink cannot be opened, the cursor is damaged or of another tape, the pattern or the predicate
 * is refused, or the tape cannot be asked.
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
      const head = yield* Effect.cached(Selection.head(options.name))
      const from = yield* begin(options, opened.cursor, head)
      // A predicate that does not compile is refused now, not in the background.
      if (opened.selection.where !== "") yield* Effect.flatMap(head, (head) => Selection.check(opened.selection, head))
      yield* run(options, sink.batchSize, opened, from).pipe(
        Effect.annotateLogs({ module: "Sinks", fiber: "relay", relay: options.name }),
        Effect.forkScoped
      )
    })
  )

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
        Effect.onExit((exit) =>
          Effect.suspend(() => {
            position = delivery.position()
            if (!delivery.isDirty()) return Effect.void
            // Who goes on standing by leaves the cursor to the other; who stops leaves behind what it has published.
            const last = Exit.isInterrupted(exit)
              ? Effect.catchIf(delivery.save, Trouble.isTaken, () => pushed(opened.reopen, position))
              : delivery.save
            return Effect.ignoreLogged(within(last, settings.grace))
          })
        )
      )
    })

    const standBy = Effect.gen(function* () {
      yield* Effect.logWarning("another relay of this name is at work; standing by")
      yield* Effect.sleep(options.standBy ?? "30 seconds")
      cursor = yield* reading.retrying(opened.reopen)
      position = Option.getOrElse(cursor.position, () => position)
    })

    return yield* session.pipe(
      Effect.catchIf(Trouble.isTaken, () => standBy),
      Effect.catchAllCause(reading.wait),
      Effect.forever
    )
  })

/** Everything up to here was published, by this relay or by the one that moved the cursor: the furthest counts. */
const pushed = <R>(reopen: Effect.Effect<Cursor, unknown, R>, position: bigint): Effect.Effect<void, unknown, R> =>
  Effect.flatMap(reopen, (cursor) =>
    Option.getOrElse(cursor.position, () => 0n) < position ? cursor.save(position) : Effect.void
  )
