import { assert, it, layer } from "@effect/vitest"
import { ways } from "../support/Harness.js"
import { scenarios } from "./index.js"

it("names every scenario once", () => {
  const ids = scenarios.map((scenario) => scenario.id)
  assert.deepEqual(ids, [...new Set(ids)])
})

for (const way of ways) {
  layer(way.layer, { excludeTestServices: true })(way.name, (it) => {
    for (const scenario of scenarios) {
      it.effect(`${scenario.id} · ${scenario.title}`, () => scenario.run)
    }
  })
}
