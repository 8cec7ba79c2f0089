/**
 * One drive of a run: from the lease in hand to the end of the run, or of our part in it.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { TapeClient } from "../Client.js"
import { EffectSemantics, EffectStatus, type RunState, RunStatus } from "../gen/tape/v1/tape_pb.js"
import { begin, find, type Row, readable, reserved, settle, settleOpen } from "./act.js"
import { limited } from "./budget.js"
import type { Definition } from "./definition.js"
import { RecordUnreadable, type RunError, RunFailed, RunFinished, RunRefused } from "./errors.js"
import { giveBack, keep, type Lease } from "./lease.js"
import { ask, CurrentRun, compare, ended, type Life, RunStopped, stop } from "./run.js"
import { finish } from "./undo.js"

/** Runs the program under the lease, and journals how it ended. `inputJson` is what the caller brought, if any. */
export const drive = <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  life: Life,
  lease: Lease,
  inputJson: string | undefined
): Effect.Effect<A, E | RunError, R> => {
  const work = Effect.gen(function* () {
    if (life.mode === "resumed") {
      const outcome = yield* recorded(definition, life)
      // A former life got as far as its outcome; what is left is to end the run.
      if (outcome !== undefined) return yield* end(definition, life, outcome.status, outcome.answer, undefined)
    }
    const input = yield* inputOf(definition, life, inputJson)
    const exit = yield* Effect.exit(run(definition, life, input))
    return yield* conclude(definition, life, exit)
  })
  return reported(life, held(life, lease, work))
}

/** What a finished run came to: its journaled outcome, else what its program makes of its records, and of them only. */
export const finished = <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  life: Life,
  row: RunState
): Effect.Effect<A, E | RunError, R> =>
  reported(
    life,
    Effect.gen(function* () {
      const stopped = ended(row)
      if (stopped !== undefined) return yield* stop(life, stopped)
      const outcome = yield* recorded(definition, life)
      if (outcome !== undefined) return yield* outcome.answer
      const input = yield* inputOf(definition, life, undefined)
      const output = yield* run(definition, life, input)
      if (row.status === RunStatus.TERMINAL) return output
      return yield* stop(life, new RunFailed({ runId: life.runId, reason: "its error is not journaled" }))
    })
  )

/** The journaled outcome of a run, as its program would give it. */
const recorded = Effect.fnUntraced(function* <I, A, E, R>(definition: Definition<I, A, E, R>, life: Life) {
  const { error, output } = definition
  if (output === undefined && error === undefined) return undefined
  const record = yield* find(life, reserved(life, "outcome").key)
  if (record?.status === EffectStatus.CONFIRMED && output !== undefined) {
    const value = yield* readable(life, "outcome", output.decode(record.responseJson))
    return { status: RunStatus.TERMINAL as const, answer: Effect.succeed(value) }
  }
  if (record?.status === EffectStatus.FAILED && error !== undefined) {
    const failure = yield* readable(life, "outcome", error.decode(record.errorJson))
    return { status: RunStatus.FAILED as const, answer: Effect.fail(failure) }
  }
  return undefined
})

/** Undoes what is left of a run that is COMPENSATING, under the lease. */
export const undo = <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  life: Life,
  lease: Lease
): Effect.Effect<unknown, RunError, R> => {
  const work = Effect.provideService(finish(life, definition.compensatorOf), TapeClient, life.tape)
  // The tape is not among what comes from outside.
  return reported(life, held(life, lease, work as Effect.Effect<unknown, never, R>))
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Work while the lease is ours. Interrupted, the lease is given back, but not before the work has come to rest: a race
 * would go on at once, and another process would begin beside the last of it.
 */
const held = <A, E, R>(life: Life, lease: Lease, work: Effect.Effect<A, E, R>): Effect.Effect<A, E | RunError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const worker = yield* Effect.fork(restore(work))
      const keeper = yield* Effect.fork(restore(keep(life, lease)))
      const first = Effect.raceFirst(Fiber.join(worker), Fiber.join(keeper))
      return yield* restore(first).pipe(
        Effect.ensuring(Fiber.interruptAll([worker, keeper])),
        Effect.onInterrupt(() => giveBack(life, lease))
      )
    })
  )

const run = <I, A, E, R>(definition: Definition<I, A, E, R>, life: Life, input: I): Effect.Effect<A, E, R> =>
  Effect.scopedWith((scope) =>
    Effect.mapInputContext(
      Effect.suspend(() => definition.program(input)),
      (context: Context.Context<R>) =>
        context.pipe(Context.add(CurrentRun, life), Context.add(TapeClient, life.tape), Context.add(Scope.Scope, scope))
    )
  )

/** The input as the journal has it. What was recorded first counts; a caller who brings something else is told. */
const inputOf = Effect.fnUntraced(function* <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  life: Life,
  given: string | undefined
) {
  const place = reserved(life, "input")
  const record = life.mode === "first" ? undefined : yield* find(life, place.key)
  if (record !== undefined && given !== undefined) yield* compare(life, "input", record.requestJson, given)
  const text = record?.requestJson ?? given
  if (text === undefined) {
    return yield* life.mode === "finished"
      ? stop(life, new RunFinished({ runId: life.runId, asked: "its input" }))
      : stop(
          life,
          new RunRefused({ app: definition.name, reason: `${life.runId} was begun, but its input was not recorded` })
        )
  }
  if (life.mode !== "finished" && record?.status !== EffectStatus.CONFIRMED) {
    const row = yield* observed(life, "input", text)
    // Once, before the input counts as recorded: later lives leave a cap that somebody raised as it is.
    if (definition.budget !== undefined) yield* limited(life, definition.budget)
    yield* settle(life, row, { status: EffectStatus.CONFIRMED })
  }
  return yield* readable(life, "input", definition.input.decode(text))
})

const observed = (life: Life, name: "input" | "outcome", requestJson: string): Effect.Effect<Row> =>
  begin(life, {
    place: reserved(life, name),
    tool: `run.${name}`,
    requestJson,
    semantics: EffectSemantics.OBSERVE_ONLY
  })

/** Journals how the program ended. A defect or an interruption is no end: the run stays as it is, to be taken up again. */
const conclude = Effect.fnUntraced(function* <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  life: Life,
  exit: Exit.Exit<A, E>
) {
  if (exit._tag === "Success" || Option.isSome(Cause.failureOption(exit.cause))) yield* settleOpen(life)
  if (exit._tag === "Success") {
    if (definition.output === undefined) return yield* end(definition, life, RunStatus.TERMINAL, exit, undefined)
    const responseJson = yield* Effect.catchAll(definition.output.encode(exit.value), ({ reason }) =>
      stop(
        life,
        new RecordUnreadable({ runId: life.runId, record: "outcome", reason: `it cannot be written: ${reason}` })
      )
    )
    return yield* journal(definition, life, { status: EffectStatus.CONFIRMED, responseJson }, undefined)
  }
  const failure = Cause.failureOption(exit.cause)
  if (Option.isNone(failure)) return yield* exit
  const detail = JSON.stringify({ error: sentence(failure.value) })
  const errorJson =
    definition.error === undefined ? Option.none() : yield* Effect.option(definition.error.encode(failure.value))
  if (Option.isNone(errorJson)) return yield* end(definition, life, RunStatus.FAILED, exit, detail)
  return yield* journal(definition, life, { status: EffectStatus.FAILED, errorJson: errorJson.value }, detail)
})

/** The outcome goes in before the run ends, so that a finished run always has it. Every life answers by the record. */
const journal = Effect.fnUntraced(function* <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  life: Life,
  verdict: Parameters<typeof settle>[2],
  detail: string | undefined
) {
  const row = yield* observed(life, "outcome", "")
  if (row.status === EffectStatus.PENDING || row.status === EffectStatus.UNKNOWN) yield* settle(life, row, verdict)
  const outcome = yield* recorded(definition, life)
  if (outcome === undefined) {
    const reason = "the recorded outcome is of a kind that the app does not describe"
    return yield* stop(life, new RecordUnreadable({ runId: life.runId, record: "outcome", reason }))
  }
  return yield* end(definition, life, outcome.status, outcome.answer, detail)
})

/** The first final status wins: somebody may have cancelled the run while it came to its end. */
const end = Effect.fnUntraced(function* <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  life: Life,
  status: RunStatus.TERMINAL | RunStatus.FAILED,
  answer: Effect.Effect<A, E>,
  detailJson = ""
) {
  if (status === RunStatus.FAILED && definition.compensates) {
    life.state.undoing = true
    return yield* answer
  }
  const call = life.tape.endRun({ runId: life.runId, status, detailJson })
  const { run } = yield* ask(life, Effect.uninterruptible(call))
  const stopped = run === undefined || run.status === status ? undefined : ended(run)
  return yield* stopped === undefined ? answer : stop(life, stopped)
})

/** What stopped the run becomes a typed error; the life is over for fibers that outlive it. */
export const reported = <A, E, R>(life: Life, work: Effect.Effect<A, E, R>): Effect.Effect<A, E | RunError, R> =>
  work.pipe(
    Effect.catchAllCause((cause): Effect.Effect<A, E | RunError> => {
      const stopped = life.state.stopped ?? signal(cause)
      if (stopped === undefined) return Effect.failCause(cause)
      // Waiting for it to be taken up again would change nothing: somebody has to grant more first.
      return stopped._tag === "ScopeDenied" || (stopped._tag === "BudgetExceeded" && life.mode !== "finished")
        ? Effect.zipRight(
            Effect.ignore(
              life.tape.endRun({
                runId: life.runId,
                status: RunStatus.FAILED,
                detailJson: JSON.stringify({ error: stopped.message })
              })
            ),
            Effect.fail(stopped)
          )
        : Effect.fail(stopped)
    }),
    Effect.ensuring(
      Effect.sync(() => {
        life.state.stopped ??= new RunFinished({ runId: life.runId, asked: "a call made after its end" })
      })
    )
  )

const signal = (cause: Cause.Cause<unknown>): RunError | undefined => {
  for (const defect of Cause.defects(cause)) if (defect instanceof RunStopped) return defect.error
  return undefined
}

const sentence = (error: unknown): string => {
  if (error instanceof Error) return error.message
  return typeof error === "string" ? error : (JSON.stringify(error) ?? String(error))
}
