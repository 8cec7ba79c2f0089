import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as TestClock from "effect/TestClock"
import type { Pulse } from "./pulse.js"

interface Sleeper {
  readonly at: number
  readonly wake: () => void
}

/**
 * A `TestClock` that waits for the tape: between two moments it goes on as soon as every fiber waits, not after a fixed
 * time. What is interrupted is forgotten, so that a day costs what happens in it.
 */
export class TapeClock implements TestClock.TestClock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  private sleepers: ReadonlyArray<Sleeper> = []
  private isClosed = false

  constructor(
    private readonly pulse: Pulse,
    private now: number,
    /** Fibers that were started beside the tape live by this one. */
    private readonly outer: TestClock.TestClock | undefined
  ) {}

  readonly unsafeCurrentTimeMillis = (): number => this.now

  readonly unsafeCurrentTimeNanos = (): bigint => BigInt(Math.floor(this.now * 1_000_000))

  readonly currentTimeMillis = Effect.sync(this.unsafeCurrentTimeMillis)

  readonly currentTimeNanos = Effect.sync(this.unsafeCurrentTimeNanos)

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    if (this.isClosed) return live.sleep(duration)
    if (!Duration.isFinite(duration)) return Effect.never
    return Effect.async((resume) => {
      const at = this.now + Duration.toMillis(duration)
      if (at <= this.now) return resume(Effect.void)
      const sleeper: Sleeper = { at, wake: () => resume(Effect.void) }
      const later = this.sleepers.findIndex((other) => other.at > at)
      this.sleepers = this.sleepers.toSpliced(later === -1 ? this.sleepers.length : later, 0, sleeper)
      return Effect.sync(() => {
        this.sleepers = this.sleepers.filter((other) => other !== sleeper)
      })
    })
  }

  /** From now on time goes by itself: fibers that outlive the tape come to their ends. */
  readonly close = Effect.sync(() => {
    this.isClosed = true
    for (const { wake } of this.sleepers) wake()
    this.sleepers = []
  })

  /** When the next fiber wakes up that sleeps. */
  get next(): number | undefined {
    return this.sleepers[0]?.at
  }

  readonly sleeps = Effect.sync(() => Chunk.fromIterable(this.sleepers.map(({ at }) => at)))

  adjust(duration: Duration.DurationInput): Effect.Effect<void> {
    return Effect.suspend(() => this.setTime(this.now + Duration.toMillis(duration)))
  }

  adjustWith(duration: Duration.DurationInput) {
    return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.zipLeft(effect, this.adjust(duration), { concurrent: true })
  }

  setTime(time: number): Effect.Effect<void> {
    return Effect.gen(this, function* () {
      yield* this.pulse.settled
      for (;;) {
        const [first, ...others] = this.sleepers
        if (first === undefined || first.at > time) break
        this.sleepers = others
        this.now = Math.max(this.now, first.at)
        first.wake()
        yield* this.pulse.settled
      }
      this.now = time
      if (this.outer !== undefined) {
        yield* this.outer.setTime(time)
        yield* this.pulse.settled
      }
    })
  }

  readonly save = Effect.sync(() => {
    const { now, sleepers } = this
    return Effect.sync(() => {
      this.now = now
      this.sleepers = sleepers
    })
  })
}

const live = Clock.make()

/** The clock of a test that has one. */
export const outer: Effect.Effect<TestClock.TestClock | undefined> = Effect.clockWith((clock) =>
  // There is no other way to tell a test's clock.
  Effect.succeed("adjust" in clock && "setTime" in clock ? (clock as TestClock.TestClock) : undefined)
)
