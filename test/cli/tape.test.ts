import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { NodeSocket } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Stream } from "effect"
import * as Client from "../../src/Client.js"
import { Rpc } from "../../src/rpc/index.js"

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
  /** The second one. */
  readonly second: Effect.Effect<string>
  readonly ended: Effect.Effect<Ended>
}

/** Starts `tape`, killed with the scope; its environment has no TAPE_ variable but the given ones. */
const tape = (args: ReadonlyArray<string>, env: { readonly [name: string]: string } = {}) =>
  Effect.gen(function* () {
    const ready = yield* Deferred.make<string>()
    const second = yield* Deferred.make<string>()
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
      const [first, next, ...after] = stdout.split("\n")
      if (first !== undefined && next !== undefined) Deferred.unsafeDone(ready, Effect.succeed(first))
      if (next !== undefined && after.length > 0) Deferred.unsafeDone(second, Effect.succeed(next))
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
      second: Deferred.await(second),
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
      for (const word of ["--listen", "--store", "$TAPE_LISTEN", "$TAPE_STORE", "It asks nobody who they are"])
        assert.include(help.stdout, word)
      const version = yield* run(["--version"])
      assert.deepStrictEqual({ ...version, stdout: version.stdout.trim() }, { code: 0, stdout: "0.1.0", stderr: "" })
    })
  )

  // as processes, to see that nothing else is written; daemons.test.ts has the others
  const mistakes: ReadonlyArray<readonly [args: ReadonlyArray<string>, code: number, says: RegExp]> = [
    [["serv"], 2, /serve/],
    [["serve", "--listen", "127.0.0.1:0", "--store", "memory:", "--http", "1.2.3.4:0"], 2, /no such address/],
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

  it.scopedLive(
    "serve --http takes calls over WebSocket beside gRPC, outlives rude callers, and stops with them there",
    () =>
      Effect.gen(function* () {
        const origin = "https://inspector.example"
        const http = ["--http", "127.0.0.1:0", "--http-origin", origin]
        const server = yield* tape(["serve", "--listen", "127.0.0.1:0", "--store", "memory:", ...http])
        const [first, second] = [yield* server.ready, yield* server.second]
        const port = Number(/^tape rpc listening on http:\/\/127\.0\.0\.1:([1-9][0-9]*)\/rpc$/.exec(second)?.[1])
        const overGrpc = yield* Client.makeGrpc({ url: `tape://${addressOf(first)}` })
        const overWebSocket = yield* Effect.provide(
          Client.TapeClient,
          yield* Layer.build(
            Layer.provide(
              Rpc.layerWebSocket({ url: `ws://127.0.0.1:${port}/rpc` }),
              NodeSocket.layerWebSocketConstructor
            )
          )
        )
        const { runId } = yield* overWebSocket.beginRun({
          appName: "a",
          userId: "u",
          sessionId: "s",
          invocationId: "i"
        })
        assert.strictEqual((yield* overGrpc.getRun({ runId })).runId, runId)

        const upgrade = (from: string) =>
          `GET /rpc HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nOrigin: ${from}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`
        /** A caller that says so much, and the first line it hears; it stays, or leaves with a reset at once. */
        const caller = (text: string, stays = true) =>
          Effect.async<string>((resume) => {
            const socket = connect(port, "127.0.0.1", () => {
              socket.write(text)
              if (!stays) socket.resetAndDestroy()
            })
            socket.on("data", (data) => resume(Effect.succeed(String(data).split("\r\n")[0] ?? "")))
            socket.on("error", () => {})
            socket.on("close", () => resume(Effect.succeed("")))
          })
        assert.match(yield* caller(upgrade("https://evil.example")), / 403 /)
        assert.match(yield* caller(upgrade(origin)), / 101 /)
        assert.match(yield* caller("nonsense\r\n\r\n"), / 400 /)
        yield* Effect.forEach(Array.from({ length: 20 }), (_, n) =>
          caller(upgrade(n % 2 === 0 ? origin : "https://evil.example"), false)
        )
        assert.strictEqual((yield* overWebSocket.getRun({ runId })).runId, runId)

        const open = yield* Deferred.make<void>()
        const reader = yield* Effect.fork(
          Stream.runForEach(overWebSocket.subscribeEvents({}), () => Deferred.succeed(open, undefined))
        )
        yield* Deferred.await(open)
        yield* server.kill("SIGTERM")
        assert.strictEqual((yield* Effect.flip(Fiber.join(reader)))._tag, "Unavailable")
        assert.deepStrictEqual(yield* Effect.timeout(server.ended, "5 seconds"), {
          code: 0,
          stdout: `${first}\n${second}\n`,
          stderr: ""
        })
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
