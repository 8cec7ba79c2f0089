import * as Net from "node:net"
import { Context, Effect, Layer, Schedule, type Scope } from "effect"
import { Client, type TapeClient } from "effect-tape"
import { Engine, Store, type StoreError } from "effect-tape/engine"
import pg from "pg"
import * as PostgresStore from "../../../src/engine/store/postgres/PostgresStore.js"
import * as Postgres from "../../support/Postgres.js"

export type Tape = Context.Tag.Service<TapeClient>

/** A server of its own over a database: as good as another process, but for the memory they share. */
export const openTape = (url: string, options?: Client.ClientOptions): Effect.Effect<Tape, StoreError, Scope.Scope> =>
  Effect.map(Layer.build(Engine.layerUrl(url)), (context) =>
    Client.fromHandlers(Context.get(context, Engine.Engine), options)
  )

export const openStore = (url: string): Effect.Effect<Context.Tag.Service<Store.Store>, StoreError, Scope.Scope> =>
  Effect.map(Layer.build(PostgresStore.layer({ url })), Context.get(Store.Store))

export const freshDatabase = Effect.flatMap(Postgres.Postgres, (postgres) => postgres.freshDatabase)

/** Several servers over one fresh database. */
export const openTapes = (count: number) =>
  Effect.gen(function* () {
    const url = yield* freshDatabase
    const tapes = yield* Effect.all(Array.from({ length: count }, () => openTape(url)))
    return { url, tapes }
  })

/** A connection that is none of ours: it can hold a transaction open. */
export const rival = (url: string): Effect.Effect<(sql: string) => Effect.Effect<pg.QueryResult>, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const client = new pg.Client({ connectionString: url })
        client.on("error", () => {})
        await client.connect()
        return client
      }),
      (client) => Effect.promise(() => client.end())
    ),
    (client) => (sql) => Effect.promise(() => client.query(sql))
  )

/** Until `count` transactions wait for a lock. */
export const waitingForLocks = (url: string, count: number) =>
  Effect.flatMap(Postgres.Postgres, ({ query }) =>
    query(
      url,
      `select count(*)::int as waiting from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'`
    ).pipe(
      Effect.filterOrFail((rows) => rows[0]?.["waiting"] === count),
      Effect.retry(Schedule.spaced("10 millis").pipe(Schedule.upTo("5 seconds")))
    )
  )

export interface Proxy {
  readonly url: string
  /** At the next message that contains the text, loses the request, or the answer to it. */
  readonly loseNext: (what: "request" | "answer", text: string) => void
  readonly lost: () => number
}

/** A network between a server and its database that fails at the worst of moments. */
export const proxy = (target: string): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function* () {
    const to = new URL(target)
    let armed: { readonly what: "request" | "answer"; readonly text: string } | undefined
    let lost = 0
    const server = Net.createServer((inner) => {
      const outer = Net.connect(Number(to.port), to.hostname)
      const cut = () => {
        inner.destroy()
        outer.destroy()
      }
      let isDoomed = false
      inner.on("error", cut).on("close", cut)
      outer.on("error", cut).on("close", cut)
      inner.on("data", (data) => {
        if (armed !== undefined && data.includes(armed.text)) {
          const { what } = armed
          armed = undefined
          lost += 1
          if (what === "request") {
            return cut()
          }
          isDoomed = true
        }
        outer.write(data)
      })
      outer.on("data", (data) => {
        if (isDoomed) {
          return cut()
        }
        inner.write(data)
      })
    })
    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => {
        server.listen(0, "127.0.0.1", () => resume(Effect.void))
      }),
      () => Effect.sync(() => server.close())
    )
    const address = server.address()
    const url = new URL(target)
    url.port = String(typeof address === "object" && address !== null ? address.port : 0)
    return {
      url: url.href,
      loseNext: (what, text) => {
        armed = { what, text }
      },
      lost: () => lost
    }
  })
