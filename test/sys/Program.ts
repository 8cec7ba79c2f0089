/** A program of test/fixtures in a process of its own, and its sudden death. */
import { type ChildProcessByStdio, spawn } from "node:child_process"
import { join } from "node:path"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import { Data, Effect } from "effect"

export type Child = ChildProcessByStdio<null, Readable, Readable>

const build = fileURLToPath(new URL("../../.build", import.meta.url))

/** What Node is to run for a program of test/fixtures in one file, as test/setup/compile.ts makes it. */
export const bundled = (program: "dispatcher" | "serve" | "worker"): ReadonlyArray<string> => [
  join(build, "start.cjs"),
  join(build, `${program}.cjs`)
]

const gone = (child: Child): boolean => child.exitCode !== null || child.signalCode !== null

/** Ends the process as a power cut would, and waits until it is gone. */
export const kill = (child: Child): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (gone(child)) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

/** A program ended by itself. */
export class Died extends Data.TaggedError("Died")<{ readonly program: string; readonly output: string }> {
  override get message(): string {
    return `${this.program} ended by itself: ${this.output}`
  }
}

/** Starts a program; `onLine` is told what it says. It is killed with the scope at the latest. */
export const start = (program: "dispatcher" | "worker", args: ReadonlyArray<string>, onLine: (line: string) => void) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(
        (): Child => spawn(process.execPath, [...bundled(program), ...args], { stdio: ["ignore", "pipe", "pipe"] })
      ),
      kill
    ),
    (child) => {
      let rest = ""
      let trouble = ""
      child.stdout.on("data", (chunk: Buffer) => {
        const lines = `${rest}${chunk.toString()}`.split("\n")
        rest = lines.pop() ?? ""
        for (const line of lines) onLine(line)
      })
      child.stderr.on("data", (chunk: Buffer) => {
        trouble += chunk.toString()
      })
      return {
        /** Fails when it is not there any more, without having been killed. */
        kill: Effect.suspend(() => (gone(child) ? Effect.fail(new Died({ program, output: trouble })) : kill(child)))
      }
    }
  )
