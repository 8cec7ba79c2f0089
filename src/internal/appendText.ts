import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import * as Effect from "effect/Effect"

/** Appends whole lines to a file, and comes back when they are on disk. Its folder is made when missing. */
export const appendText = Effect.fnUntraced(function* (path: string, text: string) {
  yield* Effect.tryPromise(() => Fs.mkdir(Path.dirname(path), { recursive: true }))
  yield* Effect.acquireUseRelease(
    Effect.tryPromise(() => Fs.open(path, "a+")),
    (file) =>
      Effect.gen(function* () {
        // A writer that died in mid-line must not swallow ours.
        const { size } = yield* Effect.tryPromise(() => file.stat())
        const last = Buffer.alloc(1)
        if (size > 0) yield* Effect.tryPromise(() => file.read(last, 0, 1, size - 1))
        const torn = size > 0 && last.toString() !== "\n"
        yield* Effect.tryPromise(() => file.writeFile(`${torn ? "\n" : ""}${text}`))
        yield* Effect.tryPromise(() => file.datasync())
      }),
    (file) => Effect.ignore(Effect.tryPromise(() => file.close()))
  )
}, Effect.uninterruptible)
