import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { create } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import * as Grpc from "@grpc/grpc-js"
import { Deferred, Duration, Effect, Exit, Fiber, Logger, Schedule, Scope, Stream } from "effect"
import * as Client from "../../src/Client.js"
import { EventEntrySchema, RunStateSchema, type Tape } from "../../src/gen/tape/v1/tape_pb.js"
import type { Handlers } from "../../src/Handlers.js"
import { GrpcServer, ListenError } from "../../src/server/index.js"
import { fakeTape } from "../client/fake.js"
import { temporaryDirectory } from "../support/Harness.js"

const serve = (handlers: Partial<Handlers<typeof Tape>>, options?: Partial<GrpcServer.GrpcServerOptions>) =>
  GrpcServer.make({ listen: "127.0.0.1:0", handlers: Effect.succeed(fakeTape(handlers)), ...options })

const connect = (url: string) => Client.makeGrpc({ url, retry: Schedule.stop })

const event = create(EventEntrySchema, { seq: 1n })

/** A client that knows nothing of this library. */
const foreign = (url: string) =>
  Effect.acquireRelease(
    Effect.sync(() => new Grpc.Client(url.replace("tape://", ""), Grpc.credentials.createInsecure())),
    (client) => Effect.sync(() => client.close())
  )

const raw = (client: Grpc.Client, path: string, bytes: Buffer) =>
  Effect.async<Buffer, Grpc.ServiceError>((resume) => {
    client.makeUnaryRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes) => bytes,
      bytes,
      (error, answer) => resume(answer === undefined ? Effect.fail(error as Grpc.ServiceError) : Effect.succeed(answer))
    )
  })

// grpc-js writes to stderr by itself what is also reported as an error
Grpc.setLogVerbosity(Grpc.logVerbosity.NONE)

describe("GrpcServer", () => {
  it.scopedLive("says where it listens, and refuses addresses it cannot have with one sentence", () =>
    Effect.gen(function* () {
      const { address, url } = yield* serve({})
      assert.match(address, /^127\.0\.0\.1:[1-9]\d*$/)
      assert.strictEqual(url, `tape://${address}`)
      const cases: ReadonlyArray<readonly [listen: string, reason: ListenError["reason"], says: string]> = [
        [address, "InUse", `cannot listen on ${address}: the address is already in use`],
        ["", "InvalidAddress", 'cannot listen on "": it is neither host:port nor unix:path'],
        ["7878", "InvalidAddress", 'cannot listen on "7878": it is neither host:port nor unix:path'],
        ["127.0.0.1:x", "InvalidAddress", 'cannot listen on "127.0.0.1:x": it is neither host:port nor unix:path'],
        ["[zz]:1", "InvalidAddress", 'cannot listen on "[zz]:1": it is neither host:port nor unix:path'],
        ["unix:", "InvalidAddress", 'cannot listen on "unix:": it names no socket file'],
        ["203.0.113.7:7878", "InvalidAddress", "cannot listen on 203.0.113.7:7878: this machine has no such address"]
      ]
      for (const [listen, reason, says] of cases) {
        const error = yield* Effect.flip(serve({}, { listen }))
        assert.instanceOf(error, ListenError)
        assert.deepStrictEqual([error.reason, error.message], [reason, says])
      }
    })
  )

  it.scopedLive("touches no file that is not a socket, and wants a folder and a name that the system takes", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryDirectory
      const notes = join(folder, "notes.txt")
      writeFileSync(notes, "precious")
      const cases: ReadonlyArray<readonly [path: string, reason: ListenError["reason"], says: string]> = [
        [notes, "InvalidAddress", "there is a file that is no socket"],
        [folder, "InvalidAddress", "there is a file that is no socket"],
        [`${folder}/no/tape.sock`, "InvalidAddress", `there is no folder ${folder}/no`],
        [`${folder}/${"x".repeat(108)}`, "InvalidAddress", "the path of a socket takes at most 107 bytes"]
      ]
      for (const [path, reason, says] of cases) {
        const error = yield* Effect.flip(serve({}, { listen: `unix:${path}` }))
        assert.include(error, { reason, detail: says })
      }
      assert.strictEqual(readFileSync(notes, "utf8"), "precious")
    })
  )

  it.scopedLive("listens on IPv6", () =>
    Effect.gen(function* () {
      const { url } = yield* serve({ getRun: () => Effect.succeed(create(RunStateSchema)) }, { listen: "[::1]:0" })
      const tape = yield* connect(url)
      yield* tape.getRun({})
    })
  )

  it.scopedLive("answers a foreign client's rubbish: no such method, no such message, too large", () =>
    Effect.gen(function* () {
      const client = yield* foreign((yield* serve({})).url)
      const code = (path: string, bytes: Buffer) =>
        Effect.map(Effect.flip(raw(client, path, bytes)), ({ code }) => code)
      assert.strictEqual(yield* code("/tape.v1.Tape/Nonsense", Buffer.alloc(0)), Grpc.status.UNIMPLEMENTED)
      assert.strictEqual(
        yield* code("/tape.v1.Tape/GetRun", Buffer.from([255, 255, 255])),
        Grpc.status.INVALID_ARGUMENT
      )
      assert.strictEqual(yield* code("/tape.v1.Tape/GetRun", Buffer.from([10, 1, 255])), Grpc.status.INVALID_ARGUMENT)
      const large = yield* Effect.flip(raw(client, "/tape.v1.Tape/GetRun", Buffer.alloc(5 * 1024 * 1024)))
      assert.strictEqual(large.code, Grpc.status.RESOURCE_EXHAUSTED)
      assert.include(large.details, "4194304")
    })
  )

  it.scopedLive("logs a defect with its cause, and tells the client nothing of it", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make(({ cause, message }) => {
        logged.push(`${String(message)} ${String(cause)}`)
      })
      const { url } = yield* serve({ getRun: () => Effect.die(new Error("the cellar is flooded")) }).pipe(
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      const client = yield* foreign(url)
      const error = yield* Effect.flip(raw(client, "/tape.v1.Tape/GetRun", Buffer.alloc(0)))
      assert.deepStrictEqual([error.code, error.details], [Grpc.status.INTERNAL, "internal error"])
      assert.strictEqual(logged.length, 1)
      assert.match(logged[0] ?? "", /GetRun died.*the cellar is flooded/s)
    })
  )

  it.scopedLive("opens so many streams on a connection and no more, and counts closed ones no longer", () =>
    Effect.gen(function* () {
      const { url } = yield* serve(
        { subscribeEvents: () => Stream.concat(Stream.make(event), Stream.never) },
        { maxStreamsPerConnection: 3 }
      )
      const tape = yield* connect(url)
      const open = Effect.gen(function* () {
        const opened = yield* Deferred.make<void>()
        const fiber = yield* Effect.fork(
          Stream.runForEach(tape.subscribeEvents({}), () => Deferred.succeed(opened, undefined))
        )
        yield* Effect.raceFirst(Deferred.await(opened), Fiber.join(fiber))
        return fiber
      })
      const first = yield* open
      yield* open
      yield* open
      const error = yield* Effect.flip(open)
      assert.strictEqual(error._tag, "ResourceExhausted")
      assert.include(error.message, "at most 3 streams may be open on one connection")
      const other = yield* connect(url)
      assert.strictEqual((yield* Stream.runCollect(Stream.take(other.subscribeEvents({}), 1))).length, 1)
      yield* Fiber.interrupt(first)
      // the server learns of it when the cancellation has travelled
      yield* Effect.retry(open, Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurs(200)))
    })
  )

  it.scopedLive("has more streams open on one connection than HTTP/2 allows by itself", () =>
    Effect.gen(function* () {
      let open = 0
      const all = yield* Deferred.make<void>()
      const { url } = yield* serve({
        subscribeEvents: () => {
          open += 1
          return open === 150 ? Stream.fromEffect(Effect.as(Deferred.succeed(all, undefined), event)) : Stream.never
        }
      })
      const tape = yield* connect(url)
      yield* Effect.forkScoped(
        Effect.forEach(Array.from({ length: 150 }), () => Stream.runDrain(tape.subscribeEvents({})), {
          concurrency: "unbounded",
          discard: true
        })
      )
      yield* Deferred.await(all)
    })
  )

  it.scopedLive("stops with a stream open and a call under way: the one ends Unavailable, the other is answered", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const begun = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const finalized = yield* Deferred.make<void>()
      const { url } = yield* Scope.extend(
        serve({
          getRun: () =>
            Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(goOn)).pipe(
              Effect.as(create(RunStateSchema, { runId: "answered" }))
            ),
          subscribeEvents: () =>
            Stream.concat(Stream.make(event), Stream.never).pipe(
              Stream.ensuring(Deferred.succeed(finalized, undefined))
            )
        }),
        scope
      )
      const tape = yield* connect(url)
      const opened = yield* Deferred.make<void>()
      const stream = yield* Effect.fork(
        Stream.runForEach(tape.subscribeEvents({}), () => Deferred.succeed(opened, undefined))
      )
      const call = yield* Effect.fork(tape.getRun({}))
      yield* Deferred.await(opened)
      yield* Deferred.await(begun)
      const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
      const error = yield* Effect.flip(Fiber.join(stream))
      assert.include(error, { _tag: "Unavailable", detail: "the tape is shutting down" })
      yield* Deferred.await(finalized)
      yield* Deferred.succeed(goOn, undefined)
      assert.strictEqual((yield* Fiber.join(call)).runId, "answered")
      yield* Fiber.join(closing)
      assert.strictEqual((yield* Effect.flip(tape.getRun({})))._tag, "Unavailable")
    })
  )

  it.scopedLive("does not wait longer than its grace", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const begun = yield* Deferred.make<void>()
      const { url } = yield* Scope.extend(
        serve(
          { getRun: () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never) },
          { grace: "100 millis" }
        ),
        scope
      )
      const tape = yield* connect(url)
      const call = yield* Effect.fork(Effect.flip(tape.getRun({})))
      yield* Deferred.await(begun)
      const [took] = yield* Effect.timed(Scope.close(scope, Exit.void))
      assert.isBelow(Duration.toMillis(took), 2_000)
      const error = yield* Fiber.join(call)
      assert.include(error, { _tag: "Unavailable", detail: "the tape is shutting down", maybeApplied: true })
    })
  )

  it.scopedLive("stops in time when a reader has stopped reading", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const large = create(EventEntrySchema, { payloadJson: "x".repeat(100_000) })
      const { url } = yield* Scope.extend(
        serve({ subscribeEvents: () => Stream.repeatValue(large) }, { grace: "100 millis" }),
        scope
      )
      const tape = yield* connect(url)
      const reading = yield* Deferred.make<void>()
      yield* Effect.forkScoped(
        Stream.runForEach(tape.subscribeEvents({}), () =>
          Effect.zipRight(Deferred.succeed(reading, undefined), Effect.never)
        )
      )
      yield* Deferred.await(reading)
      const [took] = yield* Effect.timed(Scope.close(scope, Exit.void))
      assert.isBelow(Duration.toMillis(took), 2_000)
    })
  )
})
