/**
 * Group commit: calls that arrive while a transaction is being made durable share the next one.
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { yieldToEventLoop } from "../internal/eventLoop.js"
import type { StoreError } from "../StoreError.js"
import type { Job, Transaction } from "./Transaction.js"

/** Calls in one transaction: enough to share an fsync, few enough not to hold up the event loop (a few milliseconds). */
const maxBatch = 128

/** Calls that may wait before callers do. */
const maxWaiting = 1024

export interface Writer {
  readonly write: <A, E>(call: (tx: Transaction) => Effect.Effect<A, E>) => Effect.Effect<A, E | StoreError>
}

interface Pending extends Job {
  readonly answer: Deferred.Deferred<unknown, unknown>
}

export interface Options {
  /** Runs the first of the jobs, mostly all, in one transaction and commits it; the exits are the jobs', in order. */
  readonly transact: (jobs: ReadonlyArray<Job>) => Effect.Effect<ReadonlyArray<Exit.Exit<unknown, unknown>>, StoreError>
  readonly closed: StoreError
}

export const make = Effect.fnUntraced(function* (options: Options): Effect.fn.Return<Writer, never, Scope.Scope> {
  const queue = yield* Queue.bounded<Pending>(maxWaiting)
  let open = true

  const commit = Effect.fnUntraced(function* (first: Pending) {
    yield* yieldToEventLoop
    let jobs = [first, ...Chunk.toReadonlyArray(yield* Queue.takeUpTo(queue, maxBatch - 1))]
    while (jobs.length > 0) {
      const exits = yield* Effect.exit(options.transact(jobs))
      const done = Exit.isSuccess(exits) ? Math.max(1, exits.value.length) : jobs.length
      jobs.slice(0, done).forEach((job, index) => {
        const exit = Exit.isSuccess(exits) ? exits.value[index] : Exit.failCause(exits.cause)
        Deferred.unsafeDone(job.answer, exit ?? Exit.die(new Cause.IllegalArgumentException("a job without an exit")))
      })
      jobs = jobs.slice(done)
      if (jobs.length > 0) {
        yield* yieldToEventLoop
      }
    }
  })

  const refuseWaiting = Effect.map(Queue.takeAll(queue), (waiting) => {
    Chunk.forEach(waiting, ({ answer }) => Deferred.unsafeDone(answer, Effect.fail(options.closed)))
    return Chunk.size(waiting)
  })

  yield* Effect.uninterruptibleMask((restore) =>
    Effect.forever(Effect.flatMap(restore(Queue.take(queue)), commit))
  ).pipe(Effect.interruptible, Effect.forkScoped)
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      open = false
      // Taking makes room for those who waited to be put into the queue: they are waiting, too.
      return Effect.repeat(refuseWaiting, { while: (refused) => refused > 0 })
    })
  )

  return {
    write: <A, E>(call: (tx: Transaction) => Effect.Effect<A, E>) =>
      Effect.suspend(() => {
        if (!open) {
          return Effect.fail(options.closed)
        }
        const answer = Deferred.unsafeMake<unknown, unknown>(FiberId.none)
        let abandoned = false
        const pending = { run: call, isAbandoned: () => abandoned, answer }
        const answered = Queue.offer(queue, pending).pipe(
          Effect.zipRight(Deferred.await(answer)),
          Effect.onInterrupt(() =>
            Effect.sync(() => {
              abandoned = true
            })
          )
        )
        // The exit that completes `answer` is that of `call`.
        return answered as Effect.Effect<A, E | StoreError>
      })
  }
})
