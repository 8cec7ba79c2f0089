/** A real `tape serve` in a process of its own, and its sudden death. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Data, Deferred, Effect, Schedule } from "effect"
import { Client } from "effect-tape"
import { bundled, type Child, kill } from "./Program.js"

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))

/** The server did not come up. */
export class NotServing extends Data.TaggedError("NotServing")<{ readonly output: string }> {
  override get message(): string {
    return `tape serve did not say where it listens: ${this.output}`
  }
}

const ready = (child: Child): Effect.Effect<string, NotServing> =>
  Effect.async<string, NotServing>((resume) => {
    let output = ""
    const read = (chunk: Buffer) => {
      output += chunk.toString()
      const address = /listening on (127\.0\.0\.1:\d+)[^\n]*\n/.exec(output)?.[1]
      if (address !== undefined) resume(Effect.succeed(address))
    }
    child.stdout.on("data", read)
    child.stderr.on("data", (chunk: Buffer) => {
      output += chunk.toString()
    })
    child.once("exit", () => resume(Effect.fail(new NotServing({ output }))))
  }).pipe(Effect.timeoutFail({ duration: "20 seconds", onTimeout: () => new NotServing({ output: "nothing" }) }))

/** Which program serves: `tape serve`, or the same engine and server without a command line, which is up sooner. */
export type Program = "tape serve" | "lean"

const commandOf = (program: Program, file: string): ReadonlyArray<string> =>
  program === "lean"
    ? [...bundled("serve"), `sqlite:${file}`]
    : [main, "serve", "--listen", "127.0.0.1:0", "--store", `sqlite:${file}`]

/**
 * A server on the file, and a client that repeats nothing by itself. The server is killed with the scope at the latest;
 * `died` waits for its end, and gives its last line.
 */
export const serve = (file: string, program: Program = "tape serve") =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(
        (): Child => spawn(process.execPath, commandOf(program, file), { stdio: ["ignore", "pipe", "pipe"] })
      ),
      kill
    )
    const died = yield* Deferred.make<string>()
    let said = ""
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString()
    })
    child.once("close", () => Deferred.unsafeDone(died, Effect.succeed(said.trimEnd().split("\n").at(-1) ?? "")))
    const address = yield* ready(child)
    const tape = yield* Client.makeGrpc({ url: `tape://${address}`, retry: Schedule.stop })
    return { address, tape, kill: kill(child), died: Deferred.await(died) }
  })
