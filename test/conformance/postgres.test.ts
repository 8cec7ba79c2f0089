import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Engine } from "effect-tape/engine"
import { transports } from "../support/Harness.js"
import * as Postgres from "../support/Postgres.js"
import { wire } from "./index.js"

class Database extends Context.Tag("test/Database")<Database, string>() {}

const database = Layer.effect(
  Database,
  Effect.flatMap(Postgres.Postgres, ({ freshDatabase }) => freshDatabase)
)

const engine = Layer.unwrapEffect(Effect.map(Database, (url) => Engine.layerUrl(url)))

layer(Postgres.layer(), { excludeTestServices: true })((it) => {
  for (const [name, transport] of Object.entries(transports)) {
    const way = transport.pipe(Layer.provide(engine), Layer.provideMerge(Layer.fresh(database)))
    it.layer(way)(`${name}, PostgreSQL`, (it) => {
      for (const { id, run, title } of wire) it.effect(`${id} · ${title}`, () => run)

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
  }
})
