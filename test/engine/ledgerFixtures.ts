import { Effect, Layer, TestServices } from "effect"
import { Client } from "effect-tape"
import { Engine, Retention } from "effect-tape/engine"
import * as SqliteStore from "../../src/engine/store/sqlite/SqliteStore.js"

/** A tape of its own for a test, its retention, and the store under it. */
export const tapeOverStore = Client.layerHandlers(Engine.Engine).pipe(
  Layer.provide(Engine.layer()),
  Layer.merge(Retention.layer),
  Layer.provideMerge(SqliteStore.layer({ url: "memory:" }))
)

/** Looks again until it is as it should be, for at most five seconds of real time; answers what was seen last. */
export const eventually = <A, E, R>(
  look: Effect.Effect<A, E, R>,
  isDone: (seen: A) => boolean
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const deadline = performance.now() + 5_000
    return look.pipe(
      Effect.tap((seen) => (isDone(seen) ? Effect.void : TestServices.provideLive(Effect.sleep("5 millis")))),
      Effect.repeat({ until: (seen) => isDone(seen) || performance.now() > deadline })
    )
  })

/** A tape in a store of its own, by URL. */
export const tapeAt = (url: string, options?: Engine.EngineOptions) =>
  Layer.provide(Client.layerHandlers(Engine.Engine), Engine.layerUrl(url, options))
