import type { MessageInitShape } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import Database from "better-sqlite3"
import { DateTime, Effect, Layer, Stream, TestClock, TestServices } from "effect"
import { TapeClient } from "effect-tape"
import { Ids, Retention } from "effect-tape/engine"
import { EffectResolution, EffectStatus, HandlerKind, ObligationStatus, RunStatus, Tape } from "effect-tape/proto"
import { afterAll, vi } from "vitest"
import { migrations } from "../../src/engine/store/sqlite/migrations.js"
import { eventually, tapeOverStore } from "./ledgerFixtures.js"

/**
 * Every SQL text that the engine prepares, from the driver itself.
 */
const prepared = new Set<string>()
const original = Database.prototype.prepare
const spy = vi.spyOn(Database.prototype, "prepare").mockImplementation(function (this: Database.Database, sql: string) {
  prepared.add(sql)
  return original.call(this, sql)
})
afterAll(() => spy.mockRestore())

/** With seeded ids, the run that is begun first. */
const runId = "00000000-0000-4000-8000-000000000001"

type Requests = {
  readonly [K in keyof typeof Tape.method]: ReadonlyArray<MessageInitShape<(typeof Tape.method)[K]["input"]>>
}

const session = { appName: "app", userId: "u", sessionId: "s" }
const effect = { runId, toolName: "t" }
const outbox = { ...effect, customKey: "o", connector: "bank", dispatchMode: 2 }
const value = { namespace: "n", key: "k" }

/** Each RPC in every variant that asks the store something else, in an order in which most succeed. */
const requests = {
  registerReaction: [
    { reactionId: "r", subjectPattern: "/tape/decision/**", handlerKind: HandlerKind.TASK, debounceMs: 5 },
    { reactionId: "q", subjectPattern: "/tape/effect/**", handlerKind: HandlerKind.TASK },
    { reactionId: "a", subjectPattern: "/tape/value/**", handlerKind: HandlerKind.AGENT, agentApp: "agent" }
  ],
  beginRun: [
    { ...session, invocationId: "1" },
    { ...session, invocationId: "1" }
  ],
  getRun: [{ runId }],
  resumeRun: [{ runId }],
  listRunsToRecover: [{}],
  setBudget: [{ runId, tokenCap: 5n }],
  admitBudget: [{ runId }],
  chargeBudget: [{ runId, tokens: 1n }],
  recordDecision: [{ runId }, { runId, decisionIndex: 1n }],
  getDecision: [{ runId }],
  beginEffect: [
    { ...effect, customKey: "e" },
    { ...outbox, businessKey: "b" },
    { ...outbox, customKey: "p" }
  ],
  completeEffect: [{ runId, idempotencyKey: "e", status: EffectStatus.CONFIRMED }],
  getEffect: [
    { runId, idempotencyKey: "e" },
    { runId, idempotencyKey: "none" }
  ],
  listPendingEffects: [{}, { olderThanMs: 5n }, { includePending: true }, { includeUnknown: true }],
  listEffectsToDispatch: [{}, { connector: "bank" }],
  claimEffectDispatch: [{ runId, idempotencyKey: "o", claimer: "c" }],
  recordDispatchAttempt: [{ runId, idempotencyKey: "o" }],
  reconcileEffect: [{ runId, idempotencyKey: "o", resolvedStatus: EffectStatus.CONFIRMED }],
  recordExternalObservation: [
    {
      runId,
      idempotencyKey: "o",
      resolution: EffectResolution.DUPLICATE,
      compensateOnDuplicateKind: "undo"
    }
  ],
  registerCompensation: [{ runId, effectKey: "e", kind: "undo" }],
  listObligations: [{ runId }, { runId, onlyUnresolved: true }, { runId, statusFilter: 1 }],
  listUnresolvedObligations: [{}, { includePending: true }, { includeStuck: true }, { includeCommittedExpired: true }],
  claimObligation: [{ runId, obligationSeq: 1n, claimer: "c" }],
  recordObligationAttempt: [{ runId, obligationSeq: 1n }],
  resolveObligation: [{ runId, obligationSeq: 1n, status: ObligationStatus.COMPENSATED }],
  awaitSignal: [{ runId, gateName: "g" }],
  sendSignal: [{ ...session, gateName: "g", resolutionJson: "1" }],
  setTimer: [{ runId, timerId: "t" }, { runId }],
  listDueTimers: [{}, { claim: true }],
  cancelTimer: [{ runId, timerId: "t" }],
  writeValue: [
    { ...value, valueJson: "1" },
    { ...value, valueJson: "2", ifVersion: -1n }
  ],
  getValue: [value],
  watchValue: [value, { ...value, fromVersion: 1n }],
  deleteValue: [value],
  createSession: [session],
  appendEvent: [
    { ...session, event: { id: "1" } },
    { ...session, event: {} }
  ],
  getSession: [session, { ...session, maxEvents: 1n }],
  listSessions: [session],
  deleteSession: [session],
  listReactions: [{}, { subjectPattern: "/tape/decision/**" }],
  claimTasks: [
    { reactionId: "r", owner: "o" },
    { reactionId: "r", owner: "o", shard: -1 },
    { reactionId: "q", owner: "o", shard: -1, max: 1 }
  ],
  completeTask: [{ taskId: "t", owner: "o" }],
  nackTask: [{ taskId: "t", owner: "o" }],
  listTasks: [{ reactionId: "r" }, { reactionId: "r", status: 1 }],
  deregisterReaction: [{ reactionId: "a" }],
  subscribeRun: [{ runId }, { runId, fromSeq: 2n }],
  subscribeEvents: [
    {},
    { fromGlobalSeq: 1n },
    { fromTsMs: 1n },
    { runId, kind: "run" },
    { subjectPattern: "/tape/run/**", fromGlobalSeq: 0n }
  ],
  subscribeBySubject: [{ subjectPattern: "/tape/run/**", predicateCel: "seq > 0" }],
  endRun: [{ runId, status: RunStatus.TERMINAL }],
  listCompactableRuns: [{}, { beforeMs: 9_000_000_000_000n }],
  compactRun: [{ runId }]
} satisfies Requests

const everything = Effect.gen(function* () {
  const tape = yield* TapeClient
  const retention = yield* Retention.Retention
  // The client's methods are those of the descriptor: the table's type says so.
  const methods = tape as unknown as {
    readonly [name: string]: (request: unknown, options?: unknown) => Effect.Effect<unknown, unknown>
  }
  for (const [name, variants] of Object.entries(requests)) {
    const isStream = Tape.methods.find(({ localName }) => localName === name)?.methodKind === "server_streaming"
    for (const [index, request] of variants.entries()) {
      const answer = methods[name]?.(request, { metadata: { "tape-request-id": `${name} ${index}` } })
      // A stream that has nothing to tell has asked the store all the same.
      const some = isStream
        ? Stream.runHead(answer as unknown as Stream.Stream<unknown>).pipe(
            Effect.timeoutOption("300 millis"),
            TestServices.provideLive
          )
        : answer
      yield* Effect.exit(some ?? Effect.void)
    }
  }
  yield* eventually(tape.listTasks({ reactionId: "q" }), ({ tasks }) => tasks.length > 0)
  yield* tape.claimTasks({ reactionId: "q", owner: "o", shard: 0 })
  yield* tape.listTasks({ reactionId: "q" })

  yield* tape.beginRun({ ...session, invocationId: "2" })
  yield* tape.appendEvent({ ...session, event: { id: "1" } })
  yield* retention.snapshot({ runId, until: DateTime.unsafeMake(0) })
  yield* retention.continueAsNew({ ...session, invocationId: "2", newInvocationId: "3", stateJson: "{}" })
  yield* TestClock.adjust("1 hour")
  yield* retention.prune({ effects: 0, snapshots: 0, tasks: 0, timers: 0 })
  yield* retention.archiveSessions({ idleFor: 0, archive: () => Effect.void })
}).pipe(Effect.provide(Layer.provide(tapeOverStore, Ids.layerSeeded(1))))

/** Scans that may be, and why. */
const allowed: ReadonlyArray<readonly [plan: RegExp, sql: RegExp, why: string]> = [
  [/^SCAN discarded_events/, /limit 1$/, "the first row"],
  [/^SCAN request_ids USING INDEX request_ids_by_age/, /order by created_at_ms limit 1$/, "the first row"],
  [/^SCAN reactions USING INDEX reactions_active/, /./, "as many as are registered; they are all wanted"],
  [/^SCAN runs USING INDEX runs_prunable/, /limit \?$/, "a page of what is left to prune, in retention only"],
  [
    /^SCAN effects USING INDEX effects_(unknown|pending)/,
    /order by ts_ms limit \?$/,
    "in order, as many as are wanted"
  ],
  [/LAST TERM OF ORDER BY/, /order by started_at_ms desc, run_id desc limit 1$/, "runs that began in one millisecond"],
  [/LAST TERM OF ORDER BY/, /order by created_at_ms, first_global_seq$/, "tasks made in one millisecond"]
]

describe("query plans", () => {
  it.effect("no call looks through a table that grows", () =>
    Effect.gen(function* () {
      yield* everything
      const db = new Database(":memory:")
      migrations.forEach((step) => db.exec(step))
      const statements = [...prepared].filter((sql) => /^(select|insert|update|delete)(?!.*sqlite_master)/i.test(sql))
      const bad = statements.flatMap((sql) =>
        db
          .prepare(`explain query plan ${sql}`)
          .all(...Array.from(sql.matchAll(/\?/g), () => null))
          .map((row) => (row as { readonly detail: string }).detail)
          .filter((plan) => /\bSCAN\b|TEMP B-TREE/.test(plan))
          .filter((plan) => !allowed.some(([known, text]) => known.test(plan) && text.test(sql)))
          .map((plan) => `${plan}: ${sql.replace(/^select .* from/, "… from")}`)
      )
      db.close()
      assert.isAbove(statements.length, 120)
      assert.deepStrictEqual(bad, [])
    })
  )
})
