/** At most one run in a window, for each subject. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Claimed } from "./claim.js"

/** Leading: the first of a window runs. A run that fails gives its window back. */
export class Leading {
  /** Oldest first: whoever is let through goes to the end. */
  private readonly marks = new Map<string, { readonly taskId: string; readonly at: number }>()

  constructor(private readonly windowMs: number) {}

  /** How many subjects are remembered. */
  get size(): number {
    return this.marks.size
  }

  readonly admit = ({ task }: Claimed): Effect.Effect<boolean> =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      for (const [subject, { at }] of this.marks) {
        if (now - at < this.windowMs) break
        this.marks.delete(subject)
      }
      if (this.marks.has(task.subject)) return false
      this.marks.set(task.subject, { taskId: task.taskId, at: now })
      return true
    })

  readonly release = ({ task }: Claimed): void => {
    if (this.marks.get(task.subject)?.taskId === task.taskId) this.marks.delete(task.subject)
  }
}

interface Waiting {
  readonly claimed: Claimed
  readonly dueAt: number
  readonly superseded: Deferred.Deferred<void>
}

/** Trailing: tasks wait, claimed, for the end of their window; only the newest of a subject comes through. */
export class Trailing {
  private readonly waiting = new Map<string, Waiting>()

  constructor(
    private readonly windowMs: number,
    /** Done when the dispatcher stops: then nobody waits any longer. */
    private readonly stopping: Deferred.Deferred<void>
  ) {}

  /** How many wait. */
  get size(): number {
    return this.waiting.size
  }

  /** Waits; answers whether it is this one that runs. */
  readonly admit = (claimed: Claimed): Effect.Effect<boolean> =>
    Effect.gen(this, function* () {
      const { subject } = claimed.task
      const now = yield* Clock.currentTimeMillis
      const superseded = yield* Deferred.make<void>()
      const before = this.waiting.get(subject)
      if (before !== undefined && before.claimed.task.sourceGlobalSeq > claimed.task.sourceGlobalSeq) return false
      const entry: Waiting = { claimed, superseded, dueAt: before?.dueAt ?? now + this.windowMs }
      this.waiting.set(subject, entry)
      if (before !== undefined) yield* Deferred.succeed(before.superseded, undefined)
      yield* Effect.raceFirst(
        Effect.sleep(Math.max(0, entry.dueAt - now)),
        Effect.raceFirst(Deferred.await(superseded), Deferred.await(this.stopping))
      )
      if (this.waiting.get(subject) !== entry) return false
      this.waiting.delete(subject)
      return true
    })
}
