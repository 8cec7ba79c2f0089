/**
 * Connections, kept open and given out one at a time.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import pg from "pg"
import { type Failure, failureOf } from "./failure.js"
import { type PreparedNames, type Rows, send } from "./Pipeline.js"
import { type Command, command, prepare } from "./Statement.js"

/** A connection that is ours for a while. */
export interface Session {
  /** Runs the commands in one round trip; the rows of each, in order. */
  readonly run: (commands: ReadonlyArray<Command>) => Effect.Effect<ReadonlyArray<Rows>, Failure>
  /** Sends a last command without waiting: the connection's next user waits for it. */
  readonly finish: (last: Command) => void
}

export interface Pool {
  readonly use: <A, E>(body: (session: Session) => Effect.Effect<A, E>) => Effect.Effect<A, E | Failure>
}

export interface Options {
  /** The most connections at a time. */
  readonly size: number
  /** Whether statements may take as long as they take, as those that change the schema do. Defaults to `false`. */
  readonly isPatient?: boolean
}

/** How long connecting may take. */
const connectMillis = 5_000

const clientConfig = (url: string): pg.ClientConfig => ({
  connectionString: url,
  application_name: "effect-tape",
  connectionTimeoutMillis: connectMillis,
  keepAlive: true,
  keepAliveInitialDelayMillis: 10_000
})

/** A connection of its own, not open yet. Throws what is wrong with the URL. */
export const client = (url: string): pg.Client => new pg.Client(clientConfig(url))

export const make = Effect.fnUntraced(function* (
  url: string,
  { isPatient = false, size }: Options
): Effect.fn.Return<Pool, never, Scope.Scope> {
  // Waiting is done here: the pool's own queue would fail those who wait longer than connecting may take.
  const permits = yield* Effect.makeSemaphore(size)
  const pool = yield* Effect.acquireRelease(
    Effect.sync(() => new pg.Pool({ ...clientConfig(url), max: size, idleTimeoutMillis: 60_000 })),
    (pool) =>
      Effect.timeoutOption(
        Effect.promise(() => pool.end()),
        connectMillis
      )
  )
  // What a dying connection has to say reaches whoever waits for its answer; the pool lets go of it.
  pool.on("error", () => {}).on("connect", (client) => client.on("error", () => {}))
  const prepared = new WeakMap<pg.PoolClient, PreparedNames>()

  const transmit: typeof send = (client, names, commands, answer) =>
    send(client, names, commands, answer, isPatient ? 0 : silenceMillis)

  const namesOf = (client: pg.PoolClient): PreparedNames => {
    const known = prepared.get(client)
    if (known !== undefined) {
      return known
    }
    const names: PreparedNames = new Set()
    prepared.set(client, names)
    // Should it fail, so does what follows.
    transmit(client, names, [command(settings, isPatient ? ["0", "0", "0"] : ["5s", "8s", "20s"])], () => {})
    return names
  }

  const acquire = Effect.async<pg.PoolClient, Failure>((resume) => {
    pool.connect((error, client) => {
      resume(client === undefined ? Effect.fail(failureOf(error)) : Effect.succeed(client))
    })
  })

  return {
    use: <A, E>(body: (session: Session) => Effect.Effect<A, E>) =>
      permits.withPermits(1)(
        Effect.acquireUseRelease(
          acquire,
          (client) => {
            const names = namesOf(client)
            return body({
              run: (commands) =>
                Effect.async((resume) => {
                  transmit(client, names, commands, (error, results) => {
                    resume(error === undefined ? Effect.succeed(results) : Effect.fail(failureOf(error)))
                  })
                }),
              finish: (last) => transmit(client, names, [last], () => {})
            })
          },
          (client) => Effect.sync(() => client.release())
        )
      )
  }
})

/** How long the database may say nothing before a connection counts as lost: longer than any of its own limits. */
const silenceMillis = 30_000

/**
 * What a session needs, whatever the role or the database is set to. Every list has an index that serves it, and an
 * empty table's statistics must not talk the planner out of it. A transaction of a server that stands still is ended
 * before those who wait for its locks give up.
 */
const settings = prepare(
  `select ${Object.entries({
    jit: "'off'",
    enable_seqscan: "'off'",
    enable_hashjoin: "'off'",
    enable_mergejoin: "'off'",
    extra_float_digits: "'1'",
    idle_in_transaction_session_timeout: "$1",
    lock_timeout: "$2",
    statement_timeout: "$3",
    synchronous_commit:
      "case current_setting('synchronous_commit') when 'off' then 'on' else current_setting('synchronous_commit') end"
  })
    .map(([name, value]) => `set_config('${name}', ${value}, false)`)
    .join(", ")}`
)
