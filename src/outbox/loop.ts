import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import type { EffectRecord } from "../gen/tape/v1/tape_pb.js"
import * as Rest from "../internal/rest.js"
import { connectorOf } from "./dispatchOne.js"
import type { Outcome } from "./outcome.js"

interface Loop {
  /** Connectors that have a loop from the start; others get theirs when a row names one that is provided. */
  readonly names: ReadonlySet<string>
  /** The one connector that has a loop. */
  readonly only: string | undefined
  readonly parallelism: number
  readonly pollInterval: Duration.DurationInput
  readonly pageSize: number
  readonly dispatch: (row: EffectRecord) => Effect.Effect<Outcome, never, TapeClient>
}

export const run = (loop: Loop): Effect.Effect<never, never, TapeClient> =>
  Effect.scoped(
    Effect.gen(function* () {
      const loops = yield* FiberSet.make<never>()
      const wakes = new Map<string, Queue.Queue<void>>()
      const known = new Set<string>()

      const begin = Effect.fnUntraced(function* (name: string) {
        if (known.has(name)) return
        known.add(name)
        const wake = yield* Queue.sliding<void>(1)
        wakes.set(name, wake)
        yield* FiberSet.run(loops, connectorLoop(loop, name, wake))
      })

      yield* Effect.forEach(loop.only === undefined ? loop.names : [loop.only], begin, { discard: true })
      yield* Effect.forkScoped(listen(wakes))
      return yield* loop.only === undefined ? strangers(loop, known, begin) : Effect.never
    })
  )

/** One connector: lists what is due, starts it as slots become free, rests when there is nothing. */
const connectorLoop = (
  loop: Loop,
  connector: string,
  wake: Queue.Dequeue<void>
): Effect.Effect<never, never, TapeClient> =>
  Effect.scoped(
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const slots = yield* Effect.makeSemaphore(loop.parallelism)
      const busy = new Set<string>()
      const resting = new Map<string, number>()
      const turns = yield* FiberSet.make<void>()
      const interval = Duration.toMillis(loop.pollInterval)
      const rest = yield* Rest.make("dispatch")
      // Another dispatcher was faster: what is listed is no longer what is due, and the next row is likely his as well.
      let isContended = false

      const begin = Effect.fnUntraced(function* (row: EffectRecord) {
        const key = keyOf(row)
        const turn = Effect.gen(function* () {
          const outcome = yield* loop.dispatch(row)
          if (outcome._tag === "skipped" && outcome.reason !== "no-connector") isContended = true
          // It is still listed, and nothing will have changed a moment later.
          if (outcome._tag === "skipped" || outcome._tag === "error") {
            resting.set(key, (yield* Clock.currentTimeMillis) + interval)
          }
        })
        const ended = Effect.zipRight(
          Effect.sync(() => busy.delete(key)),
          slots.release(1)
        )
        yield* slots.take(1)
        busy.add(key)
        yield* FiberSet.run(turns, Effect.ensuring(turn, ended))
      })

      const page = Effect.gen(function* () {
        // The list has no cursor: rows that rest or are in flight must not hide those behind them.
        const limit = loop.pageSize + busy.size + resting.size
        const { effects } = yield* tape.listEffectsToDispatch({ connector, limit: BigInt(limit) })
        const now = yield* Clock.currentTimeMillis
        for (const [key, until] of resting) if (until <= now) resting.delete(key)
        const due = effects.filter((row) => !busy.has(keyOf(row)) && !resting.has(keyOf(row)))
        const from = isContended ? yield* Random.nextIntBetween(0, Math.max(1, due.length)) : 0
        isContended = false
        for (const row of [...due.slice(from), ...due.slice(0, from)]) {
          yield* begin(row)
          if (isContended) return
        }
        // Only a full page says that there is more.
        if (due.length === 0 || effects.length < limit) {
          const pause = busy.size > 0 ? Effect.sleep(interval) : rest(interval, Math.min(...resting.values()))
          yield* Effect.raceFirst(Queue.take(wake), pause)
        }
      })

      return yield* Effect.forever(listed(page, connector))
    })
  )

/** Rows of connectors without a loop: those that are provided get one, the others are reported. */
const strangers = (
  loop: Loop,
  known: ReadonlySet<string>,
  begin: (name: string) => Effect.Effect<void, never, TapeClient>
): Effect.Effect<never, never, TapeClient> => {
  let stranded = 0
  const page = Effect.fnUntraced(function* (rest: Rest.Rest) {
    const tape = yield* TapeClient
    // Those that nobody here provides for stay in the list: they must not hide those behind them.
    const { effects } = yield* tape.listEffectsToDispatch({ limit: BigInt(loop.pageSize + stranded) })
    const names = new Map(effects.filter((row) => !known.has(row.connector)).map((row) => [row.connector, row]))
    yield* Effect.forEach(
      names,
      ([name, row]) =>
        Effect.flatMap(connectorOf(name), (found) =>
          found._tag === "Some" ? begin(name) : Effect.asVoid(loop.dispatch(row))
        ),
      { discard: true }
    )
    stranded = effects.filter((row) => !known.has(row.connector)).length
    yield* rest(loop.pollInterval)
  })
  return Effect.flatMap(Rest.make("dispatch"), (rest) => Effect.forever(listed(page(rest), "others")))
}

/** A tape that cannot be read is said once, asked again with growing waits, and said again when it is back. */
const listed = <A>(
  page: Effect.Effect<A, TapeError, TapeClient>,
  connector: string
): Effect.Effect<A, never, TapeClient> => {
  let silent = false
  const said = page.pipe(
    Effect.tapError((error) => {
      if (silent) return Effect.void
      silent = true
      return Effect.logError(`what is due for "${connector}" cannot be listed: ${error.message}`)
    }),
    Effect.retry(backOff)
  )
  return Effect.flatMap(said, (page) => {
    if (!silent) return Effect.succeed(page)
    silent = false
    return Effect.as(Effect.logInfo(`what is due for "${connector}" can be listed again`), page)
  }).pipe(
    // The retry has no end; were it to end, the loop goes on.
    Effect.orDie
  )
}

const backOff = Schedule.exponential("250 millis").pipe(
  Schedule.modifyDelay((_, delay) => Duration.min(delay, "30 seconds")),
  Schedule.jittered
)

/** New effects in the journal end the rest of their loops. Polling goes on beside it, so a lost entry costs only time. */
const listen = (wakes: ReadonlyMap<string, Queue.Queue<void>>): Effect.Effect<void, never, TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const now = yield* Clock.currentTimeMillis
    const pending = tape
      .subscribeEvents({ fromTsMs: BigInt(now), kind: "effect" })
      .pipe(Stream.filter((entry) => entry.subject.startsWith("/tape/effect/pending/")))
    // A chunk of which the filter left nothing is still a chunk.
    yield* Stream.runForEachChunk(pending, (news) =>
      Effect.forEach(Chunk.isEmpty(news) ? [] : wakes.values(), (wake) => Queue.offer(wake, undefined), {
        discard: true
      })
    )
  }).pipe(
    Effect.catchAllCause((cause) => Effect.logDebug("no wake-ups for a moment", cause)),
    Effect.repeat(Schedule.jittered(Schedule.spaced("2 seconds"))),
    Effect.asVoid
  )

const keyOf = (row: EffectRecord): string => JSON.stringify([row.runId, row.idempotencyKey])
