import { execFile } from "node:child_process"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Data, Effect } from "effect"
import { temporaryDirectory } from "../support/Harness.js"
import { serve } from "../sys/TapeProcess.js"

// the system's, which sees Debian's packages; another one that comes first on the PATH does not
const python = "/usr/bin/python3"
const proto = fileURLToPath(new URL("../../proto", import.meta.url))
const client = fileURLToPath(new URL("client.py", import.meta.url))

class Failed extends Data.TaggedError("Failed")<{ readonly message: string }> {}

const run = (file: string, ...args: ReadonlyArray<string>) =>
  Effect.async<string, Failed>((resume) => {
    const child = execFile(file, args, (error, stdout, stderr) =>
      resume(error === null ? Effect.succeed(stdout) : new Failed({ message: stderr || error.message }))
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** gRPC for Python; as root on a machine with apt it is installed when it is not there. */
const grpcForPython = Effect.gen(function* () {
  const isThere = run(python, "-c", "import grpc, grpc_tools")
  const install = Effect.zipRight(
    run("apt-get", "-qq", "update"),
    run("apt-get", "-qq", "install", "-y", "--no-install-recommends", "python3-grpcio", "python3-grpc-tools")
  )
  yield* isThere.pipe(
    Effect.catchAll(() => Effect.zipRight(install, isThere)),
    Effect.mapError(
      ({ message }) =>
        new Failed({
          message: `This test runs a client in Python. Install its gRPC for ${python}, on Debian with \`apt-get install python3-grpcio python3-grpc-tools\`: ${message}`
        })
    )
  )
})

describe("a client in Python, generated from the proto", () => {
  it.live(
    "begins, decides, acts, completes and watches",
    () =>
      Effect.gen(function* () {
        yield* grpcForPython
        const folder = yield* temporaryDirectory
        const generated = join(folder, "generated")
        mkdirSync(generated)
        const into = [`--python_out=${generated}`, `--grpc_python_out=${generated}`]
        yield* run(python, "-m", "grpc_tools.protoc", `-I${proto}`, ...into, "tape/v1/tape.proto")
        const { address } = yield* serve(join(folder, "tape.db"))
        const { entries, run_id } = JSON.parse(yield* run(python, client, address, generated))
        assert.deepStrictEqual(
          entries.map(({ seq, subject }: { readonly seq: number; readonly subject: string }) => [seq, subject]),
          [
            [1, `/tape/run/running/python/_/_/${run_id}`],
            [2, `/tape/decision/recorded/${run_id}/0`],
            [3, `/tape/effect/pending/pay/${run_id}`],
            [4, `/tape/effect/confirmed/pay/${run_id}`],
            [5, `/tape/run/terminal/python/_/_/${run_id}`]
          ]
        )
      }).pipe(Effect.scoped),
    { timeout: 180_000 }
  )
})
