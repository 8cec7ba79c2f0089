/**
 * Tools that run inside the agent: journaled before and after, short-circuited on replay.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import { EffectSemantics, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { sentenceOfError } from "../internal/sentence.js"
import { begin, place, type Row, readable, settle } from "./act.js"
import { AckLost, EffectFailed, EffectUnknown, ToolMisconfigured } from "./errors.js"
import * as Json from "./json.js"
import { enter, type Life, sealed } from "./run.js"
import { checked, compensateOf, failureOf, finishTool, statusCheckOf } from "./toolValue.js"
import type { Call, Tool, ToolCallOptions } from "./types.js"
import { owe } from "./undo.js"

/**
 * What a tool is made of.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolOptions<I, IE, IR, A, AE, AR, E, EE, ER, R, RS, RC, RT> {
  /** Journaled as the effect's request. */
  readonly input: Schema.Schema<I, IE, IR>
  /** Journaled when the effect is confirmed, and given back on replay. */
  readonly output: Schema.Schema<A, AE, AR>
  /** The failures that are an answer: journaled as FAILED, and raised again on replay. Defaults to none. */
  readonly error?: Schema.Schema<E, EE, ER> | undefined
  /**
   * `idempotent` (the default): the counterparty dedupes on `call.idempotencyKey`, so the body may run again.
   * `observe_only`: it changes nothing. What is neither goes through the outbox (`Outbox.tool`).
   */
  readonly semantics?: "idempotent" | "observe_only" | undefined
  /** The effect itself. It may also fail with `AckLost`: the effect is then UNKNOWN, and checked. */
  readonly run: (input: I, call: Call) => Effect.Effect<NoInfer<A>, NoInfer<E> | AckLost, R>
  /** Asks the counterparty what became of a call: some = done, none = it knows nothing of it (and never will). */
  readonly statusCheck?: ((call: Call, input: I) => Effect.Effect<Option.Option<NoInfer<A>>, unknown, RS>) | undefined
  /** Undoes a confirmed effect. It may be called more than once for one effect: `call.idempotencyKey` is the same. */
  readonly compensate?: ((input: I, output: A, call: Call) => Effect.Effect<unknown, unknown, RC>) | undefined
  /** Repeats the body on its declared failures, with the same key. Defaults to no repetition. */
  readonly retry?: Schedule.Schedule<unknown, NoInfer<E>, RT> | undefined
  /** How long one attempt may take. One that takes longer counts as `AckLost`. Defaults to no limit. */
  readonly timeout?: Duration.DurationInput | undefined
  /** The scope that the run must have been granted, or a call ends it with `ScopeDenied`. Defaults to none. */
  readonly scope?: string | undefined
}

/**
 * A tool that runs inside the agent. Its intent is in the journal before the body runs, its result before the call
 * answers; a later life of the run gets the recorded result and does not run the body.
 *
 * A body that was cut off by a crash is checked (`statusCheck`) or, without a check, run again with the same idempotency
 * key: its counterparty must dedupe on it. Calls fail with the declared `error`, `EffectFailed` or `EffectUnknown`.
 *
 * ```ts
 * import { Durable } from "effect-tape"
 * import { Effect, Schema } from "effect"
 *
 * export const BookTruck = Durable.tool("book_truck", {
 *   input: Schema.Struct({ from: Schema.String, to: Schema.String }),
 *   output: Schema.Struct({ ref: Schema.String }),
 *   run: ({ from, to }, call) => Effect.succeed({ ref: `${from}-${to}-${call.attempt}` })
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const tool = <
  const Name extends string,
  I,
  IE,
  IR,
  A,
  AE,
  AR,
  E = never,
  EE = never,
  ER = never,
  R = never,
  RS = never,
  RC = never,
  RT = never
>(
  name: Name,
  options: ToolOptions<I, IE, IR, A, AE, AR, E, EE, ER, R, RS, RC, RT>
): Tool<Name, I, A, E, IR | AR | ER | R | RS | RC | RT> => {
  checked(name, options)
  inlined(name, options)
  const codecs = {
    input: Json.codec(options.input),
    output: Json.codec(options.output),
    error: options.error === undefined ? undefined : Json.codec(options.error)
  }
  const semantics = options.semantics === "observe_only" ? EffectSemantics.OBSERVE_ONLY : EffectSemantics.IDEMPOTENT

  const compensation = options.compensate === undefined ? undefined : { kind: name }

  const answer = Effect.fnUntraced(function* (life: Life, row: Row) {
    switch (row.status) {
      case EffectStatus.CONFIRMED:
        // Also on replay: a life that died right before it left this out.
        if (compensation !== undefined) yield* owe(life, row, compensation.kind)
        return yield* readable(life, row.key, codecs.output.decode(row.responseJson))
      case EffectStatus.FAILED:
        return yield* failureOf(name, row, codecs.error)
      default:
        return yield* new EffectUnknown({ tool: name, idempotencyKey: row.key, reason: reasonOf(row) })
    }
  })

  const confirm = (life: Life, row: Row, output: A) =>
    codecs.output.encode(output).pipe(
      Effect.catchAll(({ reason }) =>
        // It happened, and what it gave cannot be written: a mistake in the tool, and not a failure of the effect.
        Effect.zipRight(
          settle(life, row, { status: EffectStatus.UNKNOWN, errorJson: note(`its output does not fit: ${reason}`) }),
          Effect.die(new ToolMisconfigured({ tool: name, reason: `its output does not fit its schema: ${reason}` }))
        )
      ),
      Effect.flatMap((responseJson) => settle(life, row, { status: EffectStatus.CONFIRMED, responseJson })),
      Effect.flatMap((settled) => answer(life, settled))
    )

  const refuse = (life: Life, row: Row, error: E) =>
    (codecs.error === undefined ? Json.write(error) : codecs.error.encode(error)).pipe(
      Effect.catchAll(({ reason }) => Effect.succeed(note(`its error does not fit its schema: ${reason}`))),
      Effect.flatMap((errorJson) => settle(life, row, { status: EffectStatus.FAILED, errorJson })),
      Effect.flatMap((settled) => answer(life, settled))
    )

  /** What the counterparty says; fails when it cannot be asked. */
  const look = (life: Life, row: Row, input: I) => {
    const { statusCheck } = options
    if (statusCheck === undefined) return Effect.fail(reasonOf(row))
    const call: Call = { idempotencyKey: row.key, runId: life.runId, tool: name, attempt: 1 }
    return sealed(
      life,
      name,
      Effect.suspend(() => statusCheck(call, input))
    ).pipe(
      Effect.retry(checkPolicy),
      Effect.mapError((error) => `its status check failed: ${sentenceOfError(error)}`)
    )
  }

  const resolve = (life: Life, row: Row, input: I, rounds: number): Settled<A, E, R | RS | RT | AR | ER> =>
    Effect.matchEffect(look(life, row, input), {
      onFailure: (reason) =>
        Effect.flatMap(
          row.status === EffectStatus.UNKNOWN
            ? Effect.succeed(row)
            : settle(life, row, { status: EffectStatus.UNKNOWN, errorJson: note(reason) }),
          (settled) =>
            settled.status === EffectStatus.UNKNOWN
              ? Effect.fail(new EffectUnknown({ tool: name, idempotencyKey: row.key, reason }))
              : answer(life, settled)
        ),
      onSuccess: Option.match({
        onSome: (output) => confirm(life, row, output),
        onNone: () => perform(life, row, input, rounds)
      })
    })

  const perform = (life: Life, row: Row, input: I, rounds: number): Settled<A, E, R | RS | RT | AR | ER> =>
    Effect.matchCauseEffect(
      Effect.annotateLogs(sealed(life, name, attempts(row, life, input)), "effect_key", row.key),
      {
        onSuccess: (done) => {
          if (done._tag === "Done") return confirm(life, row, done.output)
          if (row.status === EffectStatus.UNKNOWN) {
            return rounds > 1
              ? resolve(life, row, input, rounds - 1)
              : Effect.fail(new EffectUnknown({ tool: name, idempotencyKey: row.key, reason: done.reason }))
          }
          return Effect.flatMap(
            settle(life, row, { status: EffectStatus.UNKNOWN, errorJson: note(done.reason) }),
            (settled) =>
              settled.status === EffectStatus.UNKNOWN
                ? resolve(life, settled, input, rounds - 1)
                : answer(life, settled)
          )
        },
        onFailure: (cause) =>
          Option.match(Cause.failureOption(cause), {
            onSome: (error) => refuse(life, row, error),
            // A defect or an interruption says nothing about the effect: its row stays PENDING, as after a crash.
            onNone: () => Effect.failCause(cause as Cause.Cause<never>)
          })
      }
    )

  /** The body, under its retry policy; a lost answer is not a failure to retry. */
  const attempts = (row: Row, life: Life, input: I): Effect.Effect<Attempt<A>, E, R | RT> => {
    let attempt = 0
    const once = Effect.suspend(() => {
      attempt++
      return options.run(input, { idempotencyKey: row.key, runId: life.runId, tool: name, attempt })
    })
    const limited =
      options.timeout === undefined
        ? once
        : Effect.timeoutFail(once, { duration: options.timeout, onTimeout: () => tooLong(options.timeout) })
    const tried = limited.pipe(
      Effect.map((output): Attempt<A> => ({ _tag: "Done", output })),
      Effect.catchAllCause((cause) => {
        const lost = ackLost(cause)
        // What is left has no AckLost among its failures.
        return lost === undefined ? Effect.failCause(cause as Cause.Cause<E>) : Effect.succeed<Attempt<A>>(lost)
      })
    )
    return options.retry === undefined ? tried : Effect.retry(tried, options.retry)
  }

  const act = Effect.fnUntraced(function* (input: I, callOptions: ToolCallOptions | undefined) {
    const life = yield* enter(name)
    const at = place(life, name, callOptions?.key)
    const requestJson = yield* Effect.catchAll(codecs.input.encode(input), ({ reason }) =>
      Effect.zipRight(
        at.release,
        Effect.fail(
          new EffectFailed({ tool: name, idempotencyKey: "", error: reason, reason: `input refused: ${reason}` })
        )
      )
    )
    const work = Effect.flatMap(
      begin(life, { place: at, tool: name, requestJson, semantics, scope: options.scope }),
      (row) => {
        if (row.status === EffectStatus.CONFIRMED || row.status === EffectStatus.FAILED) return answer(life, row)
        life.state.open.set(row.key, name)
        if (row.status === EffectStatus.PENDING && (!row.former || options.statusCheck === undefined)) {
          return perform(life, row, input, maxRounds)
        }
        return resolve(life, row, input, maxRounds)
      }
    )
    return yield* at.lock === undefined ? work : at.lock.withPermits(1)(work)
  })

  return finishTool(name, act, {
    compensation,
    compensate: compensateOf(codecs, options.compensate),
    statusCheck: statusCheckOf(name, codecs, options.statusCheck)
  })
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

/** Types refuse these. A program without types would be promised what an inline tool cannot keep. */
const inlined = (tool: string, options: object): void => {
  for (const option of ["businessKey", "connector"]) {
    if (Reflect.get(options, option) === undefined) continue
    throw new ToolMisconfigured({ tool, reason: `${option} is an option of Outbox.tool: an inline tool has none` })
  }
  const semantics: unknown = Reflect.get(options, "semantics")
  if (semantics === undefined || semantics === "idempotent" || semantics === "observe_only") return
  const reason = `unknown semantics ${JSON.stringify(semantics)}: use idempotent, observe_only, or Outbox.tool`
  throw new ToolMisconfigured({ tool, reason })
}

type Settled<A, E, R> = Effect.Effect<A, E | EffectFailed | EffectUnknown, R>

type Attempt<A> = { readonly _tag: "Done"; readonly output: A } | { readonly _tag: "Lost"; readonly reason: string }

/** How often a body whose answers get lost is run, when each time the counterparty says it knows nothing of it. */
const maxRounds = 3

const checkPolicy = Schedule.exponential("200 millis").pipe(Schedule.jittered, Schedule.intersect(Schedule.recurs(3)))

const note = (reason: string): string => JSON.stringify({ reason })

const reasonOf = (row: Row): string => {
  const recorded = Json.parseOrText(row.errorJson)
  return typeof recorded === "object" && recorded !== null && "reason" in recorded
    ? String(recorded.reason)
    : "it was begun, and nobody recorded how it ended"
}

const tooLong = (timeout: Duration.DurationInput | undefined): AckLost =>
  new AckLost({ reason: timeout === undefined ? "no answer" : `no answer within ${Duration.format(timeout)}` })

const ackLost = (cause: Cause.Cause<unknown>): { readonly _tag: "Lost"; readonly reason: string } | undefined => {
  const lost = [...Cause.failures(cause), ...Cause.defects(cause)].find((error) => error instanceof AckLost)
  return lost === undefined ? undefined : { _tag: "Lost", reason: lost.reason }
}
