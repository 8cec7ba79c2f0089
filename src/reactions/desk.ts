/** Where the tasks of one reaction are worked on: its slots, its rate, its debouncing, and what is under way. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { within } from "../internal/within.js"
import { finishing } from "../outbox/finishing.js"
import { type Claimed, claim } from "./claim.js"
import { Leading, Trailing } from "./debounce.js"
import type { Outcome } from "./outcome.js"
import { report } from "./report.js"
import type { Settings } from "./settings.js"
import { type Restore, turn, type Unit } from "./turn.js"

export interface Desk<R> {
  /** Claims what can start now, and starts it. `more` says that there may be more. */
  readonly take: Effect.Effect<{ readonly taken: number; readonly more: boolean }, TapeError, R | TapeClient>
  /** Waits until a handler can start. */
  readonly vacancy: Effect.Effect<void>
  /** Waits until nothing is under way; after the grace, what still is is interrupted. */
  readonly drain: Effect.Effect<void>
  /** Waits until nothing is under way. */
  readonly idle: Effect.Effect<void>
}

export const open = <R>(unit: Unit<R>, settings: Settings): Effect.Effect<Desk<R>> =>
  Effect.gen(function* () {
    const { debounceEdge, debounceMs, maxConcurrency, rateLimit } = unit.reaction.settings
    const stopping = yield* Deferred.make<void>()
    const slots = yield* Effect.makeSemaphore(maxConcurrency)
    const freed = yield* Queue.sliding<void>(1)
    const fibers = new Set<Fiber.RuntimeFiber<void>>()
    const leading = debounceMs > 0 && debounceEdge === "leading" ? new Leading(debounceMs) : undefined
    const trailing = debounceMs > 0 && debounceEdge === "trailing" ? new Trailing(debounceMs, stopping) : undefined
    const spacing = rateLimit === undefined ? 0 : 1000 / rateLimit
    const mostAtOnce = rateLimit === undefined ? Infinity : Math.max(1, Math.floor((rateLimit * mostWaitMs) / 1000))
    const leaseMs = settings.leaseMs + (trailing === undefined ? 0 : debounceMs)
    let busy = 0
    let nextStart = 0

    /** A turn in the rate. */
    const paced: Effect.Effect<void> = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      if (spacing === 0) return Effect.void
      const start = Math.max(now, nextStart)
      nextStart = start + spacing
      return start > now ? Effect.sleep(start - now) : Effect.void
    })

    const work = (claimed: Claimed, restore: Restore): Effect.Effect<Outcome, never, R> =>
      Effect.zipRight(
        restore(slots.take(1)),
        Effect.ensuring(
          Effect.zipRight(restore(paced), turn(unit, claimed, settings.leaseMs, restore)),
          slots.release(1)
        )
      )

    const debounced = (claimed: Claimed): Effect.Effect<Outcome> =>
      Effect.map(claimed.complete, (outcome) => (outcome._tag === "done" ? { ...outcome, _tag: "debounced" } : outcome))

    const admitted = Effect.fnUntraced(function* (place: Place, restore: Restore) {
      const { claimed } = place
      // A retry has had its turn in a window, and was not done.
      if (claimed.task.attempts > 1) return yield* work(claimed, restore)
      if (trailing !== undefined) {
        if (!(yield* restore(trailing.admit(claimed)))) return yield* debounced(claimed)
        place.occupy()
        return yield* work(claimed, restore)
      }
      if (leading === undefined) return yield* work(claimed, restore)
      if (!(yield* leading.admit(claimed))) return yield* debounced(claimed)
      const outcome = yield* work(claimed, restore)
      if (outcome._tag !== "done") leading.release(claimed)
      return outcome
    })

    const told = (outcome: Outcome): Effect.Effect<void> =>
      Effect.zipRight(report(outcome), Effect.asVoid(settings.onOutcome(outcome)))

    const begin = (claimed: Claimed): Effect.Effect<void, never, R> =>
      Effect.suspend(() => {
        const place = new Place(claimed, () => void (busy += 1))
        if (trailing === undefined || claimed.task.attempts > 1) place.occupy()
        return Effect.uninterruptibleMask((restore) =>
          admitted(place, restore).pipe(
            Effect.onInterrupt(() => Effect.flatMap(place.giveBack, told)),
            Effect.flatMap(told)
          )
        ).pipe(
          Effect.catchAllCause((cause) => Effect.logError("a task's turn died", cause)),
          Effect.interruptible,
          Effect.forkDaemon,
          Effect.map((fiber) => {
            fibers.add(fiber)
            fiber.addObserver(() => {
              fibers.delete(fiber)
              if (place.isOccupied) busy -= 1
              freed.unsafeOffer(undefined)
            })
          })
        )
      })

    const vacant = (): number =>
      (trailing?.size ?? 0) >= mostWaiting ? 0 : Math.min(maxConcurrency - busy, settings.claimMax, mostAtOnce)

    const vacancy = Effect.gen(function* () {
      while (vacant() <= 0) yield* Queue.take(freed)
      const wait = nextStart - (yield* Clock.currentTimeMillis) - mostWaitMs
      if (wait > 0) yield* Effect.sleep(wait)
    })

    const take = Effect.gen(function* () {
      const max = vacant()
      if (max <= 0) return { taken: 0, more: true }
      const { id, reaction } = unit
      const claimed = yield* claim({
        reactionId: id,
        reaction: reaction.name,
        owner: settings.owner,
        lease: leaseMs,
        shard: settings.shard,
        max
      })
      yield* Effect.forEach(claimed, begin, { discard: true })
      return { taken: claimed.length, more: claimed.length >= max }
    }).pipe(finishing(Math.min(settings.graceMs, 1000), "a claim was answered; its tasks are handed out again"))

    const idle: Effect.Effect<void> = Effect.suspend(() =>
      fibers.size === 0 ? Effect.void : Effect.zipRight(Fiber.awaitAll(fibers), idle)
    )

    const drain = Effect.gen(function* () {
      yield* Deferred.succeed(stopping, undefined)
      if (Option.isSome(yield* within(idle, settings.graceMs))) return
      yield* Effect.logWarning(`${fibers.size} tasks of ${unit.reaction.name} are interrupted: the grace is over`)
      yield* within(Fiber.interruptAll(fibers), lastWordMs)
    })

    return { take, vacancy, drain, idle }
  })

/** A claimed task under way: whether it counts against the slots, and how it goes back. */
class Place {
  isOccupied = false

  constructor(
    readonly claimed: Claimed,
    private readonly onOccupied: () => void
  ) {}

  readonly occupy = (): void => {
    if (this.isOccupied) return
    this.isOccupied = true
    this.onOccupied()
  }

  /** What was interrupted has not been acknowledged: only waiting and handling can be. */
  readonly giveBack: Effect.Effect<Outcome> = Effect.suspend(() =>
    this.claimed.nack("the dispatcher was stopped before the handler had ended")
  )
}

/** How long a claimed task may wait for the rate. */
const mostWaitMs = 250
/** How many subjects may wait for the end of their window. */
const mostWaiting = 1000
/** How long handlers that were interrupted have to give their tasks back. */
const lastWordMs = 1000
