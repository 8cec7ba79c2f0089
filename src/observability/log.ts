/**
 * One JSON object a line.
 *
 * @since 0.1.0
 */
import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import type * as HashMap from "effect/HashMap"
import type * as Layer from "effect/Layer"
import * as List from "effect/List"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { write } from "./json.js"

/**
 * The fields of a log line that have a place of their own, in their order.
 *
 * @since 0.1.0
 * @category logging
 */
export const logFields = [
  "ts",
  "level",
  "msg",
  "tenant_id",
  "app_name",
  "run_id",
  "invocation_id",
  "session_id",
  "seq",
  "effect_key",
  "decision_index",
  "reactor",
  "lease_owner"
] as const

/**
 * A line of JSON for each log entry: {@link logFields} in their order, then whatever else there is.
 *
 * - `ts` is the time of the entry by its `Clock`, in epoch seconds with milliseconds; `level` is `INFO`, `WARN`, …
 * - Annotations are fields. `runId` counts as `run_id`, and so on for all that have a place (`idempotency_key` as
 *   `effect_key`); the others follow by name, since Effect keeps no order of annotations.
 * - Plain objects among what is logged are fields too, in their own order, and go before annotations of the same name:
 *   `Effect.log("sent", { effect_key, amount })`. The rest of what is logged is the text `msg`.
 * - At the end: `trace_id` and `span_id` inside a span, `spans` (log spans, in milliseconds), `cause`.
 * - `null`, `undefined` and `""` are left out, `0` and `false` are not. Nothing overwrites `ts`, `level` and `msg`.
 * - Any value can be logged: a `bigint` is a number (as text beyond 2^53), a cycle is `"[cyclic]"`, an `Error` its text.
 *
 * @since 0.1.0
 * @category logging
 */
export const jsonLogger: Logger.Logger<unknown, string> = Logger.make(
  ({ annotations, cause, context, date, logLevel, message, spans }) => {
    const fields = new Map<string, unknown>()
    annotate(fields, annotations)
    const text: Array<string> = []
    for (const part of Array.ensure(message)) {
      const own = entriesOf(part)
      if (own === undefined) text.push(typeof part === "string" ? part : textOf(part))
      else for (const [name, value] of own) if (!isEmpty(value)) fields.set(canonical(name), value)
    }
    const span = Context.getOption(FiberRefs.getOrDefault(context, FiberRef.currentContext), spanTag)
    add(
      fields,
      "trace_id",
      Option.map(span, ({ traceId }) => traceId)
    )
    add(
      fields,
      "span_id",
      Option.map(span, ({ spanId }) => spanId)
    )
    if (List.isCons(spans)) {
      const now = date.getTime()
      add(
        fields,
        "spans",
        Option.some(Object.fromEntries([...spans].map((span) => [span.label, now - span.startTime])))
      )
    }
    if (!Cause.isEmpty(cause)) add(fields, "cause", Option.some(Cause.pretty(cause, { renderErrorCause: true })))

    // Written by hand: an object would move keys like "1" to its front.
    let line = `{"ts":${(date.getTime() / 1000).toFixed(3)},"level":${write(logLevel.label)},"msg":${write(text.join(" "))}`
    const say = (name: string, value: unknown) => {
      if (!isEmpty(value)) line += `,${write(name)}:${write(value)}`
    }
    for (const name of logFields) {
      if (!fixed.has(name)) say(name, fields.get(name))
      fields.delete(name)
    }
    for (const [name, value] of fields) say(name, value)
    return `${line}}`
  }
)

/**
 * {@link jsonLogger} instead of Effect's default logger, written to standard error by the `Console` of the program.
 *
 * @example
 * import { Observability } from "effect-tape"
 * import { Effect } from "effect"
 *
 * // {"ts":1764201600.123,"level":"INFO","msg":"sent","run_id":"r1","amount":100}
 * const sent = Effect.log("sent", { amount: 100 }).pipe(
 *   Effect.annotateLogs("runId", "r1"),
 *   Effect.provide(Observability.layerJsonLog)
 * )
 *
 * @since 0.1.0
 * @category logging
 */
export const layerJsonLog: Layer.Layer<never> = Logger.replace(
  Logger.defaultLogger,
  Logger.withConsoleError(jsonLogger)
)

// ---- internal ----

const fixed: ReadonlySet<string> = new Set(["ts", "level", "msg"])

const aliases: ReadonlyMap<string, string> = new Map([
  ["tenantId", "tenant_id"],
  ["appName", "app_name"],
  ["runId", "run_id"],
  ["invocationId", "invocation_id"],
  ["sessionId", "session_id"],
  ["effectKey", "effect_key"],
  ["idempotencyKey", "effect_key"],
  ["idempotency_key", "effect_key"],
  ["decisionIndex", "decision_index"],
  ["leaseOwner", "lease_owner"]
])

const canonical = (name: string): string => aliases.get(name) ?? name

/** Those under the name of the field itself go before their other spellings. */
const annotate = (fields: Map<string, unknown>, annotations: HashMap.HashMap<string, unknown>): void => {
  const named = [...annotations].toSorted(([a], [b]) => (a < b ? -1 : 1))
  for (const [name, value] of named) if (!aliases.has(name)) fields.set(name, value)
  for (const [name, value] of named) add(fields, canonical(name), Option.some(value))
}

const add = (fields: Map<string, unknown>, name: string, value: Option.Option<unknown>): void => {
  if (Option.isSome(value) && !fields.has(name)) fields.set(name, value.value)
}

const spanTag = Tracer.ParentSpan

const isEmpty = (value: unknown): boolean => value === null || value === undefined || value === ""

/** What a plain object holds; none for anything else, and for one that does not let itself be read. */
const entriesOf = (value: unknown): ReadonlyArray<readonly [string, unknown]> | undefined => {
  try {
    if (typeof value !== "object" || value === null) return undefined
    const prototype: unknown = Object.getPrototypeOf(value)
    return prototype === Object.prototype || prototype === null ? Object.entries(value) : undefined
  } catch {
    return undefined
  }
}

const textOf = (value: unknown): string => {
  if (typeof value === "symbol" || typeof value === "function" || value === undefined) return String(value)
  const written = write(value)
  return written.startsWith('"') ? String(JSON.parse(written)) : written
}
