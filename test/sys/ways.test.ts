/** The SDK's loops over every way to a tape: in-process, over gRPC, on PostgreSQL. */
import { layer } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { sqliteFile, transports } from "../support/Harness.js"
import * as Postgres from "../support/Postgres.js"
import { durable } from "./ways/durable.js"
import { following } from "./ways/following.js"
import { interruption } from "./ways/interruption.js"
import { outbox } from "./ways/outbox.js"

const quiet = Logger.remove(Logger.defaultLogger)

const ways = {
  "in-process, SQLite": Layer.provide(transports["in-process"], sqliteFile),
  "gRPC, SQLite": Layer.provide(transports.gRPC, sqliteFile),
  "gRPC, PostgreSQL": transports.gRPC.pipe(Layer.provide(Postgres.layerEngine), Layer.provide(Postgres.layer()))
}

for (const [name, way] of Object.entries(ways)) {
  layer(Layer.merge(way, quiet), { excludeTestServices: true })(name, (it) => {
    for (const { run, title } of [...outbox, ...durable, ...following, ...interruption])
      it.scoped(title, () => Effect.asVoid(run))
  })
}
