import { layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Client } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { scenarios } from "../../conformance/index.js"
import { Probe } from "../../conformance/Scenario.js"
import * as Postgres from "../../support/Postgres.js"

const tape = Layer.effectContext(
  Effect.map(Engine.Engine, (engine) => {
    const client = Client.fromHandlers(engine)
    const itself = Effect.succeed(client)
    return Context.make(Client.TapeClient, client).pipe(Context.add(Probe, { connect: itself, asIs: itself }))
  })
).pipe(Layer.provide(Postgres.layerEngine), Layer.provide(Postgres.layer()))

layer(tape, { excludeTestServices: true })("in-process, PostgreSQL", (it) => {
  for (const scenario of scenarios.filter(({ level }) => level === "wire")) {
    it.effect(`${scenario.id} · ${scenario.title}`, () => scenario.run)
  }
})
