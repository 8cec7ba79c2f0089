import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"

/** Runs fibers as ever, and knows whether any of them has something to do. */
export class Pulse implements Scheduler.Scheduler {
  private readonly inner = Scheduler.defaultScheduler
  private waiting = 0
  private done = 0

  readonly shouldYield: Scheduler.Scheduler["shouldYield"] = (fiber) => this.inner.shouldYield(fiber)

  readonly scheduleTask: Scheduler.Scheduler["scheduleTask"] = (task, priority, fiber) => {
    this.waiting += 1
    this.inner.scheduleTask(
      () => {
        this.waiting -= 1
        this.done += 1
        task()
      },
      priority,
      fiber
    )
  }

  /** Waits until every fiber waits: for time, for another fiber, or for something outside of this process. */
  readonly settled: Effect.Effect<void> = Effect.async((resume) => {
    let done = this.done
    let quiet = 0
    // The engine takes turns with the event loop: what it does next is seen one turn later.
    const look = () => {
      quiet = this.waiting === 0 && this.done === done ? quiet + 1 : 0
      done = this.done
      if (quiet < quietTurns) handle = setImmediate(look)
      else resume(Effect.void)
    }
    let handle = setImmediate(look)
    return Effect.sync(() => clearImmediate(handle))
  })
}

const quietTurns = 3
