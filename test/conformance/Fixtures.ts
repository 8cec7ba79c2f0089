/**
 * The fixtures of the acceptance scenarios (RUN, DEC, EFF, OUT, UNK), in a namespace of their own per scenario: no
 * scenario needs an empty store, none sees another's rows when it looks at its own.
 */
import * as assert from "node:assert/strict"
import { randomUUID } from "node:crypto"
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type Client, TapeClient } from "effect-tape"
import {
  type BeginEffectRequestSchema,
  type BeginRunRequestSchema,
  EffectDispatchMode,
  type EffectRecord,
  EffectSemantics,
  EffectStatus,
  type EventEntry,
  type JournalEntry,
  type RecordDecisionRequestSchema,
  type RegisterCompensationRequestSchema,
  type RunState
} from "effect-tape/proto"
import type { TapeError } from "./Expect.js"
import { Unmet } from "./Expect.js"

export type Tape = Context.Tag.Service<typeof TapeClient>

/** What a test may set otherwise than the fixture does. */
type Over<S extends DescMessage> = {
  readonly [K in Exclude<keyof MessageInitShape<S>, "$typeName">]?: MessageInitShape<S>[K]
}

export interface World extends Effect.Effect.Success<typeof world> {}

const currentMillis = Effect.map(Clock.currentTimeMillis, BigInt)

/** A namespace nobody has used, and the fixtures in it. */
export const world = Effect.map(TapeClient, (tape) => {
  const id = randomUUID().slice(0, 8)
  const app = `acc-${id}`
  const bank = `bank.wire-${id}`

  const beginRun = (x: string, over: Over<typeof BeginRunRequestSchema> = {}, options?: Client.CallOptions) =>
    tape.beginRun(
      {
        appName: app,
        userId: "u",
        sessionId: `s-${x}`,
        invocationId: `inv-${x}`,
        leaseOwner: "drv",
        leaseTtlMs: 60_000n,
        ...over
      },
      options
    )

  /** RUN(x); gives its id. */
  const run = (x: string, over: Over<typeof BeginRunRequestSchema> = {}) =>
    Effect.map(beginRun(x, over), (begun) => begun.runId)

  const getRun = (runId: string) => tape.getRun({ runId })

  const endRun = (runId: string, status: number, options?: Client.CallOptions) =>
    Effect.map(tape.endRun({ runId, status, detailJson: "{}" }, options), (ended) => record(ended.run))

  const resume = (runId: string, leaseOwner: string, leaseTtlMs = 60_000n) =>
    Effect.map(tape.resumeRun({ runId, leaseOwner, leaseTtlMs }), (resumed) => record(resumed.run))

  /** DEC(i). */
  const decide = (runId: string, index: number, over: Over<typeof RecordDecisionRequestSchema> = {}) =>
    tape.recordDecision({
      runId,
      decisionIndex: BigInt(index),
      model: "m",
      requestJson: "{}",
      responseJson: `{"plan":${index}}`,
      policyVersion: "p1",
      ...over
    })

  /** EFF(i, tool, c). */
  const effect = (
    runId: string,
    index: number,
    toolName: string,
    callIndex: number,
    over: Over<typeof BeginEffectRequestSchema> = {}
  ) =>
    tape.beginEffect({
      runId,
      decisionIndex: BigInt(index),
      toolName,
      callIndex,
      requestJson: "{}",
      ...over
    })

  /** OUT(bk): a wire that must leave exactly once. */
  const out = (runId: string, businessKey: string, over: Over<typeof BeginEffectRequestSchema> = {}) =>
    tape.beginEffect({
      runId,
      decisionIndex: 0n,
      toolName: "wire_money",
      callIndex: 0,
      requestJson: '{"amount":100}',
      semantics: EffectSemantics.NON_IDEMPOTENT,
      dispatchMode: EffectDispatchMode.OUTBOX,
      businessKey,
      connector: bank,
      ...over
    })

  const claim = (runId: string, idempotencyKey: string, claimer: string, leaseTtlMs = 60_000n) =>
    tape.claimEffectDispatch({ runId, idempotencyKey, claimer, leaseTtlMs })

  const attempt = (runId: string, idempotencyKey: string, error: string, nextDispatchAtMs: bigint) =>
    tape.recordDispatchAttempt({ runId, idempotencyKey, error, nextDispatchAtMs })

  /** UNK(bk): its acknowledgement was lost. Gives the key. */
  const lost = (runId: string, businessKey: string, over: Over<typeof BeginEffectRequestSchema> = {}) =>
    Effect.gen(function* () {
      const { idempotencyKey } = yield* out(runId, businessKey, over)
      const claimed = yield* claim(runId, idempotencyKey, "d")
      assert.equal(claimed.acquired, true)
      yield* attempt(runId, idempotencyKey, "ack lost", 0n)
      return idempotencyKey
    })

  const complete = (runId: string, idempotencyKey: string, status: number, responseJson = "", errorJson = "") =>
    tape.completeEffect({ runId, idempotencyKey, status, responseJson, errorJson })

  const confirm = (runId: string, idempotencyKey: string, responseJson = "{}") =>
    complete(runId, idempotencyKey, EffectStatus.CONFIRMED, responseJson)

  const observe = (
    runId: string,
    idempotencyKey: string,
    resolution: number,
    over: {
      readonly externalRef?: string
      readonly responseJson?: string
      readonly errorJson?: string
      readonly compensateOnDuplicateKind?: string
    } = {}
  ) => tape.recordExternalObservation({ runId, idempotencyKey, resolution, ...over })

  /** The stored row; there must be one. */
  const getEffect = (runId: string, idempotencyKey: string): Effect.Effect<EffectRecord, TapeError> =>
    Effect.map(tape.getEffect({ runId, idempotencyKey }), (got) => {
      assert.equal(got.found, true, `no effect ${idempotencyKey}`)
      return record(got.effect)
    })

  /** The dispatchable rows of this scenario's bank. */
  const dispatchable = (nowMs = 0n) =>
    Effect.map(tape.listEffectsToDispatch({ nowMs, limit: 0n, connector: bank }), (listed) => listed.effects)

  const register = (
    runId: string,
    effectKey: string,
    kind: string,
    over: Over<typeof RegisterCompensationRequestSchema> = {}
  ) => tape.registerCompensation({ runId, effectKey, kind, payloadJson: "{}", ...over })

  const claimObligation = (runId: string, obligationSeq: bigint, claimer: string, leaseTtlMs = 60_000n) =>
    tape.claimObligation({ runId, obligationSeq, claimer, leaseTtlMs })

  const attemptObligation = (runId: string, obligationSeq: bigint, error: string, nextAttemptAtMs: bigint) =>
    tape.recordObligationAttempt({ runId, obligationSeq, error, nextAttemptAtMs })

  const resolve = (runId: string, obligationSeq: bigint, status: number, resultJson = "{}") =>
    tape.resolveObligation({ runId, obligationSeq, status, resultJson })

  const obligations = (
    runId: string,
    over: { readonly onlyUnresolved?: boolean; readonly statusFilter?: number } = {}
  ) => Effect.map(tape.listObligations({ runId, ...over }), (listed) => listed.obligations)

  const recoverable = (nowMs = 0n): Effect.Effect<ReadonlyArray<RunState>, TapeError> =>
    Effect.map(tape.listRunsToRecover({ nowMs, limit: 10_000n }), (listed) =>
      listed.runs.filter((state) => state.appName === app)
    )

  const recoverableIds = (nowMs = 0n) => Effect.map(recoverable(nowMs), (runs) => runs.map((state) => state.runId))

  /** The run's whole journal, as SubscribeRun replays it. */
  const journal = (runId: string): Effect.Effect<ReadonlyArray<JournalEntry>, TapeError | Unmet> =>
    Effect.gen(function* () {
      const { seqCursor } = yield* getRun(runId)
      return yield* collect(tape.subscribeRun({ runId, fromSeq: 0n }), (entry) => entry.seq >= seqCursor)
    })

  /** The entries of the run that were written after `seq`. */
  const journalAfter = (runId: string, seq: bigint) =>
    Effect.gen(function* () {
      const { seqCursor } = yield* getRun(runId)
      if (seqCursor <= seq) return []
      const entries = yield* collect(tape.subscribeRun({ runId, fromSeq: seq + 1n }), (entry) => entry.seq >= seqCursor)
      return entries.map(seen)
    })

  /** Runs the call and gives what it answered and what it journaled on the run. */
  const journaledBy = <A, E, R>(runId: string, call: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const before = yield* getRun(runId)
      const answer = yield* call
      return { answer, entries: yield* journalAfter(runId, before.seqCursor) }
    })

  /** The call made `times` times at once; what became of each. */
  const race = <A, E, R>(times: number, call: (n: number) => Effect.Effect<A, E, R>) =>
    Effect.all(
      Array.from({ length: times }, (_, n) => Effect.either(call(n))),
      { concurrency: "unbounded" }
    )

  /** A position in the whole journal: everything that follows in this scenario comes after it. */
  const position = Effect.gen(function* () {
    const runId = yield* run(`position-${randomUUID()}`)
    const [first] = yield* journal(runId)
    return record(first).globalSeq
  })

  /** What the pattern delivers after `from`, until the entry that satisfies `last`. */
  const bySubject = (subjectPattern: string, fromGlobalSeq: bigint, last: (entry: EventEntry) => boolean) =>
    collect(tape.subscribeBySubject({ subjectPattern, fromGlobalSeq }), last)

  return {
    tape,
    id,
    app,
    bank,
    now: currentMillis,
    attempt,
    attemptObligation,
    beginRun,
    bySubject,
    claim,
    claimObligation,
    complete,
    confirm,
    decide,
    dispatchable,
    effect,
    endRun,
    getEffect,
    getRun,
    journal,
    journalAfter,
    journaledBy,
    lost,
    obligations,
    observe,
    out,
    position,
    race,
    recoverable,
    recoverableIds,
    register,
    resolve,
    resume,
    run
  }
})

/** The message a response must carry. */
export const record = <A>(message: A | undefined): A => {
  assert.ok(message !== undefined, "the response lacks its record")
  return message
}

/** Everything up to and with the first element that satisfies `last`; `Unmet` when it does not come within 5 s. */
export const collect = <A, E, R>(
  stream: Stream.Stream<A, E, R>,
  last: (element: A) => boolean
): Effect.Effect<ReadonlyArray<A>, E | Unmet, R> =>
  stream.pipe(
    Stream.takeUntil(last),
    Stream.runCollect,
    Effect.map(Chunk.toReadonlyArray),
    Effect.timeoutFail({ duration: "5 seconds", onTimeout: () => new Unmet({ what: "the last expected entry" }) })
  )

/** An entry as the scenarios compare it: kind, subject, and the payload as JSON text parsed. */
export const seen = (entry: JournalEntry | EventEntry) => ({
  kind: entry.kind,
  subject: entry.subject,
  payload: JSON.parse(entry.payloadJson) as { readonly [key: string]: unknown },
  seq: entry.seq,
  text: entry.payloadJson
})
