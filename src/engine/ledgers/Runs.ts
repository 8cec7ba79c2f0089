/**
 * Runs and their leases.
 */
import { create, type MessageShape } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type {
  BeginRunRequest,
  EndRunRequest,
  ListRunsToRecoverRequest,
  ResumeRunRequest
} from "../../gen/tape/v1/tape_pb.js"
import {
  BeginRunResponseSchema,
  EndRunResponseSchema,
  ListRunsToRecoverResponseSchema,
  ResumeRunResponseSchema,
  type RunState,
  RunStateSchema,
  RunStatus
} from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import * as Journal from "../Journal.js"
import * as Subject from "../Subject.js"
import type { Reader } from "../store/Transaction.js"
import { type Run, Runs } from "../store/tables.js"
import { type Answer, after, isOver, limitOf, mergeSorted, nowOr, requireRun, statusWord } from "./common.js"
import { isPruned, Retained } from "./retained.js"

const defaultLeaseMs = 120_000n

/**
 * Opens a run, or takes up the one that the invocation already has.
 *
 * @param leaseIfFree leave a run alone while another owner's lease is alive
 * @param hasCompensated whether something was already undone for a run
 */
export const begin = Effect.fnUntraced(function* (
  context: Journal.Context,
  request: BeginRunRequest,
  leaseIfFree: boolean,
  hasCompensated: (runId: string) => Answer<boolean>
) {
  const { tx } = context
  const existing = yield* tx.find(Runs, "invocation", [
    request.appName,
    request.userId,
    request.sessionId,
    request.invocationId
  ])
  const lease = {
    leaseOwner: request.leaseOwner,
    leaseExpiresAtMs: after(tx.nowMs, request.leaseTtlMs, defaultLeaseMs)
  }
  if (existing === undefined) {
    const run = open(context, request, lease)
    return create(BeginRunResponseSchema, { runId: run.runId, resumed: false, nextSeq: 0n, status: run.status })
  }
  const stays =
    isOver(existing) ||
    existing.compactedAtMs > 0n ||
    isPruned(existing) ||
    (leaseIfFree && isLeasedToAnother(existing, request.leaseOwner, tx.nowMs)) ||
    (existing.status === RunStatus.FAILED && (yield* hasCompensated(existing.runId)))
  const run = stays ? existing : { ...existing, ...lease, ...reopened(existing) }
  if (!stays) {
    tx.put(Runs, run)
  }
  return create(BeginRunResponseSchema, { runId: run.runId, resumed: true, nextSeq: run.seqCursor, status: run.status })
})

/** Takes or renews the lease of an unfinished run, as a compare-and-set. */
export const resume = Effect.fnUntraced(function* (
  { tx }: Journal.Context,
  request: ResumeRunRequest,
  isAwaited: boolean
) {
  const run = yield* requireRun(tx, request.runId)
  if (isFinal(run.status)) {
    return yield* Refusal.precondition(`run finished (${statusWord(run.status)})`)
  }
  if (isLeasedToAnother(run, request.leaseOwner, tx.nowMs)) {
    return yield* Refusal.precondition(
      `lease held by ${JSON.stringify(run.leaseOwner)} until ${new Date(Number(run.leaseExpiresAtMs)).toISOString()}`
    )
  }
  if (run.status === RunStatus.WAITING && isAwaited) {
    return create(ResumeRunResponseSchema, { run: toState(run) })
  }
  const leased = {
    ...run,
    status: run.status === RunStatus.COMPENSATING ? run.status : RunStatus.RUNNING,
    leaseOwner: request.leaseOwner,
    leaseExpiresAtMs: after(tx.nowMs, request.leaseTtlMs, defaultLeaseMs)
  }
  tx.put(Runs, leased)
  return create(ResumeRunResponseSchema, { run: toState(leased) })
})

/** Ends a run. The first final status wins; a repeat answers the stored row. */
export const end = Effect.fnUntraced(function* (context: Journal.Context, request: EndRunRequest) {
  if (!isFinal(request.status) && request.status !== RunStatus.COMPENSATING) {
    return yield* Refusal.invalid(
      `status ${request.status} does not end a run: TERMINAL, FAILED, STUCK, CANCELLED or COMPENSATING does`
    )
  }
  const run = yield* requireRun(context.tx, request.runId)
  if (run.status === request.status || (isFinal(run.status) && !mayFollow(run.status, request.status))) {
    return create(EndRunResponseSchema, { run: toState(run) })
  }
  const ended = Journal.append(
    context,
    {
      ...run,
      status: request.status,
      endedAtMs: isFinal(request.status) ? context.tx.nowMs : 0n,
      leaseOwner: "",
      detailJson: request.detailJson
    },
    {
      kind: "run",
      subject: subjectOf(run, statusWord(request.status)),
      payload: {
        app: run.appName,
        run_id: run.runId,
        session: run.sessionId,
        status: statusWord(request.status),
        user: run.userId
      }
    }
  )
  return create(EndRunResponseSchema, { run: toState(ended) })
})

export const get = (reader: Reader, runId: string): Answer<RunState> => Effect.map(requireRun(reader, runId), toState)

/**
 * Runs that nobody drives: runnable ones, and running ones whose lease has run out. A waiting run is never among them:
 * the signal that it waits for makes it runnable in the same transaction.
 */
export const listToRecover = Effect.fnUntraced(function* (
  reader: Reader,
  request: ListRunsToRecoverRequest,
  nowMs: bigint
) {
  const limit = limitOf(request.limit, 100)
  const runnable = yield* reader.select(Runs, "where status = ? order by lease_expires_at_ms limit ?", [
    RunStatus.RUNNABLE,
    limit
  ])
  const abandoned = yield* reader.select(
    Runs,
    "where status = ? and lease_expires_at_ms < ? order by lease_expires_at_ms limit ?",
    [RunStatus.RUNNING, nowOr(request.nowMs, nowMs), limit]
  )
  const runs = mergeSorted([runnable, abandoned], limit, (run) => run.leaseExpiresAtMs)
  return create(ListRunsToRecoverResponseSchema, { runs: runs.map(toState) })
})

/** The run that a signal without a run id is for: the newest waiting on the gate, else the newest open, else the newest. */
export const route = Effect.fnUntraced(function* (
  reader: Reader,
  session: { readonly appName: string; readonly userId: string; readonly sessionId: string },
  gateName: string
) {
  const key = [session.appName, session.userId, session.sessionId]
  const newest = (condition: string, parameters: ReadonlyArray<string | number>) =>
    reader.select(
      Runs,
      `where app_name = ? and user_id = ? and session_id = ? ${condition} order by started_at_ms desc, run_id desc limit 1`,
      [...key, ...parameters]
    )
  const candidates = [
    yield* newest("and status = ? and waiting_on_gate = ?", [RunStatus.WAITING, gateName]),
    yield* newest("and status not in (?, ?, ?, ?)", [...finalStatuses]),
    yield* newest("", [])
  ].flat()
  const run = candidates[0]
  return run === undefined ? yield* Refusal.notFound("no run for that session") : run
})

const finalStatuses: ReadonlySet<RunStatus> = new Set([
  RunStatus.TERMINAL,
  RunStatus.FAILED,
  RunStatus.STUCK,
  RunStatus.CANCELLED
])

export const isFinal = (status: RunStatus): boolean => finalStatuses.has(status)

/** The ways out of a final status. */
const mayFollow = (from: RunStatus, to: RunStatus): boolean => {
  switch (from) {
    case RunStatus.FAILED:
    case RunStatus.CANCELLED:
      return to === RunStatus.COMPENSATING
    case RunStatus.STUCK:
      return to === RunStatus.COMPENSATING || to === RunStatus.FAILED || to === RunStatus.TERMINAL
    default:
      return false
  }
}

const isLeasedToAnother = (run: Run, owner: string, nowMs: bigint): boolean =>
  (run.status === RunStatus.RUNNING || run.status === RunStatus.COMPENSATING) &&
  run.leaseOwner !== "" &&
  run.leaseOwner !== owner &&
  run.leaseExpiresAtMs > nowMs

/** What changes beside the lease when an unfinished or failed run is taken up again. */
const reopened = (run: Run): Partial<Run> => {
  switch (run.status) {
    case RunStatus.COMPENSATING:
      return {}
    case RunStatus.FAILED:
      return { status: RunStatus.RUNNING, endedAtMs: 0n, waitingOnGate: "" }
    default:
      return { status: RunStatus.RUNNING }
  }
}

const open = (
  context: Journal.Context,
  request: BeginRunRequest,
  lease: Pick<Run, "leaseOwner" | "leaseExpiresAtMs">
): Run => {
  const run: Run = {
    runId: context.tx.newId(),
    appName: request.appName,
    userId: request.userId,
    sessionId: request.sessionId,
    invocationId: request.invocationId,
    status: RunStatus.RUNNING,
    seqCursor: 0n,
    ...lease,
    startedAtMs: context.tx.nowMs,
    endedAtMs: 0n,
    waitingOnGate: "",
    tenantId: request.tenantId,
    actor: request.actor,
    subject: request.subject,
    agentId: request.agentId,
    aiplexInstanceId: request.aiplexInstanceId,
    gatewayRoute: request.gatewayRoute,
    scopesJson: JSON.stringify(request.scopes),
    labelsJson: JSON.stringify(request.labels),
    detailJson: "",
    compactedAtMs: 0n,
    retention: Retained.all
  }
  return Journal.append(context, run, {
    kind: "run",
    subject: subjectOf(run, "running"),
    payload: {
      actor: run.actor,
      agent_id: run.agentId,
      aiplex_instance_id: run.aiplexInstanceId,
      app: run.appName,
      invocation_id: run.invocationId,
      run_id: run.runId,
      session: run.sessionId,
      status: "running",
      subject: run.subject,
      tenant_id: run.tenantId,
      user: run.userId
    }
  })
}

const subjectOf = (run: Run, verb: string): string =>
  Subject.make("run", verb, run.appName, run.userId, run.sessionId, run.runId)

/** The scopes that a run was granted. */
export const scopesOf = (run: Run): ReadonlyArray<string> => JSON.parse(run.scopesJson)

export const toState = (run: Run): MessageShape<typeof RunStateSchema> => {
  const { compactedAtMs: _, detailJson: __, labelsJson, retention: ____, scopesJson: ___, ...state } = run
  return create(RunStateSchema, { ...state, scopes: [...scopesOf(run)], labels: JSON.parse(labelsJson) })
}
