/**
 * Opening a SQLite file as a tape: checked, durable, migrated, with one connection that writes and one that reads. What is
 * private is in memory.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import Database from "better-sqlite3"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { StoreError } from "../../StoreError.js"
import type { Durability } from "../Store.js"
import { migrations } from "./migrations.js"

export interface SqliteFile {
  readonly writer: Database.Database
  /** The same, where the tape is in memory: no two transactions are open at a time. */
  readonly reader: Database.Database
  /** Whether other processes may write to the file. */
  readonly isShared: boolean
  readonly failed: (cause: unknown) => StoreError
  readonly error: (reason: StoreError["reason"], detail: string) => StoreError
}

/** `tape` in ASCII, in the file's header: tells our files from other programs'. */
const applicationId = 0x74617065

/** The files that this process has open: SQLite's locks do not guard a process against itself. */
const openFiles = new Set<string>()

const full = 2

export const open = (
  url: string,
  busyRetries: Schedule.Schedule<unknown>
): Effect.Effect<SqliteFile, StoreError, Scope.Scope> =>
  Effect.gen(function* () {
    const error: SqliteFile["error"] = (reason, detail) => new StoreError({ reason, url, detail })
    const failed = (cause: unknown) => fromSqlite(url, cause)
    if (isMemory(url)) {
      const db = yield* connect(":memory:", {}, failed)
      yield* Effect.try({ try: () => migrate(db, error), catch: failed })
      return { writer: db, reader: db, isShared: false, failed, error }
    }
    const path = yield* fileOf(url, error)
    yield* reserve(path, error)
    const writer = yield* connect(path, {}, failed)
    const prepare = Effect.try({ try: () => prepareFile(writer, error), catch: failed })
    yield* Effect.retry(prepare, { while: (error) => error.reason === "Busy", schedule: busyRetries })
    const reader = yield* connect(path, { readonly: true, fileMustExist: true }, failed)
    return { writer, reader, isShared: true, failed, error }
  })

/** What the database says of its own durability, on this connection. */
export const durability = (db: Database.Database): Durability => ({
  journalMode: String(db.pragma("journal_mode", { simple: true })),
  synchronous: Number(db.pragma("synchronous", { simple: true }))
})

const isMemory = (url: string): boolean => url === "memory:" || url === "memory" || /^(sqlite:)?:memory:$/.test(url)

const fileOf = (url: string, error: SqliteFile["error"]): Effect.Effect<string, StoreError> =>
  Effect.suspend(() => {
    const given = /^sqlite:(?:\/\/)?(?<path>.+)$/.exec(url)?.groups?.["path"]
    if (given === undefined) {
      return Effect.fail(error("InvalidUrl", "expected sqlite:<path> or memory:"))
    }
    const path = Path.resolve(given)
    const folder = Path.dirname(path)
    if (!Fs.existsSync(folder)) {
      return Effect.fail(error("NotWritable", `the folder ${folder} does not exist`))
    }
    if (!Fs.existsSync(path)) {
      return Effect.succeed(Path.join(Fs.realpathSync(folder), Path.basename(path)))
    }
    return Fs.statSync(path).isDirectory()
      ? Effect.fail(error("NotWritable", `${path} is a folder`))
      : Effect.succeed(Fs.realpathSync(path))
  })

const reserve = (path: string, error: SqliteFile["error"]): Effect.Effect<void, StoreError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => {
      if (openFiles.has(path)) {
        return Effect.fail(error("AlreadyOpen", `this process has ${path} open already; share its layer instead`))
      }
      openFiles.add(path)
      return Effect.void
    }),
    () => Effect.sync(() => openFiles.delete(path))
  )

const connect = (path: string, options: Database.Options, failed: (cause: unknown) => StoreError) =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        // Waiting for a lock would block the thread; callers wait asynchronously instead.
        const db = new Database(path, { ...options, timeout: 0 })
        db.defaultSafeIntegers(true)
        return db
      },
      catch: failed
    }),
    (db) => Effect.sync(() => db.close())
  )

const prepareFile = (db: Database.Database, error: SqliteFile["error"]): void => {
  const owner = Number(db.pragma("application_id", { simple: true }))
  const isEmpty = db.prepare("select 1 from sqlite_master limit 1").get() === undefined
  if (owner !== applicationId && !isEmpty) {
    throw error("NotADatabase", "the file is the database of another program")
  }
  db.pragma("journal_mode = wal")
  db.pragma("synchronous = full")
  const { journalMode, synchronous } = durability(db)
  if (journalMode !== "wal" || synchronous !== full) {
    throw error("NotDurable", `wanted journal_mode wal and synchronous 2, got ${journalMode} and ${synchronous}`)
  }
  migrate(db, error)
}

const migrate = (db: Database.Database, error: SqliteFile["error"]): void => {
  const steps = (): void => {
    const version = Number(db.pragma("user_version", { simple: true }))
    if (version > migrations.length) {
      throw error("SchemaTooNew", `written by a later version (schema ${version}, this one knows ${migrations.length})`)
    }
    migrations.slice(version).forEach((step) => db.exec(step))
    db.pragma(`application_id = ${applicationId}`)
    db.pragma(`user_version = ${migrations.length}`)
  }
  db.transaction(steps).immediate()
}

const fromSqlite = (url: string, cause: unknown): StoreError => {
  if (cause instanceof StoreError) {
    return cause
  }
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  const detail = cause instanceof Error ? cause.message : String(cause)
  return new StoreError({
    reason: reasonOf(code, detail),
    url,
    detail: `${detail}${code === "" ? "" : ` (${code})`}`,
    cause
  })
}

const reasonOf = (code: string, detail: string): StoreError["reason"] => {
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) {
    return "Busy"
  }
  if (/^SQLITE_(CANTOPEN|READONLY|PERM)/.test(code) || /directory does not exist/.test(detail)) {
    return "NotWritable"
  }
  if (/^SQLITE_(NOTADB|CORRUPT)/.test(code)) {
    return "NotADatabase"
  }
  return code === "SQLITE_FULL" ? "Full" : "Unavailable"
}
