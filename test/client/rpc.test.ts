import { createServer } from "node:http"
import { builtinModules } from "node:module"
import { fileURLToPath } from "node:url"
import { create } from "@bufbuild/protobuf"
import { FetchHttpClient, Socket } from "@effect/platform"
import { NodeSocket } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Schedule, Scope, Stream } from "effect"
import { Engine } from "effect-tape/engine"
import { build } from "esbuild"
import * as Client from "../../src/Client.js"
import type { TapeError } from "../../src/Errors.js"
import { BudgetStateSchema, EventEntrySchema, RunStateSchema, type Tape } from "../../src/gen/tape/v1/tape_pb.js"
import { type Call, type Handlers, Refusal } from "../../src/Handlers.js"
import { Rpc } from "../../src/rpc/index.js"
import { wire } from "../conformance/index.js"
import { Probe } from "../conformance/Scenario.js"
import { atRest, behaviour } from "./behaviour.js"
import { built, call, handshake, overHttp, overWebSocket, packed, serve, statusOf, unpacked } from "./rpcServers.js"

behaviour("WebSocket", (handlers, options) =>
  Effect.flatMap(serve(handlers), (address) => overWebSocket(address, options))
)

const answers = {
  getRun: ({ runId }) => Effect.succeed(create(RunStateSchema, { runId })),
  chargeBudget: ({ runId }) => Effect.succeed(create(BudgetStateSchema, { runId }))
} satisfies Partial<Handlers<typeof Tape>>

const once = { retry: Schedule.stop } as const

describe("the client over WebSocket", () => {
  it.scopedLive("reaches a server that is restarted: Unavailable at first, then as before", () =>
    Effect.gen(function* () {
      const first = yield* Scope.make()
      const begun = yield* Deferred.make<void>()
      const hang = Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
      const address = yield* Scope.extend(serve({ ...answers, endRun: () => hang }), first)
      const tape = yield* overWebSocket(address)
      const impatient = yield* overWebSocket(address, once)
      assert.strictEqual((yield* tape.getRun({ runId: "a" })).runId, "a")
      const underWay = yield* Effect.fork(Effect.flip(tape.endRun({ runId: "a" })))
      yield* Deferred.await(begun)
      yield* Scope.close(first, Exit.void)
      assert.include(yield* Fiber.join(underWay), { _tag: "Unavailable", maybeApplied: true })
      const down = yield* Effect.flip(impatient.chargeBudget({ runId: "b" }))
      assert.include(down, { _tag: "Unavailable", maybeApplied: false })
      assert.strictEqual(down.detail, `there is no connection to ws://${address}/rpc`)
      const waiting = yield* Effect.fork(tape.chargeBudget({ runId: "c" }))
      yield* serve(answers, {}, Number(address.split(":")[1]))
      assert.strictEqual((yield* Fiber.join(waiting)).runId, "c")
      assert.strictEqual((yield* tape.getRun({ runId: "d" })).runId, "d")
    })
  )

  it.scopedLive("is made while the server is down; a call then fails at once, and has certainly not left", () =>
    Effect.gen(function* () {
      const tape = yield* overWebSocket("127.0.0.1:1", once)
      for (const call of [tape.getRun({}), tape.endRun({}), Stream.runDrain(tape.subscribeEvents({}))]) {
        const error = yield* Effect.flip<unknown, TapeError, never>(call)
        assert.include(error, { _tag: "Unavailable", maybeApplied: false })
      }
    })
  )

  it.scopedLive("is closed with its scope: open calls and streams, and later ones, fail with Unavailable", () =>
    Effect.gen(function* () {
      const open = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const address = yield* serve({
        subscribeEvents: () => Stream.concat(Stream.make(create(EventEntrySchema)), Stream.never),
        endRun: () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
      })
      const scope = yield* Scope.make()
      const tape = yield* Scope.extend(overWebSocket(address), scope)
      const stream = yield* Effect.fork(
        Stream.runForEach(tape.subscribeEvents({}), () => Deferred.succeed(open, undefined))
      )
      const call = yield* Effect.fork(Effect.flip(tape.endRun({ runId: "r" })))
      yield* Effect.zipRight(Deferred.await(open), Deferred.await(begun))
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(Fiber.join(stream)))._tag, "Unavailable")
      assert.include(yield* Fiber.join(call), { _tag: "Unavailable", maybeApplied: true })
      const later = yield* Effect.flip(tape.endRun({ runId: "r" }))
      assert.include(later, { _tag: "Unavailable", maybeApplied: false, detail: "the client is closed" })
    })
  )

  it.scopedLive("repeats what is not idempotent where the server honours request ids", () =>
    Effect.gen(function* () {
      const seen: Array<string | undefined> = []
      const address = yield* serve(
        {
          ...answers,
          chargeBudget: (_, { metadata }: Call) => {
            seen.push(metadata["tape-request-id"])
            return seen.length < 3
              ? Effect.fail(Refusal.unavailable("not now"))
              : Effect.succeed(create(BudgetStateSchema))
          }
        },
        { responseMetadata: { "tape-request-id": "v1" } }
      )
      const tape = yield* overWebSocket(address, { retry: Schedule.recurs(3) })
      yield* tape.getRun({})
      yield* tape.chargeBudget({})
      assert.strictEqual(seen.length, 3)
      assert.strictEqual(new Set(seen).size, 1)
      assert.match(seen[0] ?? "", /^[0-9a-f-]{36}$/)
    })
  )

  it.scopedLive("names its calls in a page of plain http too, where there is no randomUUID", () =>
    Effect.gen(function* () {
      let id: string | undefined
      const chargeBudget = ({ runId }: { readonly runId: string }, { metadata }: Call) => {
        id = metadata["tape-request-id"]
        return Effect.succeed(create(BudgetStateSchema, { runId }))
      }
      const tape = yield* overWebSocket(yield* serve({ chargeBudget }))
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const plain: unknown = { getRandomValues: (bytes: Uint8Array) => bytes.fill(7) }
          const given = Object.getOwnPropertyDescriptor(globalThis, "crypto") ?? assert.fail("no crypto")
          Object.defineProperty(globalThis, "crypto", { value: plain, configurable: true })
          return given
        }),
        (given) => Effect.sync(() => Object.defineProperty(globalThis, "crypto", given))
      )
      assert.strictEqual((yield* tape.chargeBudget({ runId: "r" })).runId, "r")
      assert.strictEqual(id, "07".repeat(16))
    })
  )

  it.scopedLive("refuses an answer that is larger than it takes", () =>
    Effect.gen(function* () {
      const runId = "x".repeat(2_000)
      const address = yield* serve({ getRun: () => Effect.succeed(create(RunStateSchema, { runId })) })
      const tape = yield* overWebSocket(address, { maxMessageBytes: 1_000 })
      assert.strictEqual((yield* Effect.flip(tape.getRun({})))._tag, "ResourceExhausted")
    })
  )

  it.scopedLive("cuts what a handler gives in one go into pieces: 40 messages of 1 MB in a frame each", () =>
    Effect.gen(function* () {
      const entries = Array.from({ length: 40 }, (_, i) =>
        create(EventEntrySchema, { seq: BigInt(i), payloadJson: "x".repeat(1_000_000) })
      )
      const address = yield* serve({ subscribeEvents: () => Stream.fromIterable(entries) })
      const frames: Array<number> = []
      const watched = Effect.map(Socket.WebSocketConstructor, (open) => (url: string) => {
        const socket = open(url)
        socket.addEventListener("message", ({ data }: { readonly data: ArrayBuffer }) => frames.push(data.byteLength))
        return socket
      })
      const tape = yield* built(
        Rpc.layerWebSocket({ url: `ws://${address}/rpc` }).pipe(
          Layer.provide(Layer.effect(Socket.WebSocketConstructor, watched)),
          Layer.provide(NodeSocket.layerWebSocketConstructor)
        )
      )
      const seqs = yield* Stream.runCollect(Stream.map(tape.subscribeEvents({}), ({ seq }) => Number(seq)))
      assert.deepStrictEqual([...seqs], [...entries.keys()])
      assert.isBelow(Math.max(...frames), 1_100_000)
    })
  )

  for (const url of ["127.0.0.1:80/rpc", "http://127.0.0.1/rpc", "/rpc", "ws://user:secret@", ""]) {
    it.scoped(`refuses ${url || "an empty URL"} as InvalidUrl`, () =>
      Effect.gen(function* () {
        const layer = Layer.provide(Rpc.layerWebSocket({ url }), NodeSocket.layerWebSocketConstructor)
        const error = yield* Effect.flip(Layer.build(layer))
        assert.strictEqual(error.reason, "NotWeb")
        assert.include(error.message, "begins with ws:// or wss://")
        assert.notInclude(error.message, "secret")
      })
    )
  }
})

describe("the client over HTTP", () => {
  it.scopedLive("calls, with the same errors, metadata and deadlines", () =>
    Effect.gen(function* () {
      const seen: Array<string | undefined> = []
      const stopped = yield* Deferred.make<void>()
      const address = yield* serve({
        ...answers,
        getEffect: (_, { metadata }) => {
          seen.push(metadata["x-one"])
          return Effect.fail(Refusal.precondition("not yet"))
        },
        getValue: () => Effect.onInterrupt(Effect.never, () => Deferred.succeed(stopped, undefined))
      })
      const tape = yield* overHttp(address)
      assert.strictEqual((yield* tape.getRun({ runId: "r" })).runId, "r")
      const error = yield* Effect.flip(tape.getEffect({ runId: "r" }, { metadata: { "x-one": "1" } }))
      assert.strictEqual(error._tag, "PreconditionFailed")
      assert.strictEqual(error.message, 'GetEffect: not yet (run_id "r")')
      assert.deepStrictEqual(seen, ["1"])
      const late = yield* Effect.flip(tape.getValue({ namespace: "n", key: "k" }, { timeout: "100 millis" }))
      assert.strictEqual(late.message, 'GetValue: no answer within 100ms (namespace "n", key "k")')
      yield* Deferred.await(stopped)
      assert.strictEqual((yield* Effect.flip(tape.compactRun({})))._tag, "Unimplemented")
    })
  )

  it.scopedLive("streams: in order, with their error at the end, interrupted at the handler with their reader", () =>
    Effect.gen(function* () {
      const ended = yield* Deferred.make<void>()
      const entries = Stream.map(Stream.range(1, 500), (seq) => create(EventEntrySchema, { seq: BigInt(seq) }))
      const address = yield* serve({
        subscribeEvents: () => Stream.concat(entries, Stream.fail(Refusal.notFound("over"))),
        subscribeRun: () => Stream.ensuring(Stream.never, Deferred.succeed(ended, undefined)),
        subscribeBySubject: () => Stream.concat(Stream.take(entries, 1), Stream.never)
      })
      const tape = yield* overHttp(address)
      const read: Array<number> = []
      const stream = Stream.runForEach(tape.subscribeEvents({}), ({ seq }) => Effect.sync(() => read.push(Number(seq))))
      assert.strictEqual((yield* Effect.flip(stream))._tag, "NotFound")
      assert.deepStrictEqual(
        read,
        Array.from({ length: 500 }, (_, i) => i + 1)
      )
      const first = yield* Stream.runHead(tape.subscribeBySubject({}))
      assert.strictEqual(first._tag, "Some")
      const late = yield* Effect.flip(Stream.runDrain(tape.subscribeRun({}, { timeout: "100 millis" })))
      assert.strictEqual(late._tag, "DeadlineExceeded")
      yield* Deferred.await(ended)
    })
  )

  it.scopedLive("a slow reader stops the producer", () =>
    Effect.gen(function* () {
      let produced = 0
      const payloadJson = "x".repeat(100_000)
      const address = yield* serve({
        subscribeEvents: () =>
          Stream.map(Stream.rechunk(Stream.range(1, 2_000), 1), (seq) => {
            produced = seq
            return create(EventEntrySchema, { seq: BigInt(seq), payloadJson })
          })
      })
      const tape = yield* overHttp(address)
      const reader = yield* Effect.fork(Stream.runForEach(tape.subscribeEvents({}), () => Effect.never))
      yield* atRest(() => produced)
      assert.isBelow(produced, 1_000)
      yield* Fiber.interrupt(reader)
    })
  )

  it.scopedLive("says what a server that is no tape, or none, answers", () =>
    Effect.gen(function* () {
      const address = yield* serve(answers)
      const elsewhere = yield* built(
        Layer.provide(Rpc.layerHttp({ url: `http://${address}/other` }), FetchHttpClient.layer)
      )
      assert.strictEqual((yield* Effect.flip(elsewhere.getRun({})))._tag, "Unimplemented")
      for (const body of ["", "<html>", packed({ _tag: "Pong" })]) {
        const site = createServer((_, response) => response.end(body))
        yield* Effect.acquireRelease(
          Effect.async<void>((resume) => {
            site.listen(0, "127.0.0.1", () => resume(Effect.void))
          }),
          () => Effect.sync(() => site.close().closeAllConnections())
        )
        const at = site.address()
        const noTape = yield* overHttp(`127.0.0.1:${typeof at === "object" ? at?.port : at}`, once)
        const error = yield* Effect.flip(noTape.endRun({}))
        assert.include(error, { _tag: "Unavailable", maybeApplied: true })
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(noTape.subscribeEvents({}))))._tag, "Unavailable")
      }
      const nowhere = yield* overHttp("127.0.0.1:1", once)
      const error = yield* Effect.flip(nowhere.endRun({}))
      assert.include(error, { _tag: "Unavailable", maybeApplied: true })
    })
  )
})

describe("the server of rpc", () => {
  const origins: ReadonlyArray<readonly [what: string, headers: { readonly [name: string]: string }, ok: boolean]> = [
    ["no page at all", {}, true],
    ["a page of another site", { origin: "https://evil.example" }, false],
    ["a page without an origin", { origin: "null" }, false],
    ["a listed page", { origin: "https://inspector.example" }, true],
    ["a page of a listed site on another port", { origin: "https://inspector.example:8443" }, false],
    ["a page of this server", { origin: "http://127.0.0.1:1", host: "127.0.0.1:1" }, true],
    ["a page of this server by the name localhost", { origin: "http://localhost:1", host: "localhost:1" }, true],
    ["a page whose name was made to mean this server", { origin: "http://evil.example", host: "evil.example" }, false]
  ]
  for (const [what, headers, ok] of origins) {
    it.scopedLive(`${ok ? "takes" : "refuses"} calls from ${what}`, () =>
      Effect.gen(function* () {
        const address = yield* serve(answers, { origins: ["https://inspector.example"] })
        const type = { "content-type": "application/msgpack" }
        assert.strictEqual(yield* statusOf(address, "GET", { ...handshake, ...headers }), ok ? 101 : 403)
        const body = call("1", "getRun", new Uint8Array())
        assert.strictEqual(yield* statusOf(address, "POST", { ...type, ...headers }, body), ok ? 200 : 403)
        assert.strictEqual(yield* statusOf(address, "OPTIONS", headers), ok ? 204 : 403)
      })
    )
  }

  it.scopedLive("refuses over HTTP what is no call, by its status", () =>
    Effect.gen(function* () {
      const address = yield* serve(answers, { maxMessageBytes: 1_000 })
      const type = { "content-type": "application/msgpack" }
      const post = (body: Uint8Array, headers: { readonly [name: string]: string } = type) =>
        statusOf(address, "POST", headers, body)
      assert.strictEqual(yield* post(call("1", "getRun", new Uint8Array())), 200)
      assert.strictEqual(yield* post(call("1", "getRun", new Uint8Array()), { "content-type": "text/plain" }), 415)
      for (const body of [
        new Uint8Array(),
        new Uint8Array([0xc1, 0xff, 0x93]),
        new TextEncoder().encode("hello"),
        packed({ _tag: "Ping" }),
        packed(null),
        call("1", "getRun", "text"),
        call("x", "getRun", new Uint8Array()),
        call("1", "getRun", new Uint8Array(), [["a b", "c"]]),
        call("1", "getRun", new Uint8Array()).subarray(0, 20)
      ]) {
        assert.strictEqual(yield* post(body), 400)
      }
      assert.strictEqual(yield* post(new Uint8Array(100_000)), 413)
      // one that does not say how long it is: cut off when it has become too long
      const chunked = yield* post(new Uint8Array(100_000), { ...type, "transfer-encoding": "chunked" })
      assert.include([0, 413], chunked)
      assert.strictEqual(yield* statusOf(address, "GET", {}), 426)
      assert.strictEqual(yield* statusOf(address, "GET", { ...handshake, "sec-websocket-key": "short" }), 426)
      assert.strictEqual(yield* post(call("1", "getRun", new Uint8Array())), 200)
    })
  )

  it.scopedLive("answers over WebSocket what it does not understand, and serves its other callers on", () =>
    Effect.gen(function* () {
      const address = yield* serve(answers, { maxMessageBytes: 1_000 })
      const tape = yield* overWebSocket(address)
      const replies: Array<unknown> = []
      const socket = yield* Socket.makeWebSocket(`ws://${address}/rpc`)
      const open = yield* Deferred.make<void>()
      const closed = yield* Effect.fork(
        Effect.exit(
          socket.run((bytes) => Effect.sync(() => replies.push(...unpacked(bytes))), {
            onOpen: Deferred.succeed(open, undefined)
          })
        )
      )
      const write = yield* socket.writer
      yield* Deferred.await(open)
      const asked = (frame: Uint8Array | string) =>
        Effect.suspend(() => {
          const before = replies.length
          return write(frame).pipe(
            Effect.zipRight(
              Effect.repeat(Effect.sleep("2 millis"), {
                until: () => replies.length > before,
                schedule: Schedule.forever
              })
            ),
            Effect.timeout("5 seconds"),
            Effect.map(() => replies.at(-1))
          )
        })
      for (const frame of [
        "hello",
        new Uint8Array([0xc1]),
        new Uint8Array([1, 2, 3]),
        packed(null),
        packed({ _tag: "Nonsense" }),
        call("1", "getRun", "text"),
        call("1", "getRun", new Uint8Array(), null),
        call("1", "getRun", new Uint8Array()).subarray(0, 20)
      ]) {
        assert.propertyVal(yield* asked(frame), "_tag", "Defect")
      }
      assert.deepNestedInclude(yield* asked(call("7", "toString", new Uint8Array())), {
        _tag: "Exit",
        requestId: "7",
        "exit._tag": "Failure",
        "exit.cause.error._tag": "Unimplemented"
      })
      assert.deepNestedInclude(yield* asked(call("8", "getRun", new Uint8Array([0xff, 0xff]))), {
        _tag: "Exit",
        requestId: "8",
        "exit._tag": "Failure"
      })
      assert.deepNestedInclude(yield* asked(call("9", "getRun", new Uint8Array())), { "exit._tag": "Success" })
      assert.deepStrictEqual(yield* asked(packed({ _tag: "Ping" })), { _tag: "Pong" })
      yield* write(new Uint8Array(100_000))
      const exit = yield* Fiber.join(closed)
      assert.include(String(exit), "1009")
      assert.strictEqual((yield* tape.getRun({ runId: "still" })).runId, "still")
    }).pipe(Effect.provide(NodeSocket.layerWebSocketConstructor))
  )

  it.scopedLive("lets so many streams be open on one connection, and no more", () =>
    Effect.gen(function* () {
      const handlers = {
        ...answers,
        subscribeEvents: () => Stream.concat(Stream.make(create(EventEntrySchema)), Stream.never)
      }
      const tape = yield* overWebSocket(yield* serve(handlers, { maxStreamsPerConnection: 2 }))
      const open = yield* Deferred.make<void>()
      const opening = Stream.runForEach(tape.subscribeEvents({}), () => Deferred.succeed(open, undefined))
      const first = yield* Effect.fork(opening)
      yield* Deferred.await(open)
      yield* Stream.runHead(tape.subscribeEvents({}))
      const many = Effect.all(
        Array.from({ length: 3 }, () => opening),
        { concurrency: "unbounded" }
      )
      assert.strictEqual((yield* Effect.flip(many))._tag, "ResourceExhausted")
      yield* Fiber.interrupt(first)
      assert.strictEqual((yield* tape.getRun({ runId: "r" })).runId, "r")
    })
  )
})

describe("the bundle for a browser", () => {
  it("has no part of Node in it, and nothing of gRPC", async () => {
    const { metafile, outputFiles } = await build({
      stdin: {
        contents: `
          import { Socket } from "@effect/platform"
          import { Effect, Layer, Stream } from "effect"
          import { Client, Rpc, TapeClient } from "effect-tape/rpc"
          const Tape = Rpc.layerWebSocket({ url: "ws://127.0.0.1:7879/rpc" }).pipe(
            Layer.provide(Socket.layerWebSocketConstructorGlobal)
          )
          const program = Effect.flatMap(TapeClient, (tape) => tape.getRun({ runId: "r" })).pipe(
            Effect.zipRight(Stream.runDrain(Client.tailRun({ runId: "r" })))
          )
          Effect.runFork(Effect.provide(program, Tape))`,
        resolveDir: fileURLToPath(new URL(".", import.meta.url))
      },
      alias: { "effect-tape/rpc": fileURLToPath(new URL("../../src/rpc/index.ts", import.meta.url)) },
      bundle: true,
      platform: "browser",
      format: "esm",
      minify: true,
      metafile: true,
      write: false,
      logLevel: "silent"
    })
    const inputs = Object.keys(metafile.inputs)
    const imported = Object.values(metafile.inputs).flatMap(({ imports }) => imports.map(({ path }) => path))
    assert.isTrue(inputs.some((path) => path.endsWith("src/rpc/client.ts")))
    const strange = /@grpc|platform-node|better-sqlite3|(^|\/)pg\/|src\/(engine|server|cli)\/|^node:/
    assert.deepStrictEqual(
      [...inputs, ...imported].filter((path) => strange.test(path) || builtinModules.includes(path)),
      []
    )
    assert.isBelow(outputFiles[0]?.contents.length ?? 0, 1_000_000)
  })
})

describe("the engine over WebSocket", () => {
  const chosen = wire.filter(({ id }) =>
    /^(RUN-01|EFF-0[1-3]|OUT-01|GATE-0[1-3]|EVT-0[1-3]|RCT-01|VAL-01|SES-01|CMP-01)$/.test(id)
  )
  for (const { id, run, title } of chosen) {
    it.scopedLive(`${id} · ${title}`, () =>
      Effect.gen(function* () {
        const address = yield* serve(yield* Engine.Engine, { responseMetadata: Engine.responseMetadata })
        const connect = overWebSocket(address)
        const probe = { connect, asIs: connect }
        yield* run.pipe(Effect.provideService(Client.TapeClient, yield* connect), Effect.provideService(Probe, probe))
      }).pipe(Effect.provide(Engine.layerUrl("memory:")))
    )
  }
})
