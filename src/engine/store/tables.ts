/**
 * The tables of a tape. Column names are the contract's field names, so that a row is most of a record.
 */
import type {
  EffectDispatchMode,
  EffectSemantics,
  EffectStatus,
  HandlerKind,
  ObligationStatus,
  RunStatus,
  TaskStatus
} from "../../gen/tape/v1/tape_pb.js"
import * as Table from "./Table.js"
import { bool, enumeration, int32, int64, real, text } from "./Table.js"

export const Runs = Table.make("runs", {
  columns: {
    runId: text,
    appName: text,
    userId: text,
    sessionId: text,
    invocationId: text,
    status: enumeration<RunStatus>(),
    seqCursor: int64,
    leaseOwner: text,
    leaseExpiresAtMs: int64,
    startedAtMs: int64,
    endedAtMs: int64,
    waitingOnGate: text,
    tenantId: text,
    actor: text,
    subject: text,
    agentId: text,
    aiplexInstanceId: text,
    gatewayRoute: text,
    /** A JSON array of strings. */
    scopesJson: text,
    /** A JSON object of strings. */
    labelsJson: text,
    detailJson: text,
    compactedAtMs: int64,
    /** What was pruned of it: see `Retention`. */
    retention: int32
  },
  key: ["runId"],
  unique: { invocation: { columns: ["appName", "userId", "sessionId", "invocationId"] } }
})
export type Run = Table.Row<typeof Runs>

export const Journal = Table.make("journal", {
  columns: {
    globalSeq: int64,
    runId: text,
    seq: int64,
    kind: text,
    subject: text,
    payloadJson: text,
    tsMs: int64,
    schemaVersion: int32,
    traceId: text,
    spanId: text,
    parentSpanId: text
  },
  key: ["globalSeq"]
})
export type Entry = Table.Row<typeof Journal>

export const Decisions = Table.make("decisions", {
  columns: {
    runId: text,
    decisionIndex: int64,
    seq: int64,
    model: text,
    requestJson: text,
    responseJson: text,
    rationale: text,
    policyVersion: text,
    tsMs: int64
  },
  key: ["runId", "decisionIndex"]
})

export const Effects = Table.make("effects", {
  columns: {
    runId: text,
    idempotencyKey: text,
    seq: int64,
    decisionIndex: int64,
    toolName: text,
    status: enumeration<EffectStatus>(),
    requestJson: text,
    responseJson: text,
    errorJson: text,
    tsMs: int64,
    semantics: enumeration<EffectSemantics>(),
    dispatchMode: enumeration<EffectDispatchMode>(),
    businessKey: text,
    connector: text,
    dispatchAttempts: int32,
    nextDispatchAtMs: int64,
    externalRef: text,
    dispatchClaimedBy: text,
    dispatchClaimExpiresAtMs: int64,
    lastDispatchError: text,
    scope: text
  },
  key: ["runId", "idempotencyKey"],
  unique: { business: { columns: ["connector", "businessKey"], where: "connector <> '' and business_key <> ''" } }
})
export type EffectRow = Table.Row<typeof Effects>

/** Settled effects that are answered after their rows were pruned. */
export const EffectSnapshots = Table.make("effect_snapshots", {
  columns: Effects.columns,
  key: ["runId", "idempotencyKey"]
})

/** What is left of pruned effects with a business key, so that none is done again under it. */
export const PrunedBusinessKeys = Table.make("pruned_business_keys", {
  columns: {
    connector: text,
    businessKey: text,
    status: enumeration<EffectStatus>(),
    runId: text,
    idempotencyKey: text,
    seq: int64
  },
  key: ["connector", "businessKey"]
})

/** A business key that belongs to another run's effect: (the caller's run, the returned key) → the owner's run. */
export const EffectAliases = Table.make("effect_aliases", {
  columns: { runId: text, idempotencyKey: text, ownerRunId: text },
  key: ["runId", "idempotencyKey"]
})

export const Obligations = Table.make("obligations", {
  columns: {
    runId: text,
    seq: int64,
    effectKey: text,
    kind: text,
    payloadJson: text,
    status: enumeration<ObligationStatus>(),
    tsMs: int64,
    compensatorRef: text,
    attempts: int32,
    maxAttempts: int32,
    nextAttemptAtMs: int64,
    lastError: text,
    claimedBy: text,
    claimExpiresAtMs: int64,
    resultJson: text
  },
  key: ["runId", "seq"],
  unique: { cause: { columns: ["runId", "effectKey", "kind"] } }
})
export type Obligation = Table.Row<typeof Obligations>

export const Budgets = Table.make("budgets", {
  columns: { runId: text, usdCap: real, tokenCap: int64, usdSpent: real, tokensSpent: int64 },
  key: ["runId"]
})
export type Budget = Table.Row<typeof Budgets>

export const Gates = Table.make("gates", {
  columns: {
    runId: text,
    gateName: text,
    contextJson: text,
    resolutionJson: text,
    delivered: bool,
    consumed: bool,
    createdAtMs: int64
  },
  key: ["runId", "gateName"]
})

export const Timers = Table.make("timers", {
  columns: {
    runId: text,
    timerId: text,
    fireAtMs: int64,
    kind: text,
    payloadJson: text,
    fired: bool,
    createdAtMs: int64
  },
  key: ["runId", "timerId"]
})
export type Timer = Table.Row<typeof Timers>

export const Values = Table.make("value_records", {
  columns: {
    namespace: text,
    key: text,
    valueJson: text,
    version: int64,
    tsMs: int64,
    writer: text,
    deleted: bool
  },
  key: ["namespace", "key"]
})
export type ValueRow = Table.Row<typeof Values>

/** Which entry of the journal without a run tells of a version. `writer` is who wrote the value last. */
export const ValueVersions = Table.make("value_versions", {
  columns: { namespace: text, key: text, version: int64, seq: int64, writer: text },
  key: ["namespace", "key", "version"]
})

export const Sessions = Table.make("sessions", {
  columns: {
    appName: text,
    userId: text,
    sessionId: text,
    stateJson: text,
    lastUpdateTimeMs: int64,
    /** Under which its events are kept. A session that is deleted and made anew has another one. */
    eventsId: text,
    eventCount: int64
  },
  key: ["appName", "userId", "sessionId"]
})
export type SessionRow = Table.Row<typeof Sessions>

export const SessionEvents = Table.make("session_events", {
  columns: {
    eventsId: text,
    ord: int64,
    id: text,
    invocationId: text,
    author: text,
    branch: text,
    contentJson: text,
    actionsJson: text,
    timestampMs: int64
  },
  key: ["eventsId", "ord"],
  unique: { event: { columns: ["eventsId", "id"], where: "id <> ''" } }
})
export type SessionEvent = Table.Row<typeof SessionEvents>

/** Events of sessions that are gone: removed bit by bit. */
export const DiscardedEvents = Table.make("discarded_events", {
  columns: { eventsId: text, discardedAtMs: int64 },
  key: ["eventsId"]
})

/** The answers to calls that named themselves, so that a repeat gets the first one. */
export const RequestIds = Table.make("request_ids", {
  columns: {
    rpc: text,
    requestId: text,
    /** SHA-256 of the request, in hex. */
    digest: text,
    /** The answer's bytes, in base64. */
    response: text,
    createdAtMs: int64
  },
  key: ["rpc", "requestId"]
})

export const Reactions = Table.make("reactions", {
  columns: {
    reactionId: text,
    name: text,
    subjectPattern: text,
    predicateCel: text,
    handlerKind: enumeration<HandlerKind>(),
    agentApp: text,
    publishTarget: text,
    maxConcurrency: int32,
    rateLimitPerS: int32,
    debounceMs: int32,
    retryMax: int32,
    retryBackoffMs: int32,
    dlqAfterN: int32,
    numShards: int32,
    createdAtMs: int64,
    deleted: bool,
    /** The counter `reactions` as this registration left it: tells a changed reaction from the one that a matcher runs. */
    revision: int64,
    /** The matcher's cursor: what came of every entry up to this global_seq stands in the store. */
    matchedUpTo: int64
  },
  key: ["reactionId"]
})
export type ReactionRow = Table.Row<typeof Reactions>

export const Tasks = Table.make("tasks", {
  columns: {
    taskId: text,
    reactionId: text,
    shard: int32,
    /** The entry that the task was created for; it stays when a newer one takes its place as the source. */
    firstGlobalSeq: int64,
    sourceRunId: text,
    sourceGlobalSeq: int64,
    subject: text,
    payloadJson: text,
    status: enumeration<TaskStatus>(),
    attempts: int32,
    nextAttemptAtMs: int64,
    leaseOwner: text,
    leaseExpiresAtMs: int64,
    lastError: text,
    createdAtMs: int64,
    traceId: text,
    parentSpanId: text,
    /** Who completed it: a repeat by the same owner is answered alike. */
    finishedBy: text,
    finishedAtMs: int64
  },
  key: ["taskId"],
  unique: { source: { columns: ["reactionId", "firstGlobalSeq"] } }
})
export type TaskRow = Table.Row<typeof Tasks>

/** Counters of the whole store. */
export const Counters = Table.make("counters", {
  columns: { name: text, value: int64 },
  key: ["name"]
})
