import { Layer } from "effect"
import { Client } from "effect-tape"
import { Engine } from "effect-tape/engine"
import * as SqliteStore from "../../src/engine/store/sqlite/SqliteStore.js"

/** A tape of its own for a test, and the store under it. */
export const tapeOverStore = Client.layerHandlers(Engine.Engine).pipe(
  Layer.provide(Engine.layer()),
  Layer.provideMerge(SqliteStore.layer({ url: "memory:" }))
)
