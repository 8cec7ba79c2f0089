/**
 * Hears of what other servers have committed. The connection is our own: when it ends it is opened again, and what was
 * missed meanwhile is looked up.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import pg from "pg"
import { type Failure, failureOf } from "./failure.js"
import * as Pool from "./Pool.js"

export interface Options {
  readonly url: string
  readonly channel: string
  readonly onNotification: (payload: string) => void
  /** Looks up what may have been missed. */
  readonly catchUp: Effect.Effect<void>
}

export const listen = (options: Options): Effect.Effect<void, never, Scope.Scope> => {
  let isDeaf = false
  const attempt = Effect.gen(function* () {
    const client = yield* connect(options.url)
    const ended = yield* Effect.sync(() => endOf(client))
    client.on("notification", ({ payload }) => {
      options.onNotification(payload ?? "")
    })
    yield* query(client, `listen ${pg.escapeIdentifier(options.channel)}`)
    yield* options.catchUp
    if (isDeaf) {
      isDeaf = false
      yield* Effect.logInfo("listening to the database again")
    }
    return yield* ended
  }).pipe(Effect.scoped)
  return attempt.pipe(
    Effect.tapError((failure) => {
      const isNews = !isDeaf
      isDeaf = true
      return isNews
        ? Effect.logWarning(`not listening to the database: ${failure.detail}; looking every second instead`)
        : Effect.void
    }),
    Effect.retry(backOff),
    // The schedule never ends.
    Effect.ignore,
    Effect.annotateLogs({ package: "effect-tape", module: "PostgresStore" }),
    Effect.interruptible,
    Effect.forkScoped,
    Effect.asVoid
  )
}

const backOff = Schedule.exponential("50 millis").pipe(
  Schedule.union(Schedule.spaced("2 seconds")),
  Schedule.jittered,
  Schedule.resetAfter("10 seconds")
)

const connect = (url: string): Effect.Effect<pg.Client, Failure, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<pg.Client, Failure>((resume) => {
      const client = Pool.client(url)
      client.on("error", () => {})
      client.connect((error: unknown) => {
        resume(error === null || error === undefined ? Effect.succeed(client) : Effect.fail(failureOf(error)))
      })
    }),
    (client) => Effect.sync(() => client.end(() => {}))
  )

/** Fails when the connection ends, from now on. */
const endOf = (client: pg.Client): Effect.Effect<never, Failure> => {
  let over = false
  let report: (() => void) | undefined
  client.on("end", () => {
    over = true
    report?.()
  })
  const gone = Effect.fail(failureOf(new Error("the connection was closed")))
  return Effect.async((resume) => {
    report = () => resume(gone)
    if (over) {
      report()
    }
  })
}

const query = (client: pg.Client, sql: string): Effect.Effect<void, Failure> =>
  Effect.async((resume) => {
    client.query(sql, (error: unknown) => {
      resume(error === null || error === undefined ? Effect.void : Effect.fail(failureOf(error)))
    })
  })
