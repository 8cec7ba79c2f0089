/** One reaction at work. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { yieldToEventLoop } from "../internal/eventLoop.js"
import * as Predicate from "../Predicate.js"
import * as Subject from "../Subject.js"
import type { Store } from "../store/Store.js"
import { type Entry, type ReactionRow, Reactions } from "../store/tables.js"
import { act, withoutOwnRuns } from "./act.js"

type StoreService = Context.Tag.Service<Store>

/** Entries looked at in one go. */
const pageSize = 128

/** Entries acted on in one transaction: it must not hold up the calls that share it. */
const actsPerTransaction = 32

/** How often a cursor moves that has only passed what does not match. */
const idleMoveMs = 1000

/** How long to wait when something has failed; what failed is done again, never left out. */
const backOff = Schedule.exponential("50 millis").pipe(
  Schedule.jittered,
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.resetAfter("30 seconds")
)

/** Follows the journal for a reaction as it was registered; ends when it is changed or deregistered. */
export const follow = (store: StoreService, reactionId: string, revision: bigint): Effect.Effect<void> =>
  Effect.suspend(() => {
    let isFailing = false
    const failed = (cause: Cause.Cause<unknown>) =>
      Effect.suspend(() => {
        const isNews = !isFailing
        isFailing = true
        return isNews ? Effect.logWarning("a reaction failed, and is tried again", cause) : Effect.void
      })
    const recovered = Effect.suspend(() => {
      const isNews = isFailing
      isFailing = false
      return isNews ? Effect.logInfo("the reaction goes on") : Effect.void
    })
    return run(store, reactionId, revision, recovered).pipe(
      Effect.sandbox,
      Effect.tapError((cause) => (Cause.isInterruptedOnly(cause) ? Effect.void : failed(cause))),
      Effect.retry({ schedule: backOff, while: (cause) => !Cause.isInterruptedOnly(cause) }),
      Effect.unsandbox,
      // Only an interruption is not retried.
      Effect.orDie,
      Effect.annotateLogs({ package: "effect-tape", module: "Matcher", reaction: reactionId })
    )
  })

const run = Effect.fnUntraced(function* (
  store: StoreService,
  reactionId: string,
  revision: bigint,
  recovered: Effect.Effect<void>
) {
  const reaction = yield* store.read((snapshot) => snapshot.get(Reactions, { reactionId }))
  if (reaction === undefined || reaction.deleted || reaction.revision !== revision) {
    return
  }
  // Registration has refused what does not compile.
  const predicate = yield* Predicate.compile(reaction.predicateCel)
  const matchesSubject = Subject.matcher(reaction.subjectPattern)
  const isOwnRun = withoutOwnRuns(store, reaction)

  let cursor = reaction.matchedUpTo
  let seen = cursor
  let movedAtMs = yield* Clock.currentTimeMillis

  /** Acts on entries and moves the cursor; `false` when the reaction is not what it was. */
  const move = Effect.fnUntraced(function* (entries: ReadonlyArray<Entry>, upTo: bigint) {
    const found = yield* store.write((tx) =>
      Effect.gen(function* () {
        const row = yield* tx.get(Reactions, { reactionId })
        if (row !== undefined && isCurrent(row, revision) && row.matchedUpTo === cursor) {
          yield* act(tx, row, entries)
          tx.put(Reactions, { ...row, matchedUpTo: upTo })
        }
        return row
      })
    )
    movedAtMs = yield* Clock.currentTimeMillis
    if (found === undefined || !isCurrent(found, revision)) {
      return "changed"
    }
    if (found.matchedUpTo === cursor) {
      cursor = upTo
      return "moved"
    }
    // Another server was faster: it has done all up to there.
    cursor = found.matchedUpTo
    return "lost"
  })

  for (;;) {
    const waiting = store.tail.after(seen, pageSize)
    const page =
      seen === cursor
        ? yield* Effect.asSome(waiting)
        : yield* Effect.timeoutOption(waiting, movedAtMs + idleMoveMs - (yield* Clock.currentTimeMillis))
    const entries = Option.match(page, { onNone: () => [], onSome: ({ entries }) => entries })
    const upTo = Option.match(page, { onNone: () => seen, onSome: ({ upTo }) => upTo })
    const matching = yield* isOwnRun(yield* Predicate.select(matchesSubject, predicate, entries))
    seen = upTo
    for (let start = 0; start < matching.length; start += actsPerTransaction) {
      const chunk = matching.slice(start, start + actsPerTransaction)
      const isLast = start + actsPerTransaction >= matching.length
      const outcome = yield* move(chunk, isLast ? upTo : chunk.at(-1)!.globalSeq)
      if (outcome === "changed") {
        return
      }
      if (outcome === "lost") {
        seen = cursor
        break
      }
    }
    if (seen !== cursor && (yield* Clock.currentTimeMillis) >= movedAtMs + idleMoveMs) {
      const outcome = yield* move([], seen)
      if (outcome === "changed") {
        return
      }
      // Nothing matched on the way to `seen`: there is no need to look again.
      seen = cursor > seen ? cursor : seen
    }
    yield* recovered
    yield* yieldToEventLoop
  }
})

const isCurrent = (row: ReactionRow, revision: bigint): boolean => !row.deleted && row.revision === revision
