/** `tape outbox` and `tape reactors`, and what each command answers to a mistake; most of them in this process. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs/promises"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Exit, Fiber, Layer } from "effect"
import { Live, TapeClient } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { EffectDispatchMode, EffectSemantics, EffectStatus, RunStatus } from "effect-tape/proto"
import { GrpcServer } from "effect-tape/server"
import * as Client from "../../src/Client.js"
import { tape } from "../../src/cli/tape.js"
import { eventually } from "../engine/ledgerFixtures.js"
import { temporaryDirectory } from "../support/Harness.js"
import { serve } from "../sys/TapeProcess.js"

const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url))
const other = fileURLToPath(new URL("../support/Harness.ts", import.meta.url))
const loaded = fileURLToPath(new URL("../fixtures/loaded.ts", import.meta.url))

/** What `tape` answers, with nothing in its environment but `env`. */
const run = (args: ReadonlyArray<string>, env: { readonly [name: string]: string } = {}) =>
  Effect.consoleWith((console) => {
    const lines: Array<unknown> = []
    const errors: Array<string> = []
    const captured = {
      ...console,
      log: (text: string) => Effect.sync(() => void lines.push(text.startsWith("{") ? JSON.parse(text) : text)),
      error: (text: string) => Effect.sync(() => void errors.push(text)),
      unsafe: { ...console.unsafe, error: () => undefined }
    }
    return tape(["node", "tape", ...args]).pipe(
      Effect.withConsole(captured),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env)))),
      Effect.map((code) => ({ code, lines, stderr: errors.join("\n") }))
    )
  })

/** A file that no other test knows, and what is done to its tape. */
const file = Effect.map(temporaryDirectory, (folder) => {
  const url = `sqlite:${join(folder, "tape.db")}`
  return { folder, url, on: <A, E>(work: Effect.Effect<A, E, TapeClient>) => Effect.provide(work, Live.layerUrl(url)) }
})

const begin = (invocationId: string, appName = "treasury") =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.beginRun({ appName, userId: "u", sessionId: "s", invocationId, tenantId: "acme", leaseTtlMs: 1n })
  )

const intend = (connector: string) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { runId } = yield* begin(connector)
    const { idempotencyKey } = yield* tape.beginEffect({
      runId,
      decisionIndex: -1n,
      toolName: "wire",
      requestJson: "{}",
      semantics: EffectSemantics.NON_IDEMPOTENT,
      dispatchMode: EffectDispatchMode.OUTBOX,
      connector
    })
    return { runId, idempotencyKey }
  })

describe("tape outbox", () => {
  it.scopedLive("--once sends what is due, prints it in one line, and has nothing to print the next time", () =>
    Effect.gen(function* () {
      const { folder, on, url } = yield* file
      const { idempotencyKey, runId } = yield* on(intend("log"))
      const flags = ["outbox", "--once", "--register-log-connector", "--log-connector-path", `${folder}/out.jsonl`]
      const first = yield* run([...flags, "--url", url])
      assert.deepStrictEqual(first, {
        code: 0,
        stderr: "",
        lines: [
          {
            outbox: [
              {
                _tag: "confirmed",
                run_id: runId,
                idempotency_key: idempotencyKey,
                connector: "log",
                tool: "wire",
                observed: false
              }
            ]
          }
        ]
      })
      const written = JSON.parse(yield* Effect.promise(() => Fs.readFile(`${folder}/out.jsonl`, "utf8")))
      assert.deepInclude(written.body, { tenant_id: "acme", app_name: "treasury", run_id: runId })
      assert.deepStrictEqual(yield* run(flags, { TAPE_URL: url }), { code: 0, stderr: "", lines: [] })
    })
  )

  it.scopedLive("--connector leaves other effects alone; --load brings connectors and tools of a program", () =>
    Effect.gen(function* () {
      const { on, url } = yield* file
      const bank = yield* on(intend("bank"))
      yield* on(intend("log"))
      const flags = ["outbox", "--once", "--url", url, "--load", loaded, "--http", "log=http://127.0.0.1:1"]
      const { lines } = yield* run([...flags, "--connector", "bank"])
      assert.deepInclude(lines, {
        outbox: [
          {
            _tag: "confirmed",
            run_id: bank.runId,
            idempotency_key: bank.idempotencyKey,
            connector: "bank",
            tool: "wire",
            external_ref: "W-1 of acme",
            observed: false
          }
        ]
      })
      const { obligations } = yield* on(
        Effect.flatMap(TapeClient, (tape) => tape.listObligations({ runId: bank.runId }))
      )
      assert.deepStrictEqual(
        obligations.map(({ kind }) => kind),
        ["wire"]
      )
    })
  )

  it.scopedLive("PAR-01 · --once as a process: one effect of a tape serve is CONFIRMED, one line is in the log", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryDirectory
      const server = yield* serve(join(folder, "tape.db"))
      const { runId } = yield* Effect.provideService(begin("parity"), TapeClient, server.tape)
      yield* server.tape.recordDecision({ runId, decisionIndex: 0n, model: "parity" })
      const { idempotencyKey, status } = yield* server.tape.beginEffect({
        runId,
        decisionIndex: 0n,
        toolName: "log_dispatch",
        requestJson: '{"hello":"parity"}',
        semantics: EffectSemantics.NON_IDEMPOTENT,
        dispatchMode: EffectDispatchMode.OUTBOX,
        businessKey: runId,
        connector: "log"
      })
      assert.strictEqual(status, EffectStatus.PENDING)
      const child = spawn(process.execPath, [main, "outbox", "--once", "--register-log-connector"], {
        cwd: folder,
        env: { PATH: process.env["PATH"], TAPE_URL: `tape://${server.address}` },
        stdio: "ignore"
      })
      assert.deepStrictEqual(yield* Effect.promise(() => once(child, "exit")), [0, null])
      const { effect } = yield* server.tape.getEffect({ runId, idempotencyKey })
      assert.strictEqual(effect?.status, EffectStatus.CONFIRMED)
      const [line, ...more] = (yield* Effect.promise(() => Fs.readFile(`${folder}/tape-outbox.jsonl`, "utf8"))).split(
        "\n"
      )
      assert.deepStrictEqual(more, [""])
      assert.deepInclude(JSON.parse(line ?? "").body, {
        run_id: runId,
        business_key: runId,
        payload: { hello: "parity" }
      })
    })
  )

  it.scopedLive("as a process: says that it is ready, sends what comes, and stops on SIGTERM with exit 0", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryDirectory
      const engine = yield* Layer.build(Engine.layerUrl("memory:"))
      const { url } = yield* Effect.provide(GrpcServer.make({ listen: "127.0.0.1:0", handlers: Engine.Engine }), engine)
      const client = yield* Client.makeGrpc({ url })
      // Not for this daemon: it would be the first to be told.
      yield* Effect.provideService(intend("bank"), TapeClient, client)
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(
            process.execPath,
            [main, "outbox", "--register-log-connector", "--connector", "log", "--interval", "200ms"],
            {
              cwd: folder,
              env: { PATH: process.env["PATH"], TAPE_URL: url, TAPE_DISPATCH_CLAIMER: "sender" },
              stdio: ["ignore", "pipe", "pipe"]
            }
          )
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
      const next = Effect.map(
        Effect.promise(() => lines.next()),
        ({ done, value }) => (done === true ? undefined : JSON.parse(value))
      )
      assert.deepStrictEqual(yield* next, { ready: "outbox", url, connectors: ["log"] })
      const intent = yield* Effect.provideService(intend("log"), TapeClient, client)
      const { outbox } = yield* next
      assert.deepInclude(outbox[0], { _tag: "confirmed", run_id: intent.runId })
      const exit = Effect.promise(() => once(child, "exit"))
      child.kill("SIGTERM")
      assert.deepStrictEqual(yield* exit, [0, null])
      assert.isUndefined(yield* next)
    })
  )
})

describe("tape reactors", () => {
  it.scopedLive("--once takes up runs of loaded apps, and settles what the tape owes", () =>
    Effect.gen(function* () {
      const { on, url } = yield* file
      const seeded = Effect.gen(function* () {
        const tape = yield* TapeClient
        const { runId } = yield* begin("greet", "greet")
        const key = `${runId}/input`
        const effect = { runId, customKey: key, decisionIndex: -1n, toolName: "run.input", requestJson: '"Ada"' }
        yield* tape.beginEffect({ ...effect, semantics: EffectSemantics.OBSERVE_ONLY })
        yield* tape.completeEffect({ runId, idempotencyKey: key, status: EffectStatus.CONFIRMED })
        const owing = yield* begin("owing")
        const owed = { runId: owing.runId, effectKey: "k", kind: "wire" }
        yield* tape.registerCompensation({ ...owed, payloadJson: '{"input":{},"output":null}' })
        yield* tape.endRun({ runId: owing.runId, status: RunStatus.COMPENSATING })
        return { runId, owing: owing.runId }
      })
      const runs = yield* on(seeded)
      const { code, lines, stderr } = yield* run(["reactors", "--once", "--url", url, "--load", loaded])
      assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
      assert.deepInclude(lines, { tick: { recovered: [{ _tag: "finished", run_id: runs.runId, app: "greet" }] } })
      const ticks = JSON.stringify(lines)
      assert.include(ticks, `"compensations":[{"_tag":"compensated","run_id":"${runs.owing}"`)
      const { status } = yield* on(Effect.flatMap(TapeClient, (tape) => tape.getRun({ runId: runs.runId })))
      assert.strictEqual(status, RunStatus.TERMINAL)
    })
  )

  it.scopedLive("says that it is ready, and ticks until it is interrupted", () =>
    Effect.gen(function* () {
      const { url } = yield* file
      const lines: Array<string> = []
      const fiber = yield* Effect.fork(
        Effect.consoleWith((console) =>
          Effect.withConsole(tape(["node", "tape", "reactors", "--url", url, "--no-timers", "--interval", "50ms"]), {
            ...console,
            log: (text: string) => Effect.sync(() => void lines.push(text))
          })
        )
      )
      yield* eventually(
        Effect.sync(() => lines),
        (found) => found.length > 0
      )
      assert.deepStrictEqual(
        lines.map((line) => JSON.parse(line)),
        [{ ready: "reactors", url, reactors: ["reconcile", "obligations"], connectors: [], apps: [] }]
      )
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    })
  )
})

describe("a mistake", () => {
  const log = "--register-log-connector"
  const serving = ["serve", "--store", "memory:"]
  const nothing = { env: {}, code: 2 }
  const mistakes: ReadonlyArray<{
    readonly args: ReadonlyArray<string>
    readonly says: RegExp
    readonly env?: { readonly [name: string]: string }
    readonly code?: number
  }> = [
    { args: ["outbox"], says: /no connector to send effects through: add --http/ },
    { args: ["outbox", log, "--connector", "bank"], says: /there is no connector "bank"; there is log/ },
    { args: ["outbox", "--http", "bank"], says: /--http is name=url/ },
    { args: ["outbox", "--http", "bank=ftp://x"], says: /--http bank: .*not an http\(s\) address/ },
    {
      args: ["outbox", "--http", "bank=http://x", "--http", "bank=http://y"],
      says: /--http names two connectors bank/
    },
    { args: ["outbox", log, "--http"], says: /a value is expected after --http/ },
    { args: ["outbox", log, "--load"], says: /a value is expected after --load/ },
    { args: ["reactors", "--load", ""], says: /a value is expected after --load/ },
    { args: ["reactors", "--load="], says: /a value is expected after --load/ },
    { args: ["serve", "--bogus"], says: /unknown argument: '--bogus'/ },
    { args: [...serving, "--listen", "here"], says: /cannot listen on "here": it is neither host:port nor unix:path/ },
    { args: [...serving, "--listen", "127.0.0.1:99999"], says: /neither host:port/ },
    { args: ["serve", "--store", "https://x"], says: /https:\/\/ is not a scheme of tapes/ },
    { args: ["serve", "--store", "tape://x"], says: /it names a server, and a store is needed/ },
    { args: [...serving, "--listen", "127.0.0.1:0", "--http", "unix:x"], says: /HTTP is served on host:port/ },
    {
      args: [...serving, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-origin", "example"],
      says: /--http-origin example is no origin/
    },
    { args: [...serving, "--http-origin", "https://x"], says: /--http-origin needs --http/ },
    { args: ["outbox", log, "--interval", "soon"], says: /--interval is a duration such as/ },
    { args: ["outbox", log, "--interval", "0s"], says: /--interval is a duration such as/ },
    { args: ["outbox", log, "--max-attempts", "0"], says: /--max-attempts is at least 1/ },
    { args: ["outbox", "--load", "./not-there.js"], says: /cannot load \.\/not-there\.js: / },
    { args: ["outbox", "--load", other], says: /exports none of layer, tools and apps/ },
    { args: ["outbox", log, "--url", "https://x"], says: /https:\/\/ is not a scheme of tapes/ },
    { args: ["outbox", log, "--once", "--url", "sqlite:/no/such/folder/t.db"], says: /no\/such\/folder/, code: 1 },
    { args: ["outbox", log], env: { TAPE_TENANCY: "shared" }, says: /TAPE_TENANCY.*"shared".*trusted_multi_app/ },
    {
      args: ["reactors", "--no-recover", "--no-reconcile", "--no-timers", "--no-compensations"],
      says: /nothing is left to do/
    }
  ]
  for (const { args, code, env, says } of mistakes.map((mistake) => ({ ...nothing, ...mistake }))) {
    it.live(`${args.map((arg) => arg.replace(/^.*\//, "")).join(" ")}: one sentence and exit ${code}`, () =>
      Effect.gen(function* () {
        const ended = yield* run(args, { TAPE_URL: "memory:", ...env })
        assert.deepStrictEqual({ code: ended.code, lines: ended.lines }, { code, lines: [] }, ended.stderr)
        assert.match(ended.stderr, /^tape: [^\n]+$/)
        assert.match(ended.stderr, says)
      })
    )
  }
})
