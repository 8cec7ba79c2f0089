import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

interface Rest {
  readonly tries: number
  readonly until: number
  readonly line: string
}

/** In milliseconds. */
const longest = 300_000

/** What could not be done yet, until when it rests (2 seconds to 5 minutes, growing), and what was already said of it. */
export class Resting {
  private readonly rests = new Map<string, Rest>()

  get size(): number {
    return this.rests.size
  }

  /** When the first of them is tried again, if there is one. */
  get next(): number {
    return Math.min(...Array.from(this.rests.values(), ({ until }) => until))
  }

  /** Those that are not resting. What is no longer listed is forgotten. */
  awake<A>(rows: ReadonlyArray<A>, keyOf: (row: A) => string, now: number): ReadonlyArray<A> {
    const listed = new Set(rows.map(keyOf))
    for (const key of this.rests.keys()) if (!listed.has(key)) this.rests.delete(key)
    return rows.filter((row) => this.until(keyOf(row)) <= now)
  }

  /** When it is tried again; 0 when it does not rest. */
  until(key: string): number {
    return this.rests.get(key)?.until ?? 0
  }

  /** Forgets what has not been tried again long after its rest: somebody else has dealt with it. */
  forget(now: number): void {
    for (const [key, { until }] of this.rests) if (until + longest < now) this.rests.delete(key)
  }

  done(key: string): void {
    this.rests.delete(key)
  }

  /** Lets it rest; whether this line is news. */
  rest(key: string, line: string): Effect.Effect<boolean> {
    return Effect.gen(this, function* () {
      const before = this.rests.get(key)
      const tries = (before?.tries ?? 0) + 1
      const wait = Math.min(2000 * 2 ** (tries - 1), longest) * (yield* Random.nextRange(0.8, 1.2))
      this.rests.set(key, { tries, until: (yield* Clock.currentTimeMillis) + wait, line })
      return before?.line !== line
    })
  }
}
