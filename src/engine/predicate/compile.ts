/** Compiling and evaluating, with the library: loaded only when somebody uses a predicate. */
import { type CelValue, celEnv, celError, isCelError, parse, plan } from "@bufbuild/cel"
import * as Either from "effect/Either"
import type { Predicate } from "../Predicate.js"
import type { Entry } from "../store/tables.js"
import { childrenOf, type Expression } from "./expression.js"
import { functionsOf, Meter } from "./meter.js"
import { metered } from "./metered.js"
import { Problem } from "./Problem.js"
import * as payload from "./payload.js"
import * as rules from "./rules.js"
import * as text from "./text.js"

export const compile = (source: string): Either.Either<Predicate, Problem> => {
  const problem = text.problemOf(source)
  return problem === undefined
    ? Either.flatMap(parsed(source), (expression) => planned(expression))
    : Either.left(new Problem({ detail: problem }))
}

const meter = new Meter()
const environment = celEnv({ funcs: functionsOf(meter) })

const parsed = (source: string): Either.Either<Expression, Problem> =>
  Either.filterOrLeft(
    Either.try({
      try: () => parse(text.withoutComments(source)).expr,
      catch: (cause) => new Problem({ detail: `does not parse: ${sentenceOf(cause)}` })
    }),
    (expression) => expression !== undefined,
    () => new Problem({ detail: "does not parse: nothing was found" })
  )

const planned = (expression: Expression): Either.Either<Predicate, Problem> => {
  const problem = rules.problemOf(expression)
  if (problem !== undefined) {
    return Either.left(new Problem({ detail: problem }))
  }
  return Either.map(
    Either.try({
      try: () => plan(environment, metered(expression)),
      catch: (cause) => new Problem({ detail: sentenceOf(cause) })
    }),
    (evaluate): Predicate => ({
      payloadOf: names(expression, "payload") ? ({ payloadJson }) => payload.read(payloadJson) : undefined,
      test: (entry, read) => {
        const { result, steps } = meter.run(() => evaluate(bindingsOf(entry, read?.value ?? unread)))
        return { matches: !isCelError(result) && result === true, steps: plainSteps + steps }
      }
    })
  )
}

/** Of an expression without anything that has to pay. */
const plainSteps = 5

const bindingsOf = (entry: Entry, value: payload.Payload["value"]) => ({
  global_seq: entry.globalSeq,
  run_id: entry.runId,
  seq: entry.seq,
  kind: entry.kind,
  subject: entry.subject,
  ts_ms: entry.tsMs,
  schema_version: BigInt(entry.schemaVersion),
  trace_id: entry.traceId,
  // A variable may be an error, which counts only where it is looked at; the type of bindings leaves that out.
  payload: value as CelValue
})

const unread = celError("the payload was not read")

const names = (expression: Expression, name: string): boolean =>
  (expression.exprKind.case === "identExpr" && expression.exprKind.value.name === name) ||
  childrenOf(expression).some((child) => names(child, name))

/** The parser lists everything that it would have liked; the beginning says it all. */
const sentenceOf = (cause: unknown): string => {
  const message =
    cause instanceof RangeError ? "it is nested too deeply" : cause instanceof Error ? cause.message : String(cause)
  return message.length > 200 ? `${message.slice(0, 200)}…` : message
}
