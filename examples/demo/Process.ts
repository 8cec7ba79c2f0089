/** Child processes that tell what they do in JSON lines on stdout. */
import { fileURLToPath } from "node:url"
import { Command } from "@effect/platform"
import { Effect, Schema, Stream } from "effect"

/** What the demo's processes say; each line is one of these. */
export const Line = Schema.Union(
  Schema.Struct({ url: Schema.String }),
  Schema.Struct({ booked: Schema.String }),
  Schema.Struct({ run: Schema.String }),
  Schema.Struct({ asked: Schema.String }),
  Schema.Struct({ outcome: Schema.String }),
  Schema.Struct({ done: Schema.String })
)
export type Line = typeof Line.Type

/** Starts one of the demo's programs; it is killed with the scope. */
export const start = (program: string, args: ReadonlyArray<string>, env: { readonly [name: string]: string } = {}) =>
  Effect.gen(function* () {
    const file = fileURLToPath(new URL(`./${program}.js`, import.meta.url))
    const command = Command.make(process.execPath, file, ...args).pipe(Command.env(env), Command.stderr("inherit"))
    const child = yield* Effect.acquireRelease(Command.start(command), (child) =>
      Effect.ignore(Effect.andThen(child.isRunning, (running) => (running ? child.kill("SIGKILL") : Effect.void)))
    )
    const lines = child.stdout.pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.filterMap((line) => Schema.decodeOption(Schema.parseJson(Line))(line))
    )
    return { lines, kill: child.kill("SIGKILL") }
  })
