/// <reference lib="es2024.string" />
/** Tasks under a lease, and how a lease ends. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { type Task, TaskStatus } from "../gen/tape/v1/tape_pb.js"
import type { Outcome } from "./outcome.js"

/**
 * What to claim.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClaimOptions {
  /** Of which reaction; see {@link idOf}. */
  readonly reactionId: string
  /** Its name in outcomes. Defaults to the id. */
  readonly reaction?: string | undefined
  /** The name the claim is made under. Only it may complete or give back. */
  readonly owner: string
  /** How long the tasks are ours; there is no renewing. Defaults to 60 seconds. */
  readonly lease?: Duration.DurationInput | undefined
  /** At most how many. Defaults to 16. */
  readonly max?: number | undefined
  /** Of which shard, from 0. Defaults to all of them. */
  readonly shard?: number | undefined
}

/**
 * A task that is ours until its lease runs out.
 *
 * Both ends are tried again while the lease lasts when the tape is away, and never fail: that the claim was lost, or the
 * tape did not answer, is an outcome.
 *
 * @since 0.1.0
 * @category models
 */
export interface Claimed {
  readonly task: Task
  /** When the lease runs out, by our clock, in milliseconds. */
  readonly expiresAt: number
  /** Acknowledges the task; the outcome is `done`. */
  readonly complete: Effect.Effect<Outcome>
  /** Gives the task back, to be tried again later, or for good: `permanent` makes it a dead letter at once. */
  readonly nack: (error: string, options?: { readonly permanent?: boolean | undefined }) => Effect.Effect<Outcome>
}

/**
 * Claims tasks of a reaction that are due, for a bridge or a loop of one's own; {@link layer} has its own.
 *
 * @since 0.1.0
 * @category dispatching
 */
export const claim = Effect.fnUntraced(function* (
  options: ClaimOptions
): Effect.fn.Return<ReadonlyArray<Claimed>, TapeError, TapeClient> {
  const tape = yield* TapeClient
  // Counted from before the call, so that we never believe in a lease longer than the tape does.
  const leaseMs = Math.max(1, Math.ceil(Duration.toMillis(options.lease ?? "60 seconds")))
  const expiresAt = (yield* Clock.currentTimeMillis) + leaseMs
  const { owner, reactionId, shard = allShards } = options
  const { tasks } = yield* tape.claimTasks({
    reactionId,
    owner,
    shard,
    leaseMs: BigInt(leaseMs),
    max: Math.max(1, options.max ?? 16)
  })
  return tasks.map((task) => claimed(tape, task, expiresAt, options.reaction ?? reactionId, owner))
})

/** What every outcome of a task says. */
export const namesOf = (reaction: string, task: Task) => ({
  reaction,
  reactionId: task.reactionId,
  taskId: task.taskId,
  subject: task.subject,
  attempt: task.attempts
})

const allShards = -1

const claimed = (tape: TapeClient["Type"], task: Task, expiresAt: number, reaction: string, owner: string): Claimed => {
  const names = namesOf(reaction, task)
  const { taskId } = task
  const settle = (call: Effect.Effect<Outcome, TapeError>): Effect.Effect<Outcome> =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      call.pipe(
        Effect.retry({
          while: mayPass,
          schedule: Schedule.upTo(backOff, Duration.millis(Math.max(0, expiresAt - now)))
        }),
        Effect.catchAll(
          (error): Effect.Effect<Outcome> =>
            Effect.succeed({
              _tag: error._tag === "NotFound" || error._tag === "PreconditionFailed" ? "claim-lost" : "error",
              ...names,
              error: error.message
            })
        )
      )
    )
  return {
    task,
    expiresAt,
    complete: settle(Effect.as(tape.completeTask({ taskId, owner }), { _tag: "done", ...names })),
    nack: (text, { permanent = false } = {}) => {
      const error = text.slice(0, longestError).toWellFormed()
      return settle(
        Effect.map(
          tape.nackTask({ taskId, owner, error, permanent }),
          ({ task: left }): Outcome =>
            permanent || left?.status === TaskStatus.DLQ
              ? { _tag: "dead-letter", ...names, error }
              : {
                  _tag: "retry-scheduled",
                  ...names,
                  error,
                  nextAt: DateTime.unsafeMake(Number(left?.nextAttemptAtMs ?? 0n))
                }
        )
      )
    }
  }
}

/** Enough for a stack trace. */
const longestError = 4_000

const mayPass = (error: TapeError): boolean =>
  error._tag === "Unavailable" ||
  error._tag === "DeadlineExceeded" ||
  error._tag === "ResourceExhausted" ||
  error._tag === "Unauthenticated" ||
  error._tag === "Cancelled" ||
  error._tag === "Internal" ||
  error._tag === "Conflict"

const backOff = Schedule.exponential("100 millis").pipe(
  Schedule.modifyDelay((_, delay) => Duration.min(delay, "5 seconds")),
  Schedule.jittered
)
