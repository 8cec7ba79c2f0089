import * as Effect from "effect/Effect"

/** One at a time for each key, in the order they came. A key costs nothing when nobody uses it. */
export class Turns {
  private readonly keys = new Map<string, { readonly semaphore: Effect.Semaphore; users: number }>()

  readonly within = <A, E, R>(key: string, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.suspend(() => {
      const turn = this.keys.get(key) ?? { semaphore: Effect.unsafeMakeSemaphore(1), users: 0 }
      this.keys.set(key, turn)
      turn.users += 1
      return Effect.ensuring(
        turn.semaphore.withPermits(1)(self),
        Effect.sync(() => {
          turn.users -= 1
          if (turn.users === 0) this.keys.delete(key)
        })
      )
    })
}
