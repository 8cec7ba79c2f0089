/**
 * The little that `@effect/cli` needs of its platform. No command here reads files, paths or keys through it.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Terminal from "@effect/platform/Terminal"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

export const layer: Layer.Layer<FileSystem.FileSystem | Path.Path | Terminal.Terminal> = Layer.mergeAll(
  FileSystem.layerNoop({}),
  Path.layer,
  Layer.succeed(
    Terminal.Terminal,
    Terminal.Terminal.of({
      columns: Effect.sync(() => process.stdout.columns ?? 80),
      rows: Effect.sync(() => process.stdout.rows ?? 24),
      isTTY: Effect.sync(() => process.stdout.isTTY === true),
      display: (text) => Effect.sync(() => process.stdout.write(text)),
      // nobody is asked anything: what would ask is told that the answer was "quit"
      readInput: Effect.dieMessage("tape asks no questions"),
      readLine: Effect.fail(new Terminal.QuitException())
    })
  )
)
