/**
 * What the engine tidies up by itself, a little at a time: events of sessions that are gone, answers kept for repeats.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Requests from "../ledgers/Requests.js"
import type { StoreError } from "../StoreError.js"
import { pageBytes } from "../store/Room.js"
import type { Store } from "../store/Store.js"
import type { Transaction } from "../store/Transaction.js"
import { DiscardedEvents, RequestIds, SessionEvents } from "../store/tables.js"

type StoreService = Context.Tag.Service<Store>

export interface Housekeeping {
  /** Says that a session was deleted. */
  readonly discarded: Effect.Effect<void>
  /** Says that an answer was kept. */
  readonly kept: Effect.Effect<void>
}

/** Rows in one transaction: few enough that no writer notices. */
export const batchSize = 500

/** Starts the fibers, for as long as the scope is open. They rest while there is nothing to tidy up. */
export const make = Effect.fnUntraced(function* (
  store: StoreService
): Effect.fn.Return<Housekeeping, never, Scope.Scope> {
  // Open at first: an earlier process may have left something behind.
  const discarded = yield* Effect.makeLatch(true)
  const kept = yield* Effect.makeLatch(false)

  const purge = Effect.gen(function* () {
    const [oldest] = yield* store.read((snapshot) => snapshot.select(RequestIds, "order by created_at_ms limit 1", []))
    if (oldest === undefined) {
      return false
    }
    if (oldest.createdAtMs + Requests.keptMs > (yield* store.nowMs)) {
      yield* kept.open
      return false
    }
    yield* store.write((tx) => Requests.purge(tx, batchSize))
    return true
  })

  yield* Effect.forever(
    Effect.all([discarded.await, discarded.close, insistently(dropDiscarded(store))], { discard: true })
  ).pipe(Effect.annotateLogs({ ...module, fiber: "discarded events" }), Effect.interruptible, Effect.forkScoped)
  yield* Effect.forever(
    Effect.all([kept.close, insistently(purge), kept.await, Effect.sleep(purgeInterval)], { discard: true })
  ).pipe(Effect.annotateLogs({ ...module, fiber: "request ids" }), Effect.interruptible, Effect.forkScoped)
  return { discarded: Effect.asVoid(discarded.open), kept: Effect.asVoid(kept.open) }
})

const module = { package: "effect-tape", module: "Engine" }

/** How often old answers are looked for, while there are any. */
const purgeInterval = "1 minute"

/** Turn after turn until nothing is left to do; a store that fails is tried again, more and more slowly. */
const insistently = (turn: Effect.Effect<boolean, StoreError>): Effect.Effect<void> =>
  turn.pipe(
    Effect.repeat({ while: (isMore) => isMore }),
    Effect.tapError((error) => Effect.logWarning("housekeeping has to wait", error)),
    Effect.retry(Schedule.exponential("1 second").pipe(Schedule.union(Schedule.spaced("1 minute")), Schedule.jittered)),
    // The schedule has no end.
    Effect.orDie
  )

/** Removes some events of sessions that are gone, and tells whether there may be more. */
export const dropDiscarded = (store: StoreService): Effect.Effect<boolean, StoreError> =>
  Effect.flatMap(
    store.read((snapshot) => snapshot.select(DiscardedEvents, "limit 1", [])),
    (sessions) => (sessions.length === 0 ? Effect.succeed(false) : Effect.as(store.write(dropSome), true))
  )

/** Removes some events of one session that is gone, and its mark with the last of them. */
const dropSome = Effect.fnUntraced(function* (tx: Transaction) {
  const [session] = yield* tx.select(DiscardedEvents, "order by events_id limit 1", [])
  if (session === undefined) {
    return
  }
  const { eventsId } = session
  const { isAll, rows: events } = yield* tx.selectWithin(
    SessionEvents,
    "where events_id = ? order by ord limit ?",
    [eventsId, BigInt(batchSize)],
    { bytes: pageBytes }
  )
  events.forEach(({ ord }) => tx.remove(SessionEvents, { eventsId, ord }))
  if (isAll && events.length < batchSize) {
    tx.remove(DiscardedEvents, { eventsId })
  }
})
