import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type ConfigOr, resolve } from "../connectors/options.js"
import { type CursorStore, decode, encode } from "./cursor.js"
import { CursorError } from "./errors.js"

/**
 * Options of the cursor in a file.
 *
 * @since 0.1.0
 * @category cursors
 */
export interface CursorFileOptions {
  /** The file; its folder is made when missing. */
  readonly path: string
}

/**
 * A cursor in a file of its own that holds `{"last_global_seq": n}` and nothing else. It is replaced as a whole (a
 * temporary file beside it, synced, renamed), so that a crash leaves the old one or the new one.
 *
 * One relay to a file: it does not notice another process that uses the same.
 *
 * @since 0.1.0
 * @category cursors
 */
export const cursorFile = (options: ConfigOr<CursorFileOptions>): CursorStore<ConfigError.ConfigError> => ({
  open: () =>
    Effect.gen(function* () {
      const { path } = yield* resolve<CursorFileOptions>(options)
      const text = yield* read(path)
      const position = yield* Effect.transposeMapOption(text, (text) =>
        Effect.mapError(
          decode(text),
          (cause) => new CursorError({ reason: "Damaged", place: path, detail: 'not {"last_global_seq": n}', cause })
        )
      )
      return {
        position: Option.map(position, ({ last_global_seq }) => last_global_seq),
        save: (globalSeq) => replace(path, `${encode(globalSeq)}\n`)
      }
    })
})

// ---- internal ----

/** None when there is no file. */
const read = (path: string): Effect.Effect<Option.Option<string>, CursorError> =>
  Effect.tryPromise({ try: () => Fs.readFile(path, "utf8"), catch: (cause) => cause }).pipe(
    Effect.asSome,
    Effect.catchIf(isMissing, () => Effect.succeedNone),
    Effect.mapError((cause) => trouble("NotReadable", path, cause))
  )

const replace = (path: string, text: string): Effect.Effect<void, CursorError> =>
  Effect.tryPromise({
    try: async () => {
      const folder = Path.dirname(path)
      await Fs.mkdir(folder, { recursive: true })
      const temporary = await Fs.open(`${path}.tmp`, "w")
      try {
        await temporary.writeFile(text)
        await temporary.sync()
      } finally {
        await temporary.close()
      }
      await Fs.rename(`${path}.tmp`, path)
      await syncFolder(folder)
    },
    catch: (cause) => trouble("NotWritable", path, cause)
  }).pipe(Effect.uninterruptible)

/** Makes the new name last; some systems cannot, and need not. */
const syncFolder = async (folder: string): Promise<void> => {
  const opened = await Fs.open(folder, "r").catch(() => undefined)
  await opened?.sync().catch(() => undefined)
  await opened?.close()
}

const isMissing = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "ENOENT"

const trouble = (reason: CursorError["reason"], place: string, cause: unknown): CursorError =>
  new CursorError({ reason, place, detail: cause instanceof Error ? cause.message : String(cause), cause })
