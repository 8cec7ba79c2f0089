import { layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Engine } from "effect-tape/engine"
import { inProcess, sqliteFile } from "../support/Harness.js"
import * as Postgres from "../support/Postgres.js"
import { embeddedScenarios } from "./embedded.js"

const stores = {
  memory: Engine.layerUrl("memory:"),
  SQLite: sqliteFile,
  PostgreSQL: Layer.unwrapEffect(
    Effect.map(
      Effect.flatMap(Postgres.Postgres, ({ freshDatabase }) => freshDatabase),
      (url) => Engine.layerUrl(url)
    )
  )
}

layer(Postgres.layer(), { excludeTestServices: true })((it) => {
  for (const [name, store] of Object.entries(stores)) {
    for (const { id, run, title } of embeddedScenarios) {
      const own = Layer.provideMerge(Layer.effectContext(inProcess), store)
      it.effect(`${name} · ${id} · ${title}`, () => Effect.provide(run, own))
    }
  }
})
