import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Client } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { scenarios } from "../../conformance/index.js"
import { Probe } from "../../conformance/Scenario.js"
import * as Postgres from "../../support/Postgres.js"

class Database extends Context.Tag("test/Database")<Database, string>() {}

const database = Layer.effect(
  Database,
  Effect.flatMap(Postgres.Postgres, ({ freshDatabase }) => freshDatabase)
).pipe(Layer.provideMerge(Postgres.layer()))

const tape = Layer.effectContext(
  Effect.map(Engine.Engine, (engine) => {
    const client = Client.fromHandlers(engine)
    const itself = Effect.succeed(client)
    return Context.make(Client.TapeClient, client).pipe(Context.add(Probe, { connect: itself, asIs: itself }))
  })
).pipe(
  Layer.provide(Layer.unwrapEffect(Effect.map(Database, (url) => Engine.layerUrl(url)))),
  Layer.provideMerge(database)
)

layer(tape, { excludeTestServices: true })("in-process, PostgreSQL", (it) => {
  for (const scenario of scenarios.filter(({ level }) => level === "wire")) {
    it.effect(`${scenario.id} · ${scenario.title}`, () => scenario.run)
  }

  it.effect("in all of this no table was scanned: every list has an index that serves it", () =>
    Effect.gen(function* () {
      const { query } = yield* Postgres.Postgres
      const scanned = yield* query(
        yield* Database,
        // Whether there is anything to discard is asked without a condition.
        "select relname from pg_stat_user_tables where seq_tup_read > 0 and relname <> 'discarded_events'"
      )
      assert.deepStrictEqual(scanned, [])
    })
  )
})
