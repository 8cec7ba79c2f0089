import { create } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import * as Grpc from "@grpc/grpc-js"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Redacted, Schedule, Scope, Stream } from "effect"
import * as Client from "../../src/Client.js"
import type { TapeError } from "../../src/Errors.js"
import { Engine } from "../../src/engine/index.js"
import {
  BudgetStateSchema,
  EffectStatus,
  EventEntrySchema,
  RunStateSchema,
  RunStatus
} from "../../src/gen/tape/v1/tape_pb.js"
import type { Call } from "../../src/Handlers.js"
import { Refusal } from "../../src/Handlers.js"
import { GrpcServer } from "../../src/server/index.js"
import { behaviour } from "./behaviour.js"
import { fakeTape } from "./fake.js"
import { journal, selfSigned, startable, swallowing } from "./servers.js"

behaviour("gRPC", (handlers, options) =>
  Effect.gen(function* () {
    const server = yield* GrpcServer.make({ listen: "127.0.0.1:0", handlers: Effect.succeed(fakeTape(handlers)) })
    return yield* Client.makeGrpc({ url: server.url, ...options })
  }).pipe(Effect.orDie)
)

const answers = fakeTape({
  getRun: ({ runId }) => Effect.succeed(create(RunStateSchema, { runId })),
  chargeBudget: ({ runId }) => Effect.succeed(create(BudgetStateSchema, { runId }))
})

describe("the gRPC client", () => {
  it.scopedLive("PAR-02 · begins a run, records a decision and an effect, and reads it back with its response", () =>
    Effect.gen(function* () {
      const engine = yield* Layer.build(Engine.layerUrl("memory:"))
      const { url } = yield* Effect.provide(GrpcServer.make({ listen: "127.0.0.1:0", handlers: Engine.Engine }), engine)
      const tape = yield* Client.makeGrpc({ url })
      const ids = { appName: "quickstart", userId: "u", sessionId: "s", invocationId: "i" }
      const { resumed, runId, status } = yield* tape.beginRun({ ...ids, leaseOwner: "me", leaseTtlMs: 60_000n })
      assert.deepStrictEqual([resumed, status], [false, RunStatus.RUNNING])
      const decision = { runId, decisionIndex: 0n, model: "m", requestJson: "{}", responseJson: '{"plan":0}' }
      assert.deepInclude(yield* tape.recordDecision(decision), { decisionIndex: 0n, responseJson: '{"plan":0}' })
      const intent = {
        runId,
        decisionIndex: 0n,
        toolName: "execute_sweep",
        callIndex: 0,
        requestJson: '{"amount":100}'
      }
      const begun = yield* tape.beginEffect(intent)
      assert.deepInclude(begun, {
        idempotencyKey: `${runId}/decision-0/execute_sweep/0`,
        status: EffectStatus.PENDING
      })
      const key = { runId, idempotencyKey: begun.idempotencyKey }
      const responseJson = '{"wire_id":"w1"}'
      yield* tape.completeEffect({ ...key, status: EffectStatus.CONFIRMED, responseJson })
      const { effect, found } = yield* tape.getEffect(key)
      assert.isTrue(found)
      assert.deepInclude(effect, { seq: begun.seq, status: EffectStatus.CONFIRMED, requestJson: '{"amount":100}' })
      assert.strictEqual(effect?.responseJson, responseJson)
      assert.deepInclude(yield* tape.beginEffect(intent), { status: EffectStatus.CONFIRMED, responseJson })
    })
  )

  it.scopedLive("knows that a call to a server that is down never left, and says so at once", () =>
    Effect.gen(function* () {
      const tape = yield* Client.makeGrpc({ url: "tape://127.0.0.1:1", retry: Schedule.stop })
      for (const call of [tape.getRun({ runId: "r" }), tape.chargeBudget({ runId: "r" })]) {
        const error = yield* Effect.flip<unknown, unknown, never>(call)
        assert.include(error, {
          _tag: "Unavailable",
          maybeApplied: false,
          detail: "No connection established. Last error: Error: connect ECONNREFUSED 127.0.0.1:1"
        })
      }
    })
  )

  it.scopedLive("calls of either kind reach a server that comes back", () =>
    Effect.gen(function* () {
      const server = yield* startable(answers)
      const tape = yield* Client.makeGrpc({ url: server.url })
      const calls = yield* Effect.fork(
        Effect.all([tape.getRun({ runId: "r" }), tape.chargeBudget({ runId: "r" })], { concurrency: 2 })
      )
      yield* Effect.sleep("200 millis")
      yield* server.start
      const [run, budget] = yield* Fiber.join(calls)
      assert.deepStrictEqual([run.runId, budget.runId], ["r", "r"])
      yield* server.kill
      yield* server.start
      assert.strictEqual((yield* tape.getRun({ runId: "again" })).runId, "again")
    })
  )

  it.scopedLive("a call that is lost under way is Unavailable, and may have been applied", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const hang = Effect.zipRight(Deferred.succeed(begun, undefined), Effect.uninterruptible(Effect.never))
      const server = yield* startable(fakeTape({ chargeBudget: () => hang }))
      yield* server.start
      const tape = yield* Client.makeGrpc({ url: server.url })
      const call = yield* Effect.fork(Effect.flip(tape.chargeBudget({ runId: "r" })))
      yield* Deferred.await(begun)
      yield* server.kill
      const error = yield* Fiber.join(call)
      assert.include(error, { _tag: "Unavailable", maybeApplied: true })
    })
  )

  it.scopedLive("sends a request id with what is not idempotent, and repeats it once the server honours ids", () =>
    Effect.gen(function* () {
      const seen: Array<string | undefined> = []
      const flaky = (fails: number) => {
        let left = fails
        return (_: unknown, { metadata }: Call) =>
          Effect.suspend(() => {
            seen.push(metadata["tape-request-id"])
            return left-- > 0 ? Effect.fail(Refusal.unavailable("not now")) : Effect.succeed(create(BudgetStateSchema))
          })
      }
      const getRun = (_: unknown, { metadata }: Call) => {
        seen.push(metadata["tape-request-id"])
        return Effect.succeed(create(RunStateSchema))
      }
      const serve = (responseMetadata: { readonly [key: string]: string }) =>
        Effect.gen(function* () {
          const handlers = Effect.succeed(fakeTape({ chargeBudget: flaky(2), getRun }))
          const server = yield* GrpcServer.make({ listen: "127.0.0.1:0", handlers, responseMetadata })
          return yield* Client.makeGrpc({ url: server.url, retry: Schedule.recurs(3) })
        })

      const plain = yield* serve({})
      yield* plain.getRun({})
      yield* Effect.flip(plain.chargeBudget({}))
      assert.strictEqual(seen.length, 2)
      assert.isUndefined(seen[0])
      assert.match(seen[1] ?? "", /^[0-9a-f-]{36}$/)

      seen.length = 0
      const honouring = yield* serve({ "tape-request-id": "v1" })
      yield* honouring.getRun({})
      yield* honouring.chargeBudget({})
      const [, ...ids] = seen
      assert.strictEqual(ids.length, 3)
      assert.strictEqual(new Set(ids).size, 1)
      yield* honouring.chargeBudget({})
      assert.notStrictEqual(seen.at(-1), ids[0])
    })
  )

  it.scopedLive("is closed with its scope: open streams and later calls fail with Unavailable", () =>
    Effect.gen(function* () {
      const server = yield* GrpcServer.make({
        listen: "127.0.0.1:0",
        handlers: Effect.succeed(
          fakeTape({ subscribeEvents: () => Stream.concat(Stream.make(create(EventEntrySchema)), Stream.never) })
        )
      })
      const scope = yield* Scope.make()
      const tape = yield* Scope.extend(Client.makeGrpc({ url: server.url }), scope)
      const open = yield* Deferred.make<void>()
      const stream = yield* Effect.fork(
        Stream.runForEach(tape.subscribeEvents({}), () => Deferred.succeed(open, undefined))
      )
      yield* Deferred.await(open)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(Fiber.join(stream)))._tag, "Unavailable")
      const [took, later] = yield* Effect.timed(Effect.flip(tape.endRun({ runId: "r" })))
      assert.include(later, { _tag: "Unavailable", maybeApplied: false, detail: "the client is closed" })
      assert.isBelow(Duration.toMillis(took), 1_000)
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(tape.subscribeEvents({}))))._tag, "Unavailable")
      const tail = Effect.provideService(Stream.runDrain(Client.tailEvents({})), Client.TapeClient, tape)
      assert.strictEqual((yield* Effect.flip(tail))._tag, "Unavailable")
    })
  )

  it.scopedLive("a connection that has gone silent is given up: what was under way on it is Unavailable", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const server = yield* GrpcServer.make({
        listen: "127.0.0.1:0",
        handlers: Effect.succeed(
          fakeTape({
            chargeBudget: () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never),
            subscribeEvents: () => Stream.concat(Stream.make(create(EventEntrySchema)), Stream.never)
          })
        )
      })
      const proxy = yield* swallowing(server.address)
      const tape = yield* Client.makeGrpc({ url: proxy.url, keepalive: "250 millis", retry: Schedule.stop })
      const open = yield* Deferred.make<void>()
      const stream = yield* Effect.fork(
        Effect.flip(Stream.runForEach(tape.subscribeEvents({}), () => Deferred.succeed(open, undefined)))
      )
      const call = yield* Effect.fork(Effect.flip(tape.chargeBudget({ runId: "r" })))
      yield* Effect.zipRight(Deferred.await(open), Deferred.await(begun))
      yield* proxy.swallow
      for (const error of yield* Effect.timeout(Fiber.join(Fiber.zip(call, stream)), "5 seconds")) {
        assert.include(error, { _tag: "Unavailable", maybeApplied: true })
      }
    })
  )

  it.scopedLive("lets go of streams whose reader has left", () =>
    Effect.gen(function* () {
      const cancelled: Array<Grpc.ClientReadableStream<unknown>> = []
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const { makeServerStreamRequest } = Grpc.Client.prototype
          Grpc.Client.prototype.makeServerStreamRequest = function (
            this: Grpc.Client,
            ...args: [never, never, never, never]
          ) {
            const made = makeServerStreamRequest.apply(this, args)
            const cancel = made.cancel.bind(made)
            made.cancel = () => {
              cancelled.push(made)
              cancel()
            }
            return made
          } as typeof makeServerStreamRequest
          return makeServerStreamRequest
        }),
        (original) =>
          Effect.sync(() => {
            Grpc.Client.prototype.makeServerStreamRequest = original
          })
      )
      const entries = Stream.map(Stream.range(1, 5_000), (seq) => create(EventEntrySchema, { seq: BigInt(seq) }))
      const handlers = Effect.succeed(fakeTape({ subscribeEvents: () => Stream.concat(entries, Stream.never) }))
      const server = yield* GrpcServer.make({ listen: "127.0.0.1:0", handlers })
      const scope = yield* Scope.make()
      const tape = yield* Scope.extend(Client.makeGrpc({ url: server.url }), scope)
      yield* Stream.runForEach(Stream.take(tape.subscribeEvents({}), 10), () => Effect.sleep("20 millis"))
      assert.strictEqual(cancelled.length, 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(cancelled.length, 1)
    })
  )

  it.scopedLive("resumes its tails when the server was killed: nothing lost, nothing twice", () =>
    Effect.gen(function* () {
      const { append, handlers } = journal()
      const server = yield* startable(handlers)
      yield* server.start
      const total = 600
      const read = [[], [], []] as ReadonlyArray<Array<number>>
      const take = (
        into: number,
        stream: Stream.Stream<{ readonly seq: bigint }, TapeError, Client.TapeClient>
      ): Effect.Effect<void, TapeError, Client.TapeClient> =>
        Stream.runForEach(Stream.take(stream, total), ({ seq }) => Effect.sync(() => read[into]?.push(Number(seq))))
      const tails = yield* Effect.fork(
        Effect.all(
          [
            take(0, Client.tailBySubject({ subjectPattern: "/**" })),
            take(1, Client.tailEvents({ fromTsMs: 1n })),
            take(2, Client.tailRun({ runId: "r" }))
          ],
          { concurrency: "unbounded" }
        ).pipe(Effect.provide(Client.layerGrpc({ url: server.url })))
      )
      for (const round of [1, 2, 3]) {
        yield* append(150)
        // each tail is in the midst of it when the server goes
        yield* Effect.suspend(() => Effect.succeed(read.every(({ length }) => length > 175 * (round - 1) + 10))).pipe(
          Effect.repeat({ until: (amidst) => amidst, schedule: Schedule.spaced("2 millis") })
        )
        yield* server.kill
        yield* append(25)
        yield* server.start
      }
      yield* append(75)
      yield* Fiber.join(tails)
      const expected = Array.from({ length: total }, (_, i) => i + 1)
      assert.deepStrictEqual(read, [expected, expected, expected])
    })
  )

  it.scopedLive(
    "a tail of events keeps to its run and kind, though the server forgets them where it has a cursor",
    () =>
      Effect.gen(function* () {
        const entry = (seq: bigint, runId: string, kind: string) =>
          create(EventEntrySchema, { seq, globalSeq: seq, runId, kind })
        const entries = [entry(1n, "r", "run"), entry(2n, "q", "run"), entry(3n, "r", "gate"), entry(4n, "r", "run")]
        const handlers = fakeTape({
          subscribeEvents: ({ fromGlobalSeq, kind, runId }) =>
            Stream.fromIterable(entries).pipe(
              Stream.filter((entry) =>
                fromGlobalSeq > 0n ? entry.globalSeq > fromGlobalSeq : entry.runId === runId && entry.kind === kind
              ),
              Stream.take(fromGlobalSeq > 0n ? 3 : 1)
            )
        })
        const read = (request: { readonly runId?: string; readonly kind?: string; readonly fromGlobalSeq?: bigint }) =>
          Stream.runCollect(Stream.take(Client.tailEvents(request), 2)).pipe(
            Effect.map((entries) => Array.from(entries, ({ seq }) => seq)),
            Effect.provide(Client.layerHandlers(Effect.succeed(handlers)))
          )
        assert.deepStrictEqual(yield* read({ runId: "r", kind: "run" }), [1n, 4n])
        assert.deepStrictEqual(yield* read({ runId: "r", fromGlobalSeq: 1n }), [3n, 4n])
        assert.deepStrictEqual(yield* read({ fromGlobalSeq: 1n }), [2n, 3n])
      })
  )

  it.scopedLive("a tail fails where resuming cannot help", () =>
    Effect.gen(function* () {
      const handlers = fakeTape({ subscribeRun: () => Stream.fail(Refusal.notFound("no such run")) })
      const error = yield* Effect.flip(Stream.runDrain(Client.tailRun({ runId: "r" }))).pipe(
        Effect.provide(Client.layerHandlers(Effect.succeed(handlers)))
      )
      assert.strictEqual(error._tag, "NotFound")
    })
  )
})

describe("the gRPC client with TLS", () => {
  const tokens: Array<string | undefined> = []
  const handlers = Effect.succeed(
    fakeTape({
      getRun: (_, { metadata }) => {
        tokens.push(metadata["authorization"])
        return metadata["authorization"] === "Bearer old"
          ? Effect.fail(new Refusal({ code: 16, detail: "expired" }))
          : Effect.succeed(create(RunStateSchema, { runId: "r" }))
      }
    })
  )

  it.scopedLive("trusts the authority it is given, and no other", () =>
    Effect.gen(function* () {
      const { certificate, key } = yield* selfSigned
      const server = yield* GrpcServer.make({ listen: "localhost:0", handlers, tls: { certificate, key } })
      assert.match(server.url, /^tapes:\/\/localhost:\d+$/)
      const trusting = yield* Client.makeGrpc({ url: server.url, tls: { ca: certificate } })
      assert.strictEqual((yield* trusting.getRun({})).runId, "r")
      const doubting = yield* Client.makeGrpc({ url: server.url, retry: Schedule.stop })
      const error = yield* Effect.flip(doubting.getRun({}))
      assert.include(error, { _tag: "Unavailable", maybeApplied: false })
      assert.match(error.message, /self.signed/)
    })
  )

  it.scopedLive("shows its certificate where the server wants one", () =>
    Effect.gen(function* () {
      const { certificate, key } = yield* selfSigned
      const server = yield* GrpcServer.make({
        listen: "localhost:0",
        handlers,
        tls: { certificate, key, clientCa: certificate }
      })
      const known = yield* Client.makeGrpc({ url: server.url, tls: { ca: certificate, certificate, key } })
      assert.strictEqual((yield* known.getRun({})).runId, "r")
      const unknown = yield* Client.makeGrpc({ url: server.url, tls: { ca: certificate }, retry: Schedule.stop })
      assert.strictEqual((yield* Effect.flip(unknown.getRun({})))._tag, "Unavailable")
    })
  )

  it.scopedLive("mints a token once for all that wait for it, and another when it is refused", () =>
    Effect.gen(function* () {
      const { certificate, key } = yield* selfSigned
      const server = yield* GrpcServer.make({ listen: "localhost:0", handlers, tls: { certificate, key } })
      let minted = 0
      const token = Effect.delay(
        Effect.sync(() => Redacted.make(minted++ === 0 ? "old" : "new")),
        "20 millis"
      )
      const tape = yield* Client.makeGrpc({ url: server.url, token, tls: { ca: certificate } })
      tokens.length = 0
      const errors = yield* Effect.all(
        Array.from({ length: 5 }, () => Effect.flip(tape.getRun({}))),
        { concurrency: "unbounded" }
      )
      assert.isTrue(errors.every(({ _tag }) => _tag === "Unauthenticated"))
      assert.strictEqual(minted, 1)
      yield* tape.getRun({})
      yield* tape.getRun({})
      assert.strictEqual(minted, 2)
      assert.deepStrictEqual(tokens.slice(-2), ["Bearer new", "Bearer new"])
    })
  )

  it.scopedLive("fails with Unauthenticated where no token can be had, and tries again", () =>
    Effect.gen(function* () {
      let minted = 0
      const token = Effect.suspend(() => Effect.fail({ message: `no identity ${++minted}` }))
      const tape = yield* Client.makeGrpc({ url: "tapes://localhost:1", token })
      for (const attempt of [1, 2]) {
        const error = yield* Effect.flip(tape.getRun({ runId: "r" }))
        assert.strictEqual(error.message, `GetRun: a token could not be minted: no identity ${attempt} (run_id "r")`)
        assert.strictEqual(error._tag, "Unauthenticated")
      }
      const stream = yield* Effect.flip(Stream.runDrain(tape.subscribeEvents({})))
      assert.strictEqual(stream._tag, "Unauthenticated")
    })
  )

  it.scopedLive("fails with Unauthenticated where a token cannot travel, and does not show it", () =>
    Effect.gen(function* () {
      for (const text of ["secret\n", "s\u00e9cret", ""]) {
        for (const token of [Redacted.make(text), Effect.succeed(Redacted.make(text))]) {
          const tape = yield* Client.makeGrpc({ url: "tapes://localhost:1", token, retry: Schedule.stop })
          const error = yield* Effect.flip(tape.getRun({}))
          assert.strictEqual(error._tag, "Unauthenticated")
          assert.strictEqual(error.message, "GetRun: the token cannot be sent: it must be printable ASCII text")
        }
      }
    })
  )

  it.scopedLive("fails with Unavailable where it is closed before a token was minted", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const minting = yield* Deferred.make<void>()
      const token = Effect.zipRight(Deferred.succeed(minting, undefined), Effect.never)
      const tape = yield* Scope.extend(Client.makeGrpc({ url: "tapes://localhost:1", token }), scope)
      const waiting = yield* Effect.fork(Effect.flip(tape.endRun({ runId: "r" })))
      yield* Deferred.await(minting)
      yield* Scope.close(scope, Exit.void)
      const closed = { _tag: "Unavailable", maybeApplied: false, detail: "the client is closed" } as const
      assert.include(yield* Fiber.join(waiting), closed)
      assert.include(yield* Effect.flip(tape.endRun({ runId: "r" })), closed)
      assert.include(yield* Effect.flip(Stream.runDrain(tape.subscribeEvents({}))), closed)
    })
  )

  const refused: ReadonlyArray<readonly [reason: string, options: Client.GrpcOptions]> = [
    ["TokenOnPlaintext", { url: "tape://localhost:1", token: Redacted.make("secret") }],
    ["NotRemote", { url: "sqlite:./x.db" }],
    ["Tls", { url: "tape://localhost:1", tls: { ca: "x" } }],
    ["Tls", { url: "tapes://localhost:1", tls: { ca: "x", certificate: "not PEM", key: Redacted.make("not PEM") } }],
    ["Tls", { url: "tapes://localhost:1", tls: { certificate: "only one half" } }],
    ["Syntax", { url: "https://localhost" }]
  ]
  for (const [reason, options] of refused) {
    it.scopedLive(`refuses ${options.url} as InvalidUrl: ${reason}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(Layer.build(Client.layerGrpc(options)))
        assert.strictEqual(error._tag, "InvalidUrl")
        assert.strictEqual(error.reason, reason)
        assert.notInclude(error.message, "secret")
      })
    )
  }
})
