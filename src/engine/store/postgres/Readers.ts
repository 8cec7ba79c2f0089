/**
 * Reads that arrive together share a transaction, and with it a connection and its round trips: what each of them asks
 * next goes out with what the others ask. All see the state at which the transaction began, which is after each of them
 * was called.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { yieldToEventLoop } from "../../internal/eventLoop.js"
import { type Failure, failureOf } from "./failure.js"
import type { Rows } from "./Pipeline.js"
import type { Pool, Session } from "./Pool.js"
import { type Command, command, prepare } from "./Statement.js"

/** Asks in the open transaction. */
export type Query = (command: Command) => Effect.Effect<Rows, Failure>

export interface Readers {
  /** Reads with others, or in a transaction of its own. */
  readonly read: <A, E>(body: (query: Query) => Effect.Effect<A, E>, alone: boolean) => Effect.Effect<A, E>
}

/** Reads in one transaction: enough to share its cost, few enough that none waits long for the others. */
const mostMembers = 64

export const make = (pool: Pool, scope: Scope.Scope): Readers => {
  let forming: Group | undefined

  const close = (group: Group): void => {
    forming = forming === group ? undefined : forming
  }

  /** A group takes members until a connection is free for it. */
  const run = (group: Group): Effect.Effect<void> =>
    pool
      .use((session) =>
        Effect.zipRight(
          yieldToEventLoop,
          Effect.suspend(() => {
            close(group)
            return group.serve(session)
          })
        )
      )
      .pipe(
        Effect.onExit((exit) =>
          Effect.sync(() => {
            close(group)
            group.fail(
              Exit.isSuccess(exit)
                ? closed
                : Cause.failureOption(exit.cause).pipe((failure) => (failure._tag === "Some" ? failure.value : closed))
            )
          })
        ),
        Effect.ignore
      )

  return {
    read: (body, alone) =>
      // Whoever has joined leaves again, whatever happens: the others' transaction waits for it.
      Effect.uninterruptibleMask((restore) => {
        const joined = alone ? undefined : forming
        const group = joined ?? new Group()
        const member = group.join((query) => restore(body(query)))
        if (joined !== undefined) {
          if (group.size >= mostMembers) {
            close(group)
          }
          return member
        }
        if (!alone) {
          forming = group
        }
        return Effect.zipRight(Effect.forkIn(Effect.interruptible(run(group)), scope), member)
      })
  }
}

const closed = failureOf(new Error("the store has been closed"))

interface Question {
  readonly command: Command
  readonly answer: (answer: Effect.Effect<Rows, Failure>) => void
}

class Group {
  size = 0
  private members = 0
  private questions: Array<Question> = []
  private failure: Failure | undefined
  private wake: (() => void) | undefined

  join<A, E>(body: (query: Query) => Effect.Effect<A, E>): Effect.Effect<A, E> {
    this.size += 1
    this.members += 1
    return Effect.ensuring(
      body((command) => this.ask(command)),
      Effect.sync(() => {
        this.members -= 1
        this.wake?.()
      })
    )
  }

  /** Answers the members until the last of them has left. */
  serve(session: Session): Effect.Effect<void, Failure> {
    let hasBegun = false
    const round: Effect.Effect<void, Failure> = Effect.suspend(() => {
      const questions = this.questions
      this.questions = []
      const commands = questions.map(({ command }) => command)
      const sent = session.run(hasBegun ? commands : [begin, ...commands])
      const first = hasBegun ? 0 : 1
      hasBegun = true
      return Effect.matchEffect(sent, {
        onFailure: (failure) => {
          questions.forEach(({ answer }) => answer(Effect.fail(failure)))
          return Effect.fail(failure)
        },
        onSuccess: (results) => {
          questions.forEach(({ answer }, index) => answer(Effect.succeed(results[first + index]!)))
          return Effect.void
        }
      })
    })
    return Effect.whileLoop({
      while: () => this.members > 0,
      body: () => (this.questions.length > 0 ? round : this.idle),
      step: () => {}
    }).pipe(
      // Not waited for: nothing was changed.
      Effect.ensuring(Effect.sync(() => hasBegun && session.finish(commit)))
    )
  }

  /** Whoever asks from now on is refused; nobody waits for an answer that does not come. */
  fail(failure: Failure): void {
    this.failure = failure
    this.questions.forEach(({ answer }) => answer(Effect.fail(failure)))
    this.questions = []
  }

  private ask(command: Command): Effect.Effect<Rows, Failure> {
    return Effect.async((resume) => {
      if (this.failure !== undefined) {
        return resume(Effect.fail(this.failure))
      }
      this.questions.push({ command, answer: resume })
      this.wake?.()
    })
  }

  private readonly idle: Effect.Effect<void> = Effect.async((resume) => {
    this.wake = () => {
      this.wake = undefined
      resume(Effect.void)
    }
    if (this.questions.length > 0 || this.members === 0) {
      this.wake()
    }
  })
}

const begin = command(prepare("begin isolation level repeatable read read only"))
const commit = command(prepare("commit"))
