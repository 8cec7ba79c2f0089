/**
 * The matcher: what reactions find in the journal becomes tasks and runs.
 *
 * Every reaction has a fiber and a cursor of its own, so that none waits for another. What came of an entry is written
 * in the transaction that moves the cursor past it, and the cursor moves only from where it was read: no entry is
 * skipped and none counts twice, whoever crashes, and however many servers do the same work at once.
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Reactions from "./ledgers/Reactions.js"
import { follow } from "./matcher/follow.js"
import type { Store } from "./store/Store.js"

export interface Matcher {
  /** Tells that a reaction was registered or deregistered: the matcher looks at once. */
  readonly changed: Effect.Effect<void>
}

/** How soon a change is noticed that was made through another server; a private store has no other. */
const lookAgainAfter = ({ isShared }: StoreService): Duration.DurationInput =>
  isShared ? "1 second" : Duration.infinity

type StoreService = Context.Tag.Service<Store>

/** Runs all reactions of a store, for as long as the scope is open. */
export const make = Effect.fnUntraced(function* (store: StoreService): Effect.fn.Return<Matcher, never, Scope.Scope> {
  const fibers = yield* FiberMap.make<string>()
  const changes = yield* Queue.sliding<void>(1)
  const running = new Map<string, bigint>()
  let known: bigint | undefined

  const look = store.read((snapshot) =>
    Effect.flatMap(Reactions.revision(snapshot), (revision) =>
      revision === known
        ? Effect.succeed(undefined)
        : Effect.map(Reactions.active(snapshot), (reactions) => ({ reactions, revision }))
    )
  )

  const supervise = Effect.gen(function* () {
    const found = yield* look
    if (found === undefined) {
      return
    }
    const active = new Set(found.reactions.map(({ reactionId }) => reactionId))
    for (const reactionId of [...running.keys()].filter((id) => !active.has(id))) {
      running.delete(reactionId)
      yield* FiberMap.remove(fibers, reactionId)
    }
    for (const { reactionId, revision } of found.reactions) {
      if (running.get(reactionId) !== revision) {
        running.set(reactionId, revision)
        // Takes the place of the one that runs: what that has begun to write stands or falls by its cursor.
        yield* FiberMap.run(fibers, reactionId, follow(store, reactionId, revision))
      }
    }
    known = found.revision
  })

  yield* supervise.pipe(
    Effect.catchAllCause((cause) => Effect.logWarning("the reactions could not be read", cause)),
    Effect.zipRight(Effect.timeoutOption(Queue.take(changes), lookAgainAfter(store))),
    Effect.forever,
    Effect.annotateLogs({ package: "effect-tape", module: "Matcher" }),
    Effect.interruptible,
    Effect.forkScoped
  )

  return { changed: Effect.asVoid(Queue.offer(changes, undefined)) }
})
