/** One task, from its claim to its acknowledgement. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { Task } from "../gen/tape/v1/tape_pb.js"
import { parentOf } from "../observability/tracing.js"
import { attempt } from "../outbox/finishing.js"
import { type Claimed, namesOf } from "./claim.js"
import type { Unreadable } from "./events.js"
import type { Outcome } from "./outcome.js"
import { Permanent } from "./permanent.js"
import type { Reaction } from "./reaction.js"

/** A reaction with the id that its tasks are claimed by. */
export interface Unit<out R> {
  readonly id: string
  readonly reaction: Reaction<R>
}

/** The part of a lease that a handler may take; the rest is for the record. */
const share = 0.9

/** Where an interruption is let in. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** Handles a task and acknowledges it. Only the handler can be interrupted: what it did is recorded. */
export const turn = <R>(
  { reaction }: Unit<R>,
  claimed: Claimed,
  leaseMs: number,
  restore: Restore
): Effect.Effect<Outcome, never, R> =>
  Effect.gen(function* (): Effect.fn.Return<Outcome, never, R> {
    const { task } = claimed
    const left = claimed.expiresAt - leaseMs * (1 - share) - (yield* Clock.currentTimeMillis)
    if (left <= 0) return { _tag: "expired", ...namesOf(reaction.name, task) }

    const limit = Math.min(left, reaction.settings.timeoutMs)
    const result = yield* restore(attempt(handled(reaction, task), limit))
    if ("answer" in result && Option.isSome(result.answer)) {
      const hopeless = result.answer.value
      return yield* hopeless === undefined ? claimed.complete : claimed.nack(hopeless.reason, { permanent: true })
    }
    const error = "raised" in result ? result.raised : `the handler took longer than ${Math.round(limit)} ms`
    return yield* claimed.nack(error, { permanent: task.attempts > reaction.settings.retries })
  })

/** Decodes and handles; answers why it never will be. */
const handled = <R>(reaction: Reaction<R>, task: Task): Effect.Effect<Unreadable | Permanent | undefined, unknown, R> =>
  Effect.flatMap(
    Effect.either(reaction.prepare(task)),
    Either.match({
      onLeft: (unreadable) => Effect.succeed<Unreadable | Permanent | undefined>(unreadable),
      onRight: (handler) =>
        Effect.catchIf(
          Effect.as(traced(task, reaction.name, handler), undefined),
          (error): error is Permanent => error instanceof Permanent,
          Effect.succeed
        )
    })
  )

/** The handler's span is a child of the call that caused the entry, when that had one. */
const traced = <A, E, R>(task: Task, reaction: string, handler: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  const parent = parentOf(task.traceId, task.parentSpanId)
  return parent === undefined
    ? handler
    : Effect.withSpan(handler, "tape.task", {
        captureStackTrace: false,
        kind: "consumer",
        parent,
        attributes: {
          "tape.reaction": reaction,
          "tape.reaction_id": task.reactionId,
          "tape.task_id": task.taskId,
          "tape.subject": task.subject,
          "tape.attempt": task.attempts
        }
      })
}
