import { create, fromBinary, toBinary } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import * as Grpc from "@grpc/grpc-js"
import { Effect, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { Engine, Store } from "effect-tape/engine"
import { BeginRunResponseSchema, BudgetStateSchema, ChargeBudgetRequestSchema, RunStatus } from "effect-tape/proto"
import { GrpcServer } from "effect-tape/server"
import { RequestIds } from "../../src/engine/store/tables.js"
import { eventually, tapeOverStore as tape } from "./ledgerFixtures.js"

const as = (requestId: string) => ({ metadata: { "tape-request-id": requestId } })

const begin = Effect.flatMap(TapeClient, (tape) => tape.beginRun({ appName: "app" })).pipe(
  Effect.map(({ runId }) => runId)
)

const spent = (runId: string) =>
  Effect.flatMap(TapeClient, (tape) => tape.admitBudget({ runId })).pipe(
    Effect.map(({ budget }) => budget?.tokensSpent)
  )

const kept = Effect.flatMap(Store.Store, (store) => store.read((snapshot) => snapshot.select(RequestIds, "", []))).pipe(
  Effect.map((rows) => rows.map(({ requestId }) => requestId))
)

describe("a call that names itself", () => {
  it.effect("is applied once, and a repeat gets the first answer's bytes", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin
      const charge = (requestId: string) => tape.chargeBudget({ runId, tokens: 5n, usd: 0.1 }, as(requestId))
      const first = yield* charge("one")
      yield* charge("two")
      const again = yield* charge("one")
      assert.deepStrictEqual(toBinary(BudgetStateSchema, again), toBinary(BudgetStateSchema, first))
      assert.strictEqual(again.tokensSpent, 5n)
      assert.strictEqual(yield* spent(runId), 10n)
    }).pipe(Effect.provide(tape))
  )

  it.effect("without a name every call counts", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin
      yield* tape.chargeBudget({ runId, tokens: 5n })
      yield* tape.chargeBudget({ runId, tokens: 5n })
      assert.strictEqual(yield* spent(runId), 10n)
    }).pipe(Effect.provide(tape))
  )

  it.effect("the same name for another request is refused; for another rpc it is another name", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin
      yield* tape.chargeBudget({ runId, tokens: 5n }, as("one"))
      const error = yield* Effect.flip(tape.chargeBudget({ runId, tokens: 6n }, as("one")))
      assert.strictEqual(error._tag, "InvalidRequest")
      assert.strictEqual((yield* tape.cancelTimer({ runId, timerId: "t" }, as("one"))).cancelled, false)
      assert.strictEqual(yield* spent(runId), 5n)
    }).pipe(Effect.provide(tape))
  )

  it.effect("a failure is not kept: the repeat is tried anew", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const write = tape.writeValue({ namespace: "n", key: "k", valueJson: "2", ifVersion: 1n }, as("one"))
      assert.strictEqual((yield* Effect.flip(write))._tag, "Conflict")
      yield* tape.writeValue({ namespace: "n", key: "k", valueJson: "1", ifVersion: 0n })
      assert.strictEqual((yield* write).version, 2n)
      assert.strictEqual((yield* write).version, 2n)
    }).pipe(Effect.provide(tape))
  )

  it.effect("repeats that arrive together are one", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin
      const charge = tape.chargeBudget({ runId, tokens: 5n }, as("one"))
      yield* Effect.all(
        Array.from({ length: 50 }, () => charge),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(yield* spent(runId), 5n)
    }).pipe(Effect.provide(tape))
  )

  it.effect("generated ids are not generated twice, given ones need no name", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin
      const timer = tape.setTimer({ runId, fireAtMs: 1n }, as("timer"))
      assert.strictEqual((yield* timer).timerId, (yield* timer).timerId)
      const session = tape.createSession({ appName: "app" }, as("session"))
      assert.strictEqual((yield* session).sessionId, (yield* session).sessionId)
      const event = (id: string) =>
        tape.appendEvent({ appName: "app", sessionId: "s", event: { id } }, as(`event ${id}`))
      yield* Effect.all([event(""), event(""), event("e"), event("e")])
      const { session: stored } = yield* tape.getSession({ appName: "app", sessionId: "s" })
      assert.deepStrictEqual(
        stored?.events.map(({ id }) => id),
        ["", "e"]
      )
      yield* tape.setTimer({ runId, timerId: "t", fireAtMs: 1n }, as("given"))
      assert.sameMembers([...(yield* kept)], ["timer", "session", "event "])
    }).pipe(Effect.provide(tape))
  )

  it.effect("a claim that was granted is granted again to its own repeat only", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* TestClock.setTime(1_000)
      const runId = yield* begin
      yield* tape.setTimer({ runId, timerId: "t", fireAtMs: 1n })
      const claim = (requestId: string) =>
        Effect.map(tape.listDueTimers({ claim: true }, as(requestId)), ({ timers }) => timers.length)
      assert.deepStrictEqual(yield* Effect.all([claim("a"), claim("b"), claim("a")]), [1, 0, 1])
      yield* tape.endRun({ runId, status: RunStatus.TERMINAL }, as("end"))
      assert.isAbove(Number((yield* tape.endRun({ runId, status: RunStatus.TERMINAL }, as("end"))).run?.endedAtMs), 0)
    }).pipe(Effect.provide(tape))
  )

  it.effect("is kept for an hour, and then removed by and by", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin
      const charge = tape.chargeBudget({ runId, tokens: 5n }, as("one"))
      yield* charge
      yield* TestClock.adjust("59 minutes")
      yield* charge
      assert.strictEqual(yield* spent(runId), 5n)
      yield* TestClock.adjust("1 minute")
      yield* charge
      assert.strictEqual(yield* spent(runId), 10n)
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual(yield* eventually(kept, (ids) => ids.length === 0), [])
    }).pipe(Effect.provide(tape))
  )

  it.effect("a name must be a reasonable one", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const runId = yield* begin
      const error = yield* Effect.flip(tape.chargeBudget({ runId, tokens: 1n }, as("x".repeat(201))))
      assert.strictEqual(error._tag, "InvalidRequest")
    }).pipe(Effect.provide(tape))
  )

  it.scopedLive("over gRPC too, and the server says so", () =>
    Effect.gen(function* () {
      const { responseMetadata } = Engine
      const { url } = yield* GrpcServer.make({ listen: "127.0.0.1:0", handlers: Engine.Engine, responseMetadata })
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => new Grpc.Client(url.replace("tape://", ""), Grpc.credentials.createInsecure())),
        (client) => Effect.sync(() => client.close())
      )
      const call = (rpc: string, request: Uint8Array, requestId: string) =>
        Effect.async<readonly [Buffer, unknown], Grpc.ServiceError>((resume) => {
          const metadata = new Grpc.Metadata()
          metadata.set("tape-request-id", requestId)
          let said: unknown
          client
            .makeUnaryRequest(
              `/tape.v1.Tape/${rpc}`,
              (bytes: Uint8Array) => Buffer.from(bytes),
              (bytes: Buffer) => bytes,
              request,
              metadata,
              (error, answer) =>
                resume(answer === undefined ? Effect.fail(error as Grpc.ServiceError) : Effect.succeed([answer, said]))
            )
            .on("metadata", (received) => {
              said = received.get("tape-request-id")
            })
        })
      const [runBytes] = yield* call("BeginRun", new Uint8Array(), "unused")
      const { runId } = fromBinary(BeginRunResponseSchema, runBytes)
      const charge = toBinary(ChargeBudgetRequestSchema, create(ChargeBudgetRequestSchema, { runId, tokens: 5n }))
      const [first, said] = yield* call("ChargeBudget", charge, "one")
      const [again] = yield* call("ChargeBudget", charge, "one")
      assert.deepStrictEqual(said, ["v1"])
      assert.deepStrictEqual(again, first)
      assert.strictEqual(fromBinary(BudgetStateSchema, again).tokensSpent, 5n)
    }).pipe(Effect.provide(Engine.layerUrl("memory:")))
  )
})
