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
import * as Requests from "./ledgers/Requests.js"
import { type Retention, layer as retention } from "./Retention.js"
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
  /**
   * The largest request, entry of the journal and list, in bytes; the server and the client have limits of their own.
   * Defaults to 4 MiB.
   */
  readonly maxMessageBytes?: number | undefined
  /** The most rows that a list answers, whatever limit is asked for: 500 to 10,000. Defaults to 10,000. */
  readonly maxListed?: number | undefined
}

/**
 * Metadata for a server to send with every answer: it tells clients that request ids are honoured.
 *
 * @since 0.1.0
 * @category constants
 */
export const responseMetadata = { [Requests.header]: "v1" } as const

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
  Layer.scoped(
    Engine,
    Effect.flatMap(Store, (store) =>
      Service.make(store, {
        requireScope: options?.requireScope ?? false,
        maxMessageBytes: options?.maxMessageBytes ?? 4 * 1024 * 1024,
        maxListed: Math.min(Math.max(options?.maxListed ?? 10_000, 500), 10_000)
      })
    )
  )

/**
 * The engine, and the {@link Retention} of its tape, over the store that a URL names: `sqlite:<path>`, `memory:` for a private one that is gone with its scope,
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
export const layerUrl = (url: string, options?: EngineOptions): Layer.Layer<Engine | Retention, StoreError> =>
  Layer.provide(
    Layer.merge(layer(options), retention),
    /^postgres(?:ql)?:/.test(url) ? postgres(url) : SqliteStore.layer({ url })
  )

/** Loaded when it is asked for: who keeps a tape in a file pays for no other driver. */
const postgres = (url: string): Layer.Layer<Store, StoreError> =>
  Layer.unwrapEffect(
    Effect.map(
      Effect.promise(() => import("./store/postgres/PostgresStore.js")),
      (store) => store.layer({ url })
    )
  )
