import { assert, it, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { TapeClient } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { grpc, inProcess, transports } from "../support/Harness.js"
import * as Canonical from "./canonical.js"
import { requiringScope, wire } from "./index.js"

/**
 * Scenarios whose journal is not the same twice: their sequences are random, or they count on a key of the whole store.
 * Over gRPC they run on both stores, in the other suites.
 */
const differs = new Set(["OBL-16", "MODEL-LEASE", "MODEL-VALUE", "MODEL-TIMER", "RUL-VAL-5"])

class Both extends Context.Tag("test/Both")<
  Both,
  { readonly direct: Effect.Effect.Success<typeof inProcess>; readonly served: Effect.Effect.Success<typeof inProcess> }
>() {}

/** One engine, used directly and over a loopback port. */
const both = Layer.scoped(Both, Effect.all({ direct: inProcess, served: grpc })).pipe(
  Layer.provide(Engine.layerUrl("memory:"))
)

layer(both, { excludeTestServices: true })("EMB-07 · one engine, in-process and over gRPC", (it) => {
  for (const { id, run, title } of wire) {
    it.effect(`${id} · ${title}`, () =>
      Effect.gen(function* () {
        const { direct, served } = yield* Both
        const journalOf = (way: typeof direct) =>
          Effect.provide(Canonical.journaledBy(Context.get(direct, TapeClient), run), way)
        const one = yield* journalOf(direct)
        if (!differs.has(id)) assert.deepEqual(yield* journalOf(served), one)
      })
    )
  }
})

for (const [name, transport] of Object.entries(transports)) {
  const engine = Engine.layerUrl("memory:", { requireScope: true })
  layer(Layer.provide(transport, engine), { excludeTestServices: true })(`${name}, scopes required`, (it) => {
    for (const { id, run, title } of requiringScope) it.effect(`${id} · ${title}`, () => run)
  })
}

it("EMB-01 · the embedded engine passes what it must", () => {
  const must = `EFF-02 EFF-05 EFF-10 EFF-11 OUT-02 OUT-03 OUT-04 OUT-06 OUT-07 EFF-12 EFF-13 REC-02 REC-06 OBL-01 OBL-02
    OBL-05 OBL-06 OBL-07 TMR-01 TMR-03 VAL-02`
  const ids = new Set(wire.map((scenario) => scenario.id))
  assert.deepEqual(
    must.split(/\s+/).filter((id) => !ids.has(id)),
    []
  )
})
