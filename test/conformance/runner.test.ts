import { spawn } from "node:child_process"
import { createServer } from "node:net"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { temporaryDirectory } from "../support/Harness.js"
import { serve } from "../sys/TapeProcess.js"

const main = fileURLToPath(new URL("../../.build/conformance.cjs", import.meta.url))

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** What `npm run conformance --` runs, once all is compiled. */
const conformance = (...args: ReadonlyArray<string>) =>
  Effect.async<Ended>((resume) => {
    const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] })
    let [stdout, stderr] = ["", ""]
    child.stdout.on("data", (data: Buffer) => (stdout += data.toString()))
    child.stderr.on("data", (data: Buffer) => (stderr += data.toString()))
    child.once("close", (code) => resume(Effect.succeed({ code, stdout, stderr })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const closedPort = Effect.async<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

describe("npm run conformance", () => {
  it.scopedLive("prints a line for each scenario against a server, and a summary", () =>
    Effect.gen(function* () {
      const { address } = yield* serve(join(yield* temporaryDirectory, "tape.db"))
      const { code, stderr, stdout } = yield* conformance(
        "--url",
        `tape://${address}`,
        "--only",
        "RUN-01",
        "--only",
        "VAL"
      )
      assert.strictEqual(stderr, "")
      assert.strictEqual(code, 0)
      assert.match(stdout, /^RUN-01 +P0 +pass +\d+ ms  a first BeginRun/m)
      assert.match(stdout, /^VAL-05 +P0 +pass /m)
      assert.notInclude(stdout, "RUN-02")
      assert.match(stdout, /\n\n8 of 8 scenarios passed\n$/)
    })
  )

  it.scopedLive("says in one sentence why nothing was run", () =>
    Effect.gen(function* () {
      const port = yield* closedPort
      const table: ReadonlyArray<readonly [args: ReadonlyArray<string>, says: RegExp]> = [
        [
          ["--url", `tape://127.0.0.1:${port}`],
          new RegExp(`^Nothing answers at tape://127\\.0\\.0\\.1:${port}: .+\\.\\n$`)
        ],
        [["--url", "nonsense"], /^cannot use the tape URL "nonsense": .+\n$/],
        [["--url", "sqlite:./tape.db"], /^The suite needs a server: .+\n$/],
        [["--url", "tape://127.0.0.1:1", "--only", "NOPE-1"], /^There is no scenario and no section "NOPE-1"\.\n$/]
      ]
      const all = yield* Effect.forEach(table, ([args]) => conformance(...args), { concurrency: 2 })
      for (const [nth, { code, stderr, stdout }] of all.entries()) {
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.match(stderr, table[nth]?.[1] ?? /^$/)
      }
    })
  )

  it.scopedLive("--help needs no server", () =>
    Effect.gen(function* () {
      const { code, stdout } = yield* conformance("--help")
      assert.strictEqual(code, 0)
      assert.include(stdout, "--url")
    })
  )
})
