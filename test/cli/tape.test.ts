import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import * as Client from "../../src/Client.js"

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

interface Started {
  readonly kill: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** The first line on standard output. */
  readonly ready: Effect.Effect<string>
  readonly ended: Effect.Effect<Ended>
}

/** Starts `tape`, killed with the scope; its environment has no TAPE_ variable but the given ones. */
const tape = (args: ReadonlyArray<string>, env: { readonly [name: string]: string } = {}) =>
  Effect.gen(function* () {
    const ready = yield* Deferred.make<string>()
    const ended = yield* Deferred.make<Ended>()
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TAPE_")))
    const child: ChildProcess = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [main, ...args], { env: { ...inherited, ...env }, stdio: ["ignore", "pipe", "pipe"] })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    let stdout = ""
    let stderr = ""
    child.stdout?.on("data", (data: Buffer) => {
      stdout += data.toString()
      if (stdout.includes("\n")) Deferred.unsafeDone(ready, Effect.succeed(stdout.slice(0, stdout.indexOf("\n"))))
    })
    child.stderr?.on("data", (data: Buffer) => {
      stderr += data.toString()
    })
    child.on("close", (code) => {
      Deferred.unsafeDone(ended, Effect.succeed({ code, stdout, stderr }))
    })
    const started: Started = {
      kill: (signal) => Effect.sync(() => child.kill(signal)),
      ready: Deferred.await(ready),
      ended: Deferred.await(ended)
    }
    return started
  })

const run = (args: ReadonlyArray<string>, env?: { readonly [name: string]: string }) =>
  Effect.flatMap(tape(args, env), ({ ended }) => ended)

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "tape-cli-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const addressOf = (line: string): string => /^tape listening on (\S+) \(/.exec(line)?.[1] ?? assert.fail(line)

describe("tape", () => {
  it.scopedLive("--help and --version answer on standard output", () =>
    Effect.gen(function* () {
      const help = yield* run(["serve", "--help"])
      assert.deepStrictEqual({ code: help.code, stderr: help.stderr }, { code: 0, stderr: "" })
      for (const word of ["--listen", "--store", "$TAPE_LISTEN", "$TAPE_STORE"]) assert.include(help.stdout, word)
      const version = yield* run(["--version"])
      assert.deepStrictEqual({ ...version, stdout: version.stdout.trim() }, { code: 0, stdout: "0.1.0", stderr: "" })
    })
  )

  const mistakes: ReadonlyArray<readonly [args: ReadonlyArray<string>, code: number, says: RegExp]> = [
    [["serv"], 2, /serve/],
    [["serve", "--bogus"], 2, /unknown argument: '--bogus'/],
    [
      ["serve", "--listen", "here", "--store", "memory:"],
      2,
      /cannot listen on "here": it is neither host:port nor unix:path/
    ],
    [["serve", "--listen", "127.0.0.1:99999", "--store", "memory:"], 2, /neither host:port/],
    [["serve", "--store", "https://x"], 2, /https:\/\/ is not a scheme of tapes/],
    [["serve", "--store", "tape://x"], 2, /it names a server, and a store is needed/],
    [["serve", "--listen", "127.0.0.1:0", "--store", "sqlite:/no/such/folder/t.db"], 1, /\/no\/such\/folder/],
    [["serve", "--listen", "127.0.0.1:0", "--store", "sqlite:/proc"], 1, /\/proc/]
  ]
  for (const [args, code, says] of mistakes) {
    it.scopedLive(`${args.join(" ")}: one sentence and exit ${code}`, () =>
      Effect.gen(function* () {
        const ended = yield* run(args)
        assert.strictEqual(ended.code, code, ended.stderr)
        assert.strictEqual(ended.stdout, "")
        assert.match(ended.stderr, /^tape: [^\n]+\n$/)
        assert.match(ended.stderr, says)
        assert.notMatch(ended.stderr, /\n\s+at |node:/)
        assert.notInclude(ended.stderr, "\u001b")
      })
    )
  }

  it.scopedLive("serve with a port that is taken: one sentence and exit 1", () =>
    Effect.gen(function* () {
      const port = yield* Effect.async<number>((resume) => {
        const server = createServer().listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
        server.unref()
      })
      const ended = yield* run(["serve", "--listen", `127.0.0.1:${port}`, "--store", "memory:"])
      assert.deepStrictEqual(ended, {
        code: 1,
        stdout: "",
        stderr: `tape: cannot listen on 127.0.0.1:${port}: the address is already in use\n`
      })
    })
  )

  it.scopedLive("serve says once that it is ready, answers calls, and stops on SIGTERM with exit 0", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const server = yield* tape(["serve", "--listen", "127.0.0.1:0", "--store", `sqlite:${path}/tape.db`])
      const line = yield* server.ready
      assert.match(line, /^tape listening on 127\.0\.0\.1:[1-9][0-9]* \(sqlite:.*tape\.db\)$/)
      const client = yield* Client.makeGrpc({ url: `tape://${addressOf(line)}` })
      const { runId } = yield* client.beginRun({ appName: "a", userId: "u", sessionId: "s", invocationId: "i" })
      assert.notStrictEqual(runId, "")
      yield* server.kill("SIGTERM")
      const ended = yield* server.ended
      assert.deepStrictEqual(ended, { code: 0, stdout: `${line}\n`, stderr: "" })
    })
  )

  it.scopedLive("serve takes its settings from the environment, and stops on SIGINT with a stream open", () =>
    Effect.gen(function* () {
      const server = yield* tape(["serve"], { TAPE_LISTEN: "127.0.0.1:0", TAPE_STORE: "memory:" })
      const client = yield* Client.makeGrpc({ url: `tape://${addressOf(yield* server.ready)}` })
      const first = yield* Deferred.make<void>()
      yield* client.beginRun({ appName: "a", userId: "u", sessionId: "s", invocationId: "i" })
      const reader = yield* Effect.fork(
        Stream.runForEach(client.subscribeEvents({}), () => Deferred.succeed(first, undefined))
      )
      yield* Deferred.await(first)
      yield* server.kill("SIGINT")
      const error = yield* Effect.flip(Fiber.join(reader))
      assert.strictEqual(error._tag, "Unavailable")
      const ended = yield* server.ended
      assert.strictEqual(ended.code, 0)
      assert.strictEqual(ended.stderr, "")
    })
  )

  it.scopedLive("serve on a unix socket starts again over the file that a killed server left", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const args = ["serve", "--listen", `unix:${path}/tape.sock`, "--store", "memory:"]
      const first = yield* tape(args)
      yield* first.ready
      const second = yield* run(args)
      assert.strictEqual(second.code, 1)
      assert.match(second.stderr, /already in use/)
      yield* first.kill("SIGKILL")
      yield* first.ended
      const third = yield* tape(args)
      assert.strictEqual(yield* third.ready, `tape listening on unix:${path}/tape.sock (memory:)`)
      const client = yield* Client.makeGrpc({ url: `unix:${path}/tape.sock` })
      assert.deepStrictEqual((yield* client.listRunsToRecover({})).runs, [])
    })
  )
})
