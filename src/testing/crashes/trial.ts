import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import type { TapeClient } from "../../Client.js"
import { sentenceOf } from "../../internal/sentence.js"
import type { Scenario } from "../Lineage.js"
import { Daemons } from "../tape/daemons.js"
import type { Journal } from "../tape/journal.js"
import { type Life, lifeUnder } from "../tape/life.js"
import { Doom, Fate, type Process } from "../tape/mortal.js"
import { type Run, type State, TestTape } from "../tape/service.js"

/** What is tried. */
export interface Subject<R> {
  readonly program: Effect.Effect<unknown, unknown, R>
  readonly beside: Effect.Effect<unknown, unknown, R>
  readonly checks: ReadonlyArray<Effect.Effect<unknown, unknown, R>>
  readonly again: "program" | "reactors"
}

/** What is to be found again after a crash. */
export interface Good {
  readonly journal: Journal
  readonly runs: ReadonlyArray<Run>
  readonly tookMs: number
}

/** The program without a crash. `reasons` say why that is not good, if it is not. */
export const goodRun = <R>(
  subject: Subject<R>,
  limitMs: number
): Effect.Effect<Good & { readonly reasons: ReadonlyArray<string> }, never, R | TestTape | TapeClient> =>
  Effect.gen(function* () {
    const startedAt = yield* Clock.currentTimeMillis
    const until = startedAt + limitMs
    yield* Effect.fork(subject.beside)
    const life = yield* lifeUnder(subject.program, new Fate())
    yield* passing(until, isOver(life))
    const end = endOf(life)
    yield* passing(until, quiet)
    const { journal, runs } = yield* stateNow
    const tookMs = (yield* Clock.currentTimeMillis) - startedAt
    const reasons = end === undefined ? yield* failuresOf(subject.checks) : [end]
    yield* life.kill
    return { journal, runs, tookMs, reasons }
  })

/** What became of a scenario. */
export interface Outcome {
  readonly deaths: ReadonlyArray<Process>
  readonly died: boolean
  readonly recovered: boolean
  readonly reason: string
  readonly failures: ReadonlyArray<string>
}

/** The program with its deaths. */
export const trial = <R>(
  subject: Subject<R>,
  scenario: Scenario,
  /** The runs when all is well. */
  runs: ReadonlyArray<Run>,
  limitMs: number
): Effect.Effect<Outcome, never, R | TestTape | TapeClient> =>
  Effect.gen(function* () {
    const until = (yield* Clock.currentTimeMillis) + limitMs
    const fate = Option.match(yield* Effect.serviceOption(Daemons), {
      onNone: () => new Fate(),
      onSome: (daemons) => daemons.fate
    })
    const { again, beside, checks, program } = subject
    fate.dooms = scenario.deaths.map((death) => new Doom(death))
    yield* Effect.fork(beside)
    let life = yield* lifeUnder(program, fate)
    const isFinished = Effect.map(stateNow, (state) => difference(runs, state.runs) === undefined)
    let isGone = false
    const isEnded = Effect.suspend(() => (isGone ? isFinished : isOver(life)))
    for (const [index, doom] of fate.dooms.entries()) {
      // What works beside it may still come to its death when the program is over.
      yield* passing(
        until,
        Effect.suspend(() => (doom.by === undefined ? both(isEnded, quiet) : Effect.succeed(true)))
      )
      // What it did not come to here it does not come to later.
      if (doom.by === undefined) break
      if (doom.by === "program") {
        isGone = again === "reactors" && scenario.nodes[index]?.kind !== "run"
        if (!isGone) life = yield* lifeUnder(program, fate)
      }
    }
    const deaths = fate.dooms.flatMap(({ by }) => by ?? [])
    fate.dooms = []
    yield* passing(until, isEnded)
    yield* passing(until, quiet)
    const reason = isGone ? difference(runs, (yield* stateNow).runs) : endOf(life)
    const failures = yield* failuresOf(checks)
    yield* life.kill
    const died = deaths.length === scenario.deaths.length
    return { deaths, died, recovered: reason === undefined, reason: reason ?? "", failures }
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const stateNow: Effect.Effect<State, never, TestTape> = Effect.flatMap(TestTape, ({ state }) => state)

/** Lets time go on until something is so, nothing more comes, or it is late. */
const passing = <R>(until: number, isSo: Effect.Effect<boolean, never, R>): Effect.Effect<void, never, R | TestTape> =>
  Effect.gen(function* () {
    const { nextWake } = yield* TestTape
    // Not even a moment: until everything waits for the clock.
    yield* TestClock.adjust(0)
    while (!(yield* isSo)) {
      const next = yield* nextWake
      if (next === undefined || next > until) return
      yield* TestClock.setTime(next)
    }
  })

const isOver = ({ fiber }: Life<unknown, unknown>): Effect.Effect<boolean> =>
  Effect.sync(() => fiber.unsafePoll() !== null)

const both = <R, R2>(one: Effect.Effect<boolean, never, R>, other: Effect.Effect<boolean, never, R2>) =>
  Effect.zipWith(one, other, (one, other) => one && other)

/** Why a life did not come to a good end, if it did not. */
const endOf = ({ fiber }: Life<unknown, unknown>): string | undefined => {
  const exit = fiber.unsafePoll()
  if (exit === null) return "the program does not end"
  return Exit.isFailure(exit) ? sentenceOf(exit.cause) : undefined
}

/** Whether there is nothing to wait for any more. */
const quiet: Effect.Effect<boolean, never, TestTape> = Effect.map(
  stateNow,
  ({ effects, obligations, runs }) =>
    runs.every(({ status }) => resting.has(status)) &&
    effects.every(({ status }) => status !== "PENDING" && status !== "UNKNOWN") &&
    obligations.every(({ status }) => status !== "COMMITTED")
)

const resting: ReadonlySet<string> = new Set(["TERMINAL", "FAILED", "CANCELLED", "STUCK", "WAITING"])

/** In what runs are not what they are when all is well, if they are not. */
const difference = (good: ReadonlyArray<Run>, found: ReadonlyArray<Run>): string | undefined => {
  for (const { app, invocation, status } of good) {
    const run = found.find((run) => run.app === app && run.invocation === invocation)
    if (run?.status !== status) {
      return `the run ${invocation} of ${app} is ${run?.status ?? "not there"}, and ${status} when all is well`
    }
  }
  return undefined
}

const failuresOf = <R>(
  checks: ReadonlyArray<Effect.Effect<unknown, unknown, R>>
): Effect.Effect<ReadonlyArray<string>, never, R> =>
  Effect.map(
    Effect.forEach(checks, (check) =>
      Effect.matchCause(check, { onFailure: (cause) => [sentenceOf(cause)], onSuccess: () => [] })
    ),
    (sentences) => sentences.flat()
  )
