import { assert, it, layer } from "@effect/vitest"
import { Layer } from "effect"
import { sqliteFile, transports } from "../support/Harness.js"
import { scenarios, wire } from "./index.js"

it("names every scenario once", () => {
  const ids = scenarios.map((scenario) => scenario.id)
  assert.deepEqual(ids, [...new Set(ids)])
})

for (const [name, transport] of Object.entries(transports)) {
  layer(Layer.provide(transport, sqliteFile), { excludeTestServices: true })(`${name}, SQLite`, (it) => {
    for (const { id, run, title } of wire) it.effect(`${id} · ${title}`, () => run)
  })
}
