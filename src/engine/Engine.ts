/**
 * The embedded engine: answers `tape.v1` over a {@link Store}.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Tape } from "../gen/tape/v1/tape_pb.js"
import type { Handlers } from "../Handlers.js"
import * as Service from "./Service.js"
import type { StoreError } from "./StoreError.js"
import { Store } from "./store/Store.js"
import * as SqliteStore from "./store/sqlite/SqliteStore.js"

/**
 * Settings of the engine.
 *
 * @since 0.1.0
 * @category models
 */
export interface EngineOptions {
  /** Whether a non-idempotent effect must name a scope that its run was granted. Defaults to `false`. */
  readonly requireScope?: boolean | undefined
}

/**
 * The engine: an implementation of the service, to be used in-process or put on the wire.
 *
 * @since 0.1.0
 * @category tags
 */
export class Engine extends Context.Tag("effect-tape/engine/Engine")<Engine, Handlers<typeof Tape>>() {}

/**
 * The engine over whatever store is provided.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: EngineOptions): Layer.Layer<Engine, never, Store> =>
  Layer.effect(
    Engine,
    Effect.map(Store, (store) => Service.make(store, { requireScope: options?.requireScope ?? false }))
  )

/**
 * The engine over the store that a URL names: `sqlite:<path>`, `memory:` for a private one that is gone with its scope,
 * or `postgres://user:password@host:port/database`, which any number of servers may share.
 *
 * @example
 * import { Engine } from "effect-tape/engine"
 *
 * const EngineLive = Engine.layerUrl("sqlite:./tape.db")
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUrl = (url: string, options?: EngineOptions): Layer.Layer<Engine, StoreError> =>
  Layer.provide(layer(options), /^postgres(?:ql)?:/.test(url) ? postgres(url) : SqliteStore.layer({ url }))

/** Loaded when it is asked for: who keeps a tape in a file pays for no other driver. */
const postgres = (url: string): Layer.Layer<Store, StoreError> =>
  Layer.unwrapEffect(
    Effect.map(
      Effect.promise(() => import("./store/postgres/PostgresStore.js")),
      (store) => store.layer({ url })
    )
  )
