/**
 * The trace context that a call brings along, as its journal entries keep it.
 */
import type { Call } from "../Handlers.js"

export interface Trace {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string
}

export const none: Trace = { traceId: "", spanId: "", parentSpanId: "" }

/** From W3C `traceparent` and our `tape-parent-span-id`; malformed counts as absent. */
export const fromCall = (call: Call): Trace => {
  const context = traceparent.exec(call.metadata["traceparent"] ?? "")?.groups
  const traceId = context?.["trace"] ?? ""
  const spanId = context?.["span"] ?? ""
  const parent = call.metadata["tape-parent-span-id"] ?? ""
  const isValid = context !== undefined && context["version"] !== "ff" && isNonZero(traceId) && isNonZero(spanId)
  return {
    traceId: isValid ? traceId : "",
    spanId: isValid ? spanId : "",
    parentSpanId: /^[0-9a-f]{16}$/.test(parent) && isNonZero(parent) ? parent : ""
  }
}

const traceparent = /^(?<version>[0-9a-f]{2})-(?<trace>[0-9a-f]{32})-(?<span>[0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?$/

const isNonZero = (id: string): boolean => /[1-9a-f]/.test(id)
