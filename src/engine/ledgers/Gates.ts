/**
 * Gates: a run waits for a signal, somebody sends it, in either order.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type { AwaitSignalRequest, SendSignalRequest } from "../../gen/tape/v1/tape_pb.js"
import { AwaitSignalResponseSchema, RunStatus, SendSignalResponseSchema } from "../../gen/tape/v1/tape_pb.js"
import * as Journal from "../Journal.js"
import * as Subject from "../Subject.js"
import type { Reader } from "../store/Transaction.js"
import { Gates, type Run, Runs } from "../store/tables.js"
import { isOver, requireOpen, requireRun } from "./common.js"
import { isFinal, route } from "./Runs.js"

/** Answers the gate's resolution, or parks the run until it comes. */
export const await_ = Effect.fnUntraced(function* (context: Journal.Context, request: AwaitSignalRequest) {
  const { tx } = context
  const { gateName, payloadJson: contextJson, runId } = request
  const run = yield* requireRun(tx, runId)
  const gate = yield* tx.get(Gates, { runId, gateName })
  if (gate?.delivered === true) {
    if (!gate.consumed) {
      tx.put(Gates, { ...gate, consumed: true })
    }
    return create(AwaitSignalResponseSchema, { delivered: true, resolutionJson: gate.resolutionJson })
  }
  if (gate === undefined) {
    yield* requireOpen(run, "gate")
  }
  if (!isOver(run)) {
    tx.put(Gates, {
      runId,
      gateName,
      contextJson,
      resolutionJson: "",
      delivered: false,
      consumed: false,
      createdAtMs: gate?.createdAtMs ?? tx.nowMs
    })
    park(context, run, gateName, gate === undefined)
  }
  return create(AwaitSignalResponseSchema, { delivered: false })
})

/** Delivers a gate's resolution. The first one stands; a byte-equal repeat is accepted again. */
export const send = Effect.fnUntraced(function* (context: Journal.Context, request: SendSignalRequest) {
  const { tx } = context
  const { gateName, resolutionJson } = request
  // Routing selects, so it comes before anything is written.
  const run = request.runId === "" ? yield* route(tx, request, gateName) : yield* requireRun(tx, request.runId)
  const { runId, status } = run
  const gate = yield* tx.get(Gates, { runId, gateName })
  if (gate?.delivered === true) {
    return gate.resolutionJson === resolutionJson
      ? create(SendSignalResponseSchema, { accepted: true, runId })
      : create(SendSignalResponseSchema, { accepted: false, runId, runStatus: status })
  }
  if (isFinal(status)) {
    return create(SendSignalResponseSchema, { accepted: false, runId, runStatus: status })
  }
  tx.put(Gates, {
    ...(gate ?? { runId, gateName, contextJson: "", consumed: false, createdAtMs: tx.nowMs }),
    resolutionJson,
    delivered: true
  })
  if (!isWaitingOn(run, gateName)) {
    return create(SendSignalResponseSchema, { accepted: true, runId })
  }
  const released = { ...run, status: RunStatus.RUNNABLE, waitingOnGate: "" }
  Journal.append(context, released, entry("released", gateName, runId))
  return create(SendSignalResponseSchema, { accepted: true, runId, runStatus: released.status })
})

/** Whether a run waits for a gate whose signal has not come. */
export const isAwaited = Effect.fnUntraced(function* (reader: Reader, runId: string) {
  const run = yield* reader.get(Runs, { runId })
  if (run === undefined || run.waitingOnGate === "") {
    return false
  }
  const gate = yield* reader.get(Gates, { runId, gateName: run.waitingOnGate })
  return gate?.delivered !== true
})

const isWaitingOn = (run: Run, gateName: string): boolean =>
  run.status === RunStatus.WAITING && run.waitingOnGate === gateName

/** A failed or compensating run keeps its status: waiting must not undo that. */
const park = (context: Journal.Context, run: Run, gateName: string, isNew: boolean): void => {
  const keepsStatus = run.status === RunStatus.FAILED || run.status === RunStatus.COMPENSATING
  const changes = keepsStatus ? isNew : !isWaitingOn(run, gateName)
  if (changes) {
    const parked = keepsStatus ? run : { ...run, status: RunStatus.WAITING, waitingOnGate: gateName, leaseOwner: "" }
    Journal.append(context, parked, entry("waiting", gateName, run.runId))
  }
}

const entry = (status: "waiting" | "released", gate: string, runId: string): Journal.Event => ({
  kind: "gate",
  subject: Subject.make("gate", status, gate, runId),
  payload: { gate, status }
})
