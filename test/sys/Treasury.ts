/**
 * A treasury: an agent asks a model for a plan and a person for approval, wires the money through the outbox and books a
 * ledger batch; then it is tidied up. Its program and its housekeeping make every call of the contract that writes.
 */
import { Effect, Layer, Option, Schedule, Schema } from "effect"
import { Connectors, Durable, Outbox, Reactors, TapeClient } from "effect-tape"
import { HandlerKind, ObligationStatus } from "effect-tape/proto"
import { eventually } from "../conformance/Expect.js"
import { record } from "../conformance/Fixtures.js"
import * as Bank from "../support/Bank.js"

/** Calls that a program makes again in its next life name themselves. */
const once = (id: string) => ({ metadata: { "tape-request-id": id } })

const Transfer = Schema.Struct({ account: Schema.String, amount: Schema.Number })

/** A treasury whose bank and whose ledger lose their first answer. */
export const make = Effect.gen(function* () {
  const bank = yield* Bank.make
  /** By idempotency key: the ledger deduplicates, the bank does not. */
  const batches = new Map<string, number>()
  let runId = ""
  let isOver = false
  yield* bank.wires(Bank.loseAck)

  const ExecuteSweep = Outbox.tool("execute_sweep", {
    connector: "bank.wire",
    semantics: "non_idempotent",
    input: Transfer,
    output: Schema.Struct({ wireId: Schema.String }),
    businessKey: ({ account, amount }) => `${account}:${amount}`,
    compensate: () => Effect.void,
    waitForResult: true
  })
  const PostBatch = Durable.tool("post_ledger_batch", {
    input: Transfer,
    output: Schema.Number,
    statusCheck: (call) => Effect.sync(() => Option.fromNullable(batches.get(call.idempotencyKey))),
    run: ({ amount }, call) =>
      Effect.suspend(() => {
        batches.set(call.idempotencyKey, amount)
        return new Durable.AckLost({ reason: "the ledger hung up" })
      })
  })
  /** Takes a timer of its own when it is due. */
  const Remind = Durable.tool("remind", {
    input: Schema.Void,
    output: Schema.Void,
    run: (_, { runId }) =>
      Effect.gen(function* () {
        const tape = yield* TapeClient
        const { timerId } = yield* tape.setTimer({ runId, kind: "review", fireAtMs: 1n }, once(`${runId}/set`))
        yield* tape.listDueTimers({ nowMs: 1n, limit: 1n, claim: true }, once(`${runId}/due`))
        yield* tape.cancelTimer({ runId, timerId }, once(`${runId}/cancel`))
      }).pipe(Effect.orDie)
  })
  const agent = Durable.app("treasury", {
    input: Schema.String,
    output: Schema.Struct({ wireId: Schema.String, batch: Schema.Number }),
    budget: { usd: 10 },
    tools: [ExecuteSweep, PostBatch, Remind],
    *run(account) {
      runId = (yield* Durable.info).runId
      const question = { model: "m", request: account, response: Schema.Number, cost: { usd: 1 } }
      const amount = yield* Durable.decide(question, Effect.succeed(100))
      yield* Durable.gate("cfo", { resolution: Durable.Approval, timeout: "1 hour" })
      yield* Remind()
      const { wireId } = yield* ExecuteSweep({ account, amount })
      return { wireId, batch: yield* PostBatch({ account, amount }) }
    }
  })

  const schedule = Schedule.spaced("20 millis")
  const tools = [ExecuteSweep] as const
  const loops = Layer.mergeAll(
    Outbox.layer({ tools, claimTtl: "1 second", allowShortClaims: true, pollInterval: "20 millis", grace: 0 }),
    Reactors.layerReconcile({ tools, schedule }),
    Reactors.layerObligations({ tools, schedule }),
    Durable.layerSettings({ leaseTtl: "300 millis" })
  ).pipe(Layer.provide(Connectors.http("bank.wire", { url: bank.url, observeUrl: bank.searchUrl })))

  /** The person: sees the run wait, and says yes. */
  const approve = Effect.gen(function* () {
    const tape = yield* TapeClient
    const run = Effect.suspend(() => tape.getRun({ runId }))
    const waits = Effect.map(
      Effect.option(run),
      Option.exists(({ waitingOnGate }) => waitingOnGate === "cfo")
    )
    yield* Effect.repeat(Effect.delay(waits, "5 millis"), { until: (waits) => waits })
    yield* tape.sendSignal({ runId, gateName: "cfo", resolutionJson: '{"approved":true}' })
    return yield* Effect.never
  })

  /** From the start, or from where an earlier life of the tape stopped, to the end. */
  const work = Effect.gen(function* () {
    // The leases are so short that a busy machine loses one; the run is then taken up as after any other death.
    const start = Effect.retry(agent.start({ user: "u", session: "s", invocation: "i" }, "ACME"), {
      while: ({ _tag }) => _tag === "LeaseLost"
    })
    // A run that was compacted cannot say any more what it came to.
    if (!isOver) yield* Effect.raceFirst(start, approve)
    isOver = true
    yield* tidy(runId)
  }).pipe(Effect.provide(loops))

  return { bank, batches, runId: () => runId, work }
})

/** What is left to do for a run that has ended; made again from its beginning it does nothing twice. */
const tidy = (runId: string) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const named = (call: string) => once(`${runId}/${call}`)

    // A fast life is over before its lease has to be renewed.
    yield* Effect.ignore(tape.resumeRun({ runId, leaseOwner: "A", leaseTtlMs: 1n }))

    const session = { appName: "treasury", userId: "u", sessionId: runId }
    yield* tape.createSession(session, named("create"))
    yield* tape.appendEvent({ ...session, event: { author: "agent", contentJson: '"done"' } }, named("append"))

    const pattern = { subjectPattern: `/tape/value/changed/treasury/*`, handlerKind: HandlerKind.TASK }
    const { reactionId } = yield* tape.registerReaction(pattern, named("register"))
    const position = { namespace: "treasury", key: "position" }
    yield* tape.writeValue({ ...position, valueJson: "100", ifVersion: -1n }, named("write"))
    const { tasks } = yield* eventually("a task", tape.listTasks({ reactionId }), ({ tasks }) => tasks.length === 1)
    const task = { taskId: record(tasks[0]).taskId, owner: "A" }
    const claim = { reactionId, owner: "A", shard: -1 }
    yield* tape.claimTasks(claim, named("claim"))
    yield* tape.nackTask({ ...task, error: "not now" }, named("nack"))
    yield* tape.claimTasks({ ...claim, nowMs: 4_000_000_000_000n }, named("claim again"))
    yield* tape.completeTask(task)
    yield* tape.deregisterReaction({ reactionId })
    yield* tape.deleteValue(position, named("delete"))

    const listed = tape.listObligations({ runId })
    const { obligations } = yield* eventually("the wire's", listed, ({ obligations }) => obligations.length === 1)
    const owed = { runId, obligationSeq: record(obligations[0]).seq }
    yield* tape.claimObligation({ ...owed, claimer: "A" }, named("take"))
    yield* tape.recordObligationAttempt({ ...owed, error: "closed", nextAttemptAtMs: 1n }, named("attempt"))
    yield* tape.resolveObligation({ ...owed, status: ObligationStatus.COMPENSATED })

    yield* tape.deleteSession(session, named("forget"))
    yield* tape.compactRun({ runId })
  })
