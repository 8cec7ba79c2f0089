/** A `tape serve` in a process of its own. */
import { fileURLToPath } from "node:url"
import { Command } from "@effect/platform"
import { Effect, Option, Stream } from "effect"

/** Starts a server on a free port and gives its URL; it is stopped with the scope. */
export const serve = (store: string) =>
  Effect.gen(function* () {
    const cli = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url))
    const command = Command.make(process.execPath, cli, "serve", "--listen", "127.0.0.1:0", "--store", store)
    const child = yield* Command.start(Command.stderr(command, "inherit"))
    const ready = yield* child.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.runHead)
    const address = /(?<address>127\.0\.0\.1:\d+)/.exec(Option.getOrElse(ready, () => ""))?.groups?.["address"]
    return address === undefined ? yield* Effect.dieMessage("tape serve did not start") : `tape://${address}`
  })
