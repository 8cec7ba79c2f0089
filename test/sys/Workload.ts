/**
 * Random calls on a tape, and what each acknowledged answer promises: a way to look whether it is still there, exactly as
 * it was answered.
 */
import * as assert from "node:assert/strict"
import { randomUUID } from "node:crypto"
import { Effect } from "effect"
import { EffectDispatchMode, EffectSemantics, EffectStatus } from "../../src/gen/tape/v1/tape_pb.js"
import { collect, type Tape } from "../conformance/Fixtures.js"

/** A promise of the tape, made when it answered. */
export interface Promised {
  readonly what: string
  readonly check: (tape: Tape) => Effect.Effect<void, unknown>
}

/** One run's worth of promises; what was sent and never answered may or may not have happened. */
export interface Work {
  runId: string
  /** Tokens charged and acknowledged, and charged without an answer yet. */
  charged: bigint
  unanswered: bigint
  /** The seqs the tape has given away, with the kind of their entries. */
  readonly seqs: Map<bigint, string>
  readonly promised: Array<Promised>
}

const texts = ['"é 😀"', '{ "n":1.0 }', "[9007199254740993]", '""', `"${"x".repeat(2000)}"`]
const pick = <A>(items: ReadonlyArray<A>): A => items[Math.floor(Math.random() * items.length)] ?? assert.fail()

/** Does random calls, one after the other, until the tape is gone. */
export const work = (tape: Tape, done: Work): Effect.Effect<never, unknown> =>
  Effect.gen(function* () {
    const { promised, seqs } = done
    const text = pick(texts)
    const begun = yield* tape.beginRun({
      appName: "kill",
      invocationId: randomUUID(),
      labels: { text },
      leaseOwner: "w"
    })
    const { runId } = begun
    done.runId = runId
    seqs.set(1n, "run")
    promised.push({
      what: "the run",
      check: (tape) =>
        Effect.map(tape.getRun({ runId }), (run) => assert.deepEqual([run.leaseOwner, run.labels["text"]], ["w", text]))
    })
    for (let n = 0; ; n++) yield* pick(steps)(tape, done, n)
  })

type Step = (tape: Tape, done: Work, n: number) => Effect.Effect<void, unknown>

const steps: ReadonlyArray<Step> = [
  (tape, { promised, runId, seqs }, n) =>
    Effect.gen(function* () {
      const decisionIndex = BigInt(n)
      const decision = yield* tape.recordDecision({ runId, decisionIndex, model: "m", responseJson: pick(texts) })
      seqs.set(decision.seq, "decision")
      promised.push({
        what: `decision ${n}`,
        check: (tape) =>
          Effect.map(tape.getDecision({ runId, decisionIndex }), (got) => assert.deepEqual(got.decision, decision))
      })
    }),
  (tape, { promised, runId, seqs }, n) =>
    Effect.gen(function* () {
      const requestJson = pick(texts)
      const begun = yield* tape.beginEffect({
        runId,
        decisionIndex: BigInt(n),
        toolName: "t",
        requestJson,
        semantics: EffectSemantics.NON_IDEMPOTENT,
        dispatchMode: EffectDispatchMode.OUTBOX,
        businessKey: `${runId}/${n}`,
        connector: "bank"
      })
      const { idempotencyKey, seq } = begun
      seqs.set(seq, "effect")
      promised.push({
        what: `effect ${n} begun`,
        check: (tape) =>
          Effect.map(tape.getEffect({ runId, idempotencyKey }), ({ effect }) =>
            assert.deepEqual([effect?.seq, effect?.requestJson], [seq, requestJson])
          )
      })
      const completed = yield* tape.completeEffect({
        runId,
        idempotencyKey,
        status: pick([EffectStatus.CONFIRMED, EffectStatus.FAILED, EffectStatus.UNKNOWN]),
        responseJson: pick(texts)
      })
      promised.push({
        what: `effect ${n} completed`,
        check: (tape) =>
          Effect.map(tape.getEffect({ runId, idempotencyKey }), ({ effect }) => assert.deepEqual(effect, completed))
      })
    }),
  (tape, { promised, runId, seqs }, n) =>
    Effect.gen(function* () {
      const owed = yield* tape.registerCompensation({
        runId,
        effectKey: `k${n}`,
        kind: "undo",
        payloadJson: pick(texts)
      })
      seqs.set(owed.seq, "obligation")
      promised.push({
        what: `obligation ${n}`,
        check: (tape) =>
          Effect.map(tape.listObligations({ runId }), ({ obligations }) =>
            assert.deepEqual(
              obligations.find((row) => row.seq === owed.seq),
              owed
            )
          )
      })
    }),
  (tape, { promised, runId }, n) =>
    Effect.gen(function* () {
      const resolutionJson = pick(texts)
      yield* tape.sendSignal({ runId, gateName: `g${n}`, resolutionJson })
      promised.push({
        what: `signal ${n}`,
        check: (tape) =>
          Effect.map(tape.awaitSignal({ runId, gateName: `g${n}` }), (got) =>
            assert.deepEqual([got.delivered, got.resolutionJson], [true, resolutionJson])
          )
      })
    }),
  (tape, done) =>
    Effect.gen(function* () {
      done.unanswered += 7n
      yield* tape.chargeBudget({ runId: done.runId, usd: 0.01, tokens: 7n })
      done.unanswered -= 7n
      done.charged += 7n
    })
]

/** Looks at everything that was promised, and at the run's journal: no gap, no repeat, each seq the entry it was given for. */
export const verify = (
  tape: Tape,
  { charged, promised, runId, seqs, unanswered }: Work
): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    if (runId === "") return
    yield* Effect.forEach(promised, ({ check }) => check(tape), { concurrency: 8, discard: true })
    const spent = (yield* tape.admitBudget({ runId })).budget?.tokensSpent ?? 0n
    assert.ok(spent === charged || spent === charged + unanswered, `${spent} tokens, ${charged} acknowledged`)
    const { seqCursor } = yield* tape.getRun({ runId })
    const journal = yield* collect(tape.subscribeRun({ runId }), (entry) => entry.seq >= seqCursor)
    assert.deepEqual(
      journal.map((entry) => entry.seq),
      journal.map((_, index) => BigInt(index + 1))
    )
    for (const [seq, kind] of seqs) assert.equal(journal[Number(seq) - 1]?.kind, kind)
  })
