import * as Fs from "node:fs"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type ConfigOr, resolve } from "../connectors/options.js"
import { appendText } from "../internal/appendText.js"
import { type Entry, eventIdOf, toJson } from "./entry.js"
import { Rejected, Undelivered } from "./errors.js"
import { make, type Sink } from "./sink.js"

/**
 * Options of the log sink.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogOptions {
  /** `:stderr`, `:stdout`, or a file to append to; its folder is made when missing. Defaults to `:stderr`. */
  readonly path?: string | undefined
}

/**
 * A line of JSON ({@link Entry}) for each entry, to a standard stream or to a file. In a file, lines are synced to disk
 * before they count as accepted; up to 256 of them share one sync, and are repeated together after a crash.
 *
 * Fails with {@link Undelivered} when the file cannot be opened.
 *
 * @since 0.1.0
 * @category constructors
 */
export const log = (options: ConfigOr<LogOptions> = {}): Sink<ConfigError.ConfigError | Undelivered> =>
  make(
    Effect.gen(function* () {
      const { path = ":stderr" } = yield* resolve<LogOptions>(options)
      const target = path === "" ? ":stderr" : path
      const write = writerOf(target)
      const lost = (entry: Entry | undefined) => (error: unknown) =>
        new Undelivered({
          sink: "log",
          eventId: entry === undefined ? "" : eventIdOf(entry),
          detail: `${target} cannot be written: ${sentenceOf(error)}`
        })
      yield* Effect.mapError(write(""), lost(undefined))
      // One writer at a time: lines of several relays do not mix.
      const turn = yield* Effect.makeSemaphore(1)
      return (entries: ReadonlyArray<Entry>) =>
        Effect.forEach(entries, lineOf).pipe(
          Effect.flatMap((lines) => Effect.mapError(turn.withPermits(1)(write(lines.join(""))), lost(entries[0])))
        )
    }),
    { name: "log", batchSize: 256 }
  )

// ---- internal ----

const lineOf = (entry: Entry): Effect.Effect<string, Rejected> =>
  Option.match(toJson(entry), {
    onNone: () => Effect.fail(unwritable("log", entry)),
    onSome: (json) => Effect.succeed(`${json}\n`)
  })

/** An entry that JSON numbers cannot carry. */
export const unwritable = (sink: string, entry: Entry): Rejected =>
  new Rejected({ sink, eventId: eventIdOf(entry), detail: "a number of the entry is beyond 2^53 - 1", fault: "entry" })

const writerOf = (target: string): ((text: string) => Effect.Effect<void, unknown>) => {
  if (target === ":stderr") return (text) => writeAll(2, Buffer.from(text))
  if (target === ":stdout") return (text) => writeAll(1, Buffer.from(text))
  return (text) => appendText(target, text)
}

/** Writes to a standard stream by its number; a pipe that is full for the moment is waited for. */
const writeAll = (stream: 1 | 2, bytes: Uint8Array): Effect.Effect<void, unknown> =>
  bytes.length === 0
    ? Effect.void
    : Effect.flatMap(
        writeSome(stream, bytes).pipe(
          Effect.catchIf(isFull, () => Effect.as(Effect.sleep("10 millis"), 0)),
          Effect.uninterruptible
        ),
        (written) => writeAll(stream, bytes.subarray(written))
      )

const writeSome = (stream: 1 | 2, bytes: Uint8Array): Effect.Effect<number, unknown> =>
  Effect.async((resume) => {
    Fs.write(stream, bytes, (error, written) => resume(error === null ? Effect.succeed(written) : Effect.fail(error)))
  })

const isFull = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "EAGAIN"

const sentenceOf = (error: unknown): string => {
  // tryPromise wraps what the file system said
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  return cause instanceof Error ? cause.message : String(cause)
}
