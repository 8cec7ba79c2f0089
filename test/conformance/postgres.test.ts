import { layer } from "@effect/vitest"
import { Layer } from "effect"
import { transports } from "../support/Harness.js"
import * as Postgres from "../support/Postgres.js"
import { wire } from "./index.js"

layer(Postgres.layer(), { excludeTestServices: true })((it) => {
  for (const [name, transport] of Object.entries(transports)) {
    it.layer(Layer.provide(transport, Postgres.layerEngine))(`${name}, PostgreSQL`, (it) => {
      for (const { id, run, title } of wire) it.effect(`${id} · ${title}`, () => run)
    })
  }
})
