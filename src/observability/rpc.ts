/**
 * The spans of calls: which of them have one, and what it says.
 */
import type { DescMethodUnary, DescService, Message, MessageShape } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import { EffectStatus, type Tape } from "../gen/tape/v1/tape_pb.js"
import { type Attributes, inSpan, type SpanName } from "./tracing.js"

/** Puts a call into its span. */
type CallSpan = <A extends Message, E>(request: unknown, call: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** The span of a unary call; most have none. */
export const spanOf = (method: DescMethodUnary): CallSpan | undefined => {
  if (!Object.hasOwn(spans, method.localName)) return undefined
  // a name found by walking the descriptor has lost its type
  const { name, says, told } = spans[method.localName as keyof typeof spans] as Told
  return (request, call) =>
    inSpan(
      told.length === 0
        ? call
        : Effect.tap(call, (answer) => Effect.annotateCurrentSpan({ ...attributesOf(answer, told) })),
      name,
      () => attributesOf(request, says),
      "client"
    )
}

// ---- internal ----

interface Told<I = string, O = string> {
  readonly name: SpanName
  /** Fields of the request. */
  readonly says: ReadonlyArray<I>
  /** Fields of the answer. */
  readonly told: ReadonlyArray<O>
}

type Spans<S extends DescService> = {
  readonly [K in keyof S["method"]]?: S["method"][K] extends DescMethodUnary<infer I, infer O>
    ? Told<keyof MessageShape<I>, keyof MessageShape<O>>
    : never
}

const spans = {
  beginRun: {
    name: "tape.begin_run",
    says: ["appName", "sessionId", "invocationId", "leaseOwner"],
    told: ["runId", "resumed"]
  },
  resumeRun: { name: "tape.resume_run", says: ["runId", "leaseOwner"], told: [] },
  recordDecision: { name: "tape.record_decision", says: ["runId", "decisionIndex", "model"], told: [] },
  beginEffect: {
    name: "tape.begin_effect",
    says: ["runId", "decisionIndex", "toolName", "connector"],
    told: ["idempotencyKey", "status"]
  },
  completeEffect: { name: "tape.complete_effect", says: ["runId", "idempotencyKey"], told: ["status"] },
  reconcileEffect: { name: "tape.reconcile_effect", says: ["runId", "idempotencyKey"], told: ["status"] },
  awaitSignal: { name: "tape.await_signal", says: ["runId", "gateName"], told: ["delivered"] },
  sendSignal: { name: "tape.send_signal", says: ["runId", "gateName"], told: ["runId", "accepted"] }
} as const satisfies Spans<typeof Tape>

const names: { readonly [field: string]: string } = {
  runId: "tape.run_id",
  appName: "tape.app_name",
  sessionId: "tape.session_id",
  invocationId: "tape.invocation_id",
  leaseOwner: "tape.lease_owner",
  decisionIndex: "tape.decision_index",
  idempotencyKey: "tape.effect_key",
  toolName: "tape.tool",
  gateName: "tape.gate"
}

/** What is absent or empty is left out; so is what a request has that is none. */
const attributesOf = (message: unknown, fields: ReadonlyArray<string>): Attributes => {
  const attributes: { [name: string]: string | number | boolean } = {}
  if (typeof message !== "object" || message === null) return attributes
  for (const field of fields) {
    const value: unknown = Reflect.get(message, field)
    const said = field === "status" && typeof value === "number" ? EffectStatus[value] : value
    if (typeof said === "bigint") attributes[names[field] ?? `tape.${field}`] = Number(said)
    else if ((typeof said === "string" && said !== "") || typeof said === "number" || typeof said === "boolean") {
      attributes[names[field] ?? `tape.${field}`] = said
    }
  }
  return attributes
}
