/**
 * Predicates: CEL expressions over one journal entry.
 *
 * Whoever may register a reaction or subscribe may send any text, so everything is bounded before it costs: the text,
 * its nesting and its nodes when it is compiled; the payload by its size when it is read; loops, text and regular
 * expressions by a budget of steps (a microsecond each, four in a process that is cold) when it is evaluated. What
 * exceeds the budget is an evaluation error, on every server and every time alike: no clock takes part.
 */
import * as Effect from "effect/Effect"
import { Refusal } from "../Handlers.js"
import { yieldToEventLoop } from "./internal/eventLoop.js"
import type { Problem } from "./predicate/Problem.js"
import type { Payload } from "./predicate/payload.js"
import type { Entry } from "./store/tables.js"

export interface Verdict {
  /** Whether the expression is true; an error or another value than a boolean is not. */
  readonly matches: boolean
  /** What it cost. */
  readonly steps: number
}

/** A compiled expression. */
export interface Predicate {
  /** Reads what the expression wants of the entry's payload, if anything. */
  readonly payloadOf: ((entry: Entry) => Payload) | undefined
  readonly test: (entry: Entry, payload: Payload | undefined) => Verdict
}

/** Compiles an expression; blank text is always true. The library is loaded with the first one that is not. */
export const compile = (source: string): Effect.Effect<Predicate, Problem> =>
  source.trim() === ""
    ? Effect.succeed(always)
    : Effect.flatMap(
        // A package that cannot be loaded is a broken installation.
        Effect.orDie(Effect.tryPromise(() => import("./predicate/compile.js"))),
        ({ compile }) => compile(source)
      )

export const toRefusal = (problem: Problem): Refusal => Refusal.invalid(problem.message)

/** The entries that a pattern and a predicate select. Other fibers get their turn between two evaluations. */
export const select = (
  matchesSubject: (subject: string) => boolean,
  predicate: Predicate,
  entries: ReadonlyArray<Entry>
): Effect.Effect<ReadonlyArray<Entry>> => {
  const candidates = entries.filter((entry) => matchesSubject(entry.subject))
  return predicate === always ? Effect.succeed(candidates) : evaluate(predicate, candidates)
}

/** Steps in one turn of the event loop, but for a single evaluation that takes more. */
const stepsPerTurn = 3_000

const evaluate = Effect.fnUntraced(function* (predicate: Predicate, entries: ReadonlyArray<Entry>) {
  const selected: Array<Entry> = []
  let steps = 0
  for (const entry of entries) {
    const payload = predicate.payloadOf?.(entry)
    steps += payload?.steps ?? 0
    if (steps >= stepsPerTurn) {
      yield* yieldToEventLoop
      steps = 0
    }
    const verdict = predicate.test(entry, payload)
    if (verdict.matches) {
      selected.push(entry)
    }
    steps += verdict.steps
  }
  if (steps >= stepsPerTurn) {
    yield* yieldToEventLoop
  }
  return selected
})

const always: Predicate = { payloadOf: undefined, test: () => ({ matches: true, steps: 0 }) }
