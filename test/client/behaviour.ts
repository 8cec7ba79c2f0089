import { create } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Chunk,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Option,
  Ref,
  Schedule,
  type Scope,
  Stream
} from "effect"
import * as Client from "../../src/Client.js"
import { isTapeError, Status, type TapeError } from "../../src/Errors.js"
import {
  EndRunResponseSchema,
  EventEntrySchema,
  RunStateSchema,
  type Tape,
  TimerRecordSchema,
  ValueRecordSchema
} from "../../src/gen/tape/v1/tape_pb.js"
import { type Call, type Handlers, Refusal } from "../../src/Handlers.js"

export type Serve = (
  handlers: Partial<Handlers<typeof Tape>>,
  options?: Client.ClientOptions
) => Effect.Effect<Client.Client<typeof Tape>, never, Scope.Scope>

const once = { retry: Schedule.stop } as const

/** Waits until a producer has come to rest: it has begun, and stays where it is. */
export const atRest = (produced: () => number) =>
  Effect.sync(produced).pipe(
    Effect.flatMap((before) =>
      Effect.delay(
        Effect.sync(() => before > 0 && produced() === before),
        "200 millis"
      )
    ),
    Effect.repeat({ until: (rests) => rests })
  )

/** What a client does, whatever carries its calls. */
export const behaviour = (carrier: string, serve: Serve): void => {
  describe(carrier, () => {
    const expected: ReadonlyArray<readonly [code: Status, tag: TapeError["_tag"]]> = [
      [Status.Cancelled, "Cancelled"],
      [Status.Unknown, "Internal"],
      [Status.InvalidArgument, "InvalidRequest"],
      [Status.DeadlineExceeded, "DeadlineExceeded"],
      [Status.NotFound, "NotFound"],
      [Status.AlreadyExists, "Conflict"],
      [Status.PermissionDenied, "PermissionDenied"],
      [Status.ResourceExhausted, "ResourceExhausted"],
      [Status.FailedPrecondition, "PreconditionFailed"],
      [Status.Aborted, "Conflict"],
      [Status.OutOfRange, "InvalidRequest"],
      [Status.Unimplemented, "Unimplemented"],
      [Status.Internal, "Internal"],
      [Status.Unavailable, "Unavailable"],
      [Status.DataLoss, "Internal"],
      [Status.Unauthenticated, "Unauthenticated"]
    ]

    it.scoped("gives every refusal as its typed error, with the rpc, the sentence and the ids of the request", () =>
      Effect.gen(function* () {
        const code = yield* Ref.make<Status>(Status.Ok)
        const detail = 'no run for "ü" 100% of\nthe time'
        const refuse = Effect.flatMap(Ref.get(code), (code) => Effect.fail(new Refusal({ code, detail })))
        const tape = yield* serve({ getEffect: () => refuse, watchValue: () => Stream.fromEffect(refuse) }, once)
        for (const [status, tag] of expected) {
          // a code that means "a bug of mine" is read by its sentence, for the reference's sake
          const read = tag === "Internal" && status !== Status.DataLoss ? "NotFound" : tag
          yield* Ref.set(code, status)
          const unary = yield* Effect.flip(tape.getEffect({ runId: "r-1", idempotencyKey: "k" }))
          assert.strictEqual(unary._tag, read)
          assert.deepStrictEqual(
            { rpc: unary.rpc, detail: unary.detail, ids: unary.ids },
            { rpc: "GetEffect", detail, ids: { run_id: "r-1", idempotency_key: "k" } }
          )
          const stream = yield* Effect.flip(Stream.runDrain(tape.watchValue({ namespace: "n", key: "k" })))
          assert.strictEqual(stream._tag, read === "Cancelled" ? "Unavailable" : read)
          assert.deepStrictEqual(stream.ids, { namespace: "n", key: "k" })
        }
      })
    )

    it.scoped("hands on a long sentence with half a surrogate pair in it, cut", () =>
      Effect.gen(function* () {
        const tape = yield* serve({ getRun: () => Effect.fail(Refusal.notFound(`\ud800${"ß".repeat(100_000)}`)) })
        const error = yield* Effect.flip(tape.getRun({ runId: "r" }))
        assert.strictEqual(error._tag, "NotFound")
        assert.isTrue(error.detail.startsWith("\ufffdßß"))
      })
    )

    it.scoped("answers a defect with a bare Internal", () =>
      Effect.gen(function* () {
        const tape = yield* serve({
          getRun: () => Effect.die(new Error("password is 1234")),
          getValue: () => {
            throw new Error("password is 1234")
          },
          subscribeEvents: () => Stream.die(new Error("password is 1234"))
        })
        for (const call of [tape.getRun({}), tape.getValue({}), Stream.runDrain(tape.subscribeEvents({}))]) {
          const error = yield* Effect.flip<unknown, TapeError, never>(call)
          assert.strictEqual(error._tag, "Internal")
          assert.strictEqual(error.detail, "internal error")
        }
      })
    )

    it.scoped("gives messages of the exact type, 64-bit integers and all", () =>
      Effect.gen(function* () {
        const record = create(ValueRecordSchema, {
          namespace: "n",
          key: "k",
          valueJson: '{"ü":1.0}',
          version: 2n ** 53n + 1n
        })
        const tape = yield* serve({
          writeValue: ({ key, valueJson, ifVersion }) =>
            Effect.succeed(create(ValueRecordSchema, { ...record, key, valueJson, version: ifVersion }))
        })
        const answer = yield* tape.writeValue({ key: "k", valueJson: record.valueJson, ifVersion: 2n ** 53n + 1n })
        assert.strictEqual(answer.$typeName, "tape.v1.ValueRecord")
        assert.deepStrictEqual({ ...answer }, { ...record })
      })
    )

    it.scoped("shares neither request nor answer with the handlers", () =>
      Effect.gen(function* () {
        const stored = create(RunStateSchema, { runId: "r", scopes: ["a"], labels: { x: "1" } })
        const tape = yield* serve({ getRun: () => Effect.succeed(stored) })
        const first = yield* tape.getRun({ runId: "r" })
        first.scopes.push("b")
        first.labels["y"] = "2"
        first.runId = "other"
        assert.deepStrictEqual({ ...(yield* tape.getRun({ runId: "r" })) }, { ...stored })
        assert.deepStrictEqual(stored.scopes, ["a"])
      })
    )

    const rubbish: ReadonlyArray<readonly [what: string, request: object, says: RegExp]> = [
      ["a number for text", { runId: 5 }, /run_id must be text, not the number 5/],
      ["an object for text", { runId: {} }, /run_id must be text/],
      ["half a surrogate pair", { runId: "\ud800" }, /run_id is not well-formed/],
      ["an int64 out of range", { leaseTtlMs: 2n ** 63n }, /lease_ttl_ms must be a bigint of at most 64 bits/],
      ["a number for an int64", { leaseTtlMs: 5 }, /lease_ttl_ms must be a bigint/],
      ["no object at all", null as unknown as object, /not an object/]
    ]
    for (const [what, request, says] of rubbish) {
      it.scoped(`refuses ${what} as InvalidRequest`, () =>
        Effect.gen(function* () {
          const tape = yield* serve({})
          const error = yield* Effect.flip(tape.resumeRun(request))
          assert.strictEqual(error._tag, "InvalidRequest")
          assert.match(error.message, says)
        })
      )
    }

    it.scoped("refuses wrong lists, maps, nested messages, 32-bit integers and enums as InvalidRequest", () =>
      Effect.gen(function* () {
        const tape = yield* serve({})
        const calls = [
          tape.beginRun({ scopes: "all" as unknown as Array<string> }),
          tape.beginRun({ scopes: ["a", 1 as unknown as string] }),
          tape.beginRun({ labels: { x: 1 as unknown as string } }),
          tape.appendEvent({ event: 5 as unknown as {} }),
          tape.appendEvent({ event: { id: 5 as unknown as string } }),
          tape.claimTasks({ max: 2 ** 31 }),
          tape.claimTasks({ max: 1.5 }),
          tape.beginEffect({ semantics: 2 ** 31 }),
          tape.setBudget({ usdCap: "5" as unknown as number })
        ]
        for (const call of calls) {
          const error = yield* Effect.flip<unknown, TapeError, never>(call)
          assert.strictEqual(error._tag, "InvalidRequest", error.message)
        }
      })
    )

    it.scoped("refuses metadata that cannot travel as InvalidRequest", () =>
      Effect.gen(function* () {
        const tape = yield* serve({})
        for (const metadata of [{ "a b": "c" }, { a: "ü" }, { a: "b\r\nc: d" }, { "a-bin": "c" }, { "": "c" }]) {
          const error = yield* Effect.flip(tape.getRun({ runId: "r" }, { metadata }))
          assert.strictEqual(error._tag, "InvalidRequest", JSON.stringify(metadata))
        }
      })
    )

    it.scoped("passes a request of 4 MB, refuses one of 5 MiB and an answer of 5 MiB, naming the limit", () =>
      Effect.gen(function* () {
        const tape = yield* serve({
          writeValue: ({ valueJson }) =>
            Effect.succeed(create(ValueRecordSchema, { version: BigInt(valueJson.length) })),
          getRun: () => Effect.succeed(create(RunStateSchema, { runId: "x".repeat(5 * 1024 * 1024) })),
          subscribeEvents: () =>
            Stream.make(create(EventEntrySchema, { payloadJson: "x".repeat(5 * 1024 * 1024), seq: 1n }))
        })
        const { version } = yield* tape.writeValue({ valueJson: "x".repeat(4_000_000) })
        assert.strictEqual(version, 4_000_000n)
        const calls = [
          tape.writeValue({ valueJson: "x".repeat(5 * 1024 * 1024) }),
          tape.getRun({}),
          Stream.runDrain(tape.subscribeEvents({}))
        ]
        for (const call of calls) {
          const error = yield* Effect.flip<unknown, TapeError, never>(call)
          assert.strictEqual(error._tag, "ResourceExhausted", error.message)
          assert.match(error.message, /takes 52428\d\d bytes, the limit is 4194304 bytes/)
        }
      })
    )

    it.scoped("carries the metadata of the call and of its fiber", () =>
      Effect.gen(function* () {
        const seen: Array<Call["metadata"]> = []
        const handle = (_: unknown, call: Call) =>
          Effect.sync(() => {
            seen.push(call.metadata)
            return create(RunStateSchema)
          })
        const tape = yield* serve({
          getRun: handle,
          subscribeEvents: (_, call) =>
            Stream.fromEffect(
              Effect.sync(() => {
                seen.push(call.metadata)
                return create(EventEntrySchema)
              })
            )
        })
        yield* tape.getRun({}, { metadata: { "X-One": "1" } }).pipe(Client.withMetadata({ "x-two": "2", "x-one": "0" }))
        yield* Stream.runDrain(tape.subscribeEvents({}, { metadata: { "x-one": "1" } })).pipe(
          Client.withMetadata({ "x-two": "2" })
        )
        yield* Client.withMetadata(tape.getRun({}), { "x-two": "2" })
        const ours = seen.map(({ "x-one": one, "x-two": two }) => ({ one, two }))
        assert.deepStrictEqual(ours, [
          { one: "1", two: "2" },
          { one: "1", two: "2" },
          { one: undefined, two: "2" }
        ])
      })
    )

    it.scopedLive("interrupting a call interrupts its handler", () =>
      Effect.gen(function* () {
        const begun = yield* Deferred.make<void>()
        const ended = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
        const hang = Deferred.succeed(begun, undefined).pipe(
          Effect.zipRight(Effect.never),
          Effect.onExit((exit) => Deferred.succeed(ended, exit))
        )
        const tape = yield* serve({ getRun: () => hang })
        const fiber = yield* Effect.fork(tape.getRun({}))
        yield* Deferred.await(begun)
        yield* Fiber.interrupt(fiber)
        const exit = yield* Deferred.await(ended)
        assert.isTrue(Exit.isInterrupted(exit))
      })
    )

    it.scopedLive("interrupting a stream's reader finalizes the handler's stream", () =>
      Effect.gen(function* () {
        const begun = yield* Deferred.make<void>()
        const ended = yield* Deferred.make<void>()
        const tape = yield* serve({
          subscribeEvents: () =>
            Stream.make(create(EventEntrySchema, { seq: 1n })).pipe(
              Stream.concat(Stream.never),
              Stream.ensuring(Deferred.succeed(ended, undefined))
            )
        })
        const fiber = yield* Effect.fork(
          Stream.runForEach(tape.subscribeEvents({}), () => Deferred.succeed(begun, undefined))
        )
        yield* Deferred.await(begun)
        yield* Fiber.interrupt(fiber)
        yield* Deferred.await(ended)
        const taken = yield* Stream.runCollect(Stream.take(tape.subscribeEvents({}), 1))
        assert.strictEqual(Chunk.size(taken), 1)
      })
    )

    it.scopedLive("fails with DeadlineExceeded, the same sentence everywhere, and stops the handler", () =>
      Effect.gen(function* () {
        const stopped = yield* Deferred.make<void>()
        const tape = yield* serve({
          getRun: () => Effect.never.pipe(Effect.onInterrupt(() => Deferred.succeed(stopped, undefined))),
          subscribeEvents: () => Stream.never
        })
        const own = yield* Effect.flip(tape.getRun({ runId: "r" }, { timeout: "100 millis" }))
        yield* Deferred.await(stopped)
        assert.strictEqual(own._tag, "DeadlineExceeded")
        assert.strictEqual(own.message, 'GetRun: no answer within 100ms (run_id "r")')
        const ambient = yield* Effect.flip(tape.getRun({}).pipe(Client.withTimeout("50 millis")))
        assert.strictEqual(ambient.message, "GetRun: no answer within 50ms")
        const stream = yield* Effect.flip(Stream.runDrain(tape.subscribeEvents({}, { timeout: "50 millis" })))
        assert.strictEqual(stream.message, "SubscribeEvents: no answer within 50ms")
        const past = yield* Effect.flip(tape.getRun({}, { timeout: 0 }))
        assert.strictEqual(past._tag, "DeadlineExceeded")
      })
    )

    it.scopedLive("sends an idempotent call again on Unavailable, others not", () =>
      Effect.gen(function* () {
        const attempts = { getRun: 0, endRun: 0, setTimer: 0 }
        const flaky = <A>(rpc: keyof typeof attempts, answer: A) =>
          Effect.suspend(() =>
            ++attempts[rpc] < 3 ? Effect.fail(Refusal.unavailable("not now")) : Effect.succeed(answer)
          )
        const tape = yield* serve(
          {
            getRun: () => flaky("getRun", create(RunStateSchema, { runId: "r" })),
            endRun: () => flaky("endRun", create(EndRunResponseSchema)),
            setTimer: ({ timerId }) => flaky("setTimer", create(TimerRecordSchema, { timerId }))
          },
          { retry: Schedule.intersect(Schedule.spaced("5 millis"), Schedule.recurs(4)) }
        )
        assert.strictEqual((yield* tape.getRun({ runId: "r" })).runId, "r")
        assert.strictEqual(attempts.getRun, 3)
        const error = yield* Effect.flip(tape.endRun({ runId: "r" }))
        assert.strictEqual(error._tag === "Unavailable" && error.maybeApplied, true)
        assert.match(error.message, /it may have been applied/)
        assert.strictEqual(attempts.endRun, 1)
        // named by its caller, a timer is set once however often one asks; one to be named by the tape is not
        yield* tape.setTimer({ timerId: "t" })
        assert.strictEqual(attempts.setTimer, 3)
        attempts.setTimer = 0
        yield* Effect.flip(tape.setTimer({ timerId: "" }))
        assert.strictEqual(attempts.setTimer, 1)
      })
    )

    it.scoped("rests between two attempts in real time, whatever clock a test has set", () =>
      Effect.gen(function* () {
        let attempts = 0
        const getRun = () =>
          ++attempts < 3 ? Effect.fail(Refusal.unavailable("not now")) : Effect.succeed(create(RunStateSchema))
        const tape = yield* serve({ getRun }, { retry: Schedule.spaced("5 millis") })
        yield* tape.getRun({})
        assert.strictEqual(attempts, 3)
      })
    )

    it.scopedLive("stops sending again when the call's time is over", () =>
      Effect.gen(function* () {
        const tape = yield* serve(
          { getRun: () => Effect.fail(Refusal.unavailable("not now")) },
          { retry: Schedule.spaced("20 millis") }
        )
        const [took, error] = yield* Effect.timed(Effect.flip(tape.getRun({}, { timeout: "200 millis" })))
        assert.include(["Unavailable", "DeadlineExceeded"], error._tag)
        assert.isBelow(Duration.toMillis(took), 1_000)
      })
    )

    it.scopedLive("keeps the order of a long stream and ends it with the handler's end", () =>
      Effect.gen(function* () {
        const tape = yield* serve({
          subscribeEvents: () =>
            Stream.map(Stream.range(1, 2_000), (seq) => create(EventEntrySchema, { seq: BigInt(seq) }))
        })
        const seqs = yield* Stream.runCollect(Stream.map(tape.subscribeEvents({}), ({ seq }) => Number(seq)))
        assert.deepStrictEqual(
          [...seqs],
          Array.from({ length: 2_000 }, (_, i) => i + 1)
        )
      })
    )

    it.scopedLive("a slow reader stops the producer, and what was sent before an error still arrives", () =>
      Effect.gen(function* () {
        let produced = 0
        const total = 8_000
        const tape = yield* serve({
          subscribeEvents: () =>
            Stream.range(1, total).pipe(
              Stream.rechunk(16),
              Stream.map((seq) => {
                produced = seq
                return create(EventEntrySchema, { seq: BigInt(seq), payloadJson: "x".repeat(200) })
              }),
              Stream.concat(Stream.fail(Refusal.precondition("over")))
            )
        })
        const hold = yield* Deferred.make<void>()
        const read: Array<bigint> = []
        const reader = yield* Effect.fork(
          Stream.runForEach(tape.subscribeEvents({}), ({ seq }) => {
            read.push(seq)
            return seq === 1n ? Deferred.await(hold) : Effect.void
          })
        )
        yield* atRest(() => produced)
        assert.isBelow(produced, 2_000)
        yield* Deferred.succeed(hold, undefined)
        const exit = yield* Fiber.await(reader)
        const failure = Exit.isFailure(exit) ? Cause.failureOption(exit.cause) : Option.none()
        assert.strictEqual(Option.getOrThrow(failure)._tag, "PreconditionFailed")
        assert.strictEqual(read.length, total)
      })
    )

    it.scoped("every error is a TapeError, and every value only the tape's own", () =>
      Effect.gen(function* () {
        const tape = yield* serve({})
        const error = yield* Effect.flip(tape.compactRun({ runId: "r" }))
        assert.isTrue(isTapeError(error))
        assert.strictEqual(error._tag, "Unimplemented")
      })
    )
  })
}
