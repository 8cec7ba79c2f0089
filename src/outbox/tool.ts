/**
 * Tools whose effects are recorded as intents, and sent by a dispatcher.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import { begin, place, type Row } from "../durable/act.js"
import { EffectFailed, type EffectUnknown } from "../durable/errors.js"
import { Approval, gate } from "../durable/gate.js"
import * as Json from "../durable/json.js"
import { type CurrentRun, enter } from "../durable/run.js"
import { compensateOf, finishTool, statusCheckOf } from "../durable/toolValue.js"
import type { Call, Compensable, ToolCallOptions, Uses } from "../durable/types.js"
import { EffectSemantics } from "../gen/tape/v1/tape_pb.js"
import type { Envelope, Semantics } from "./envelope.js"
import type { ToolLike } from "./ToolLike.js"
import { checked } from "./toolCheck.js"
import { settled } from "./toolWait.js"

/**
 * What an outbox tool is made of, beside its semantics.
 *
 * @since 0.1.0
 * @category models
 */
export interface ToolOptions<C extends string, I, IE, IR, A, AE, AR, E, EE, ER, RS, RC, W extends boolean> {
  /** The connector that a dispatcher sends the effects through. */
  readonly connector: C
  /** Journaled as the effect's request, and sent. Must encode to a JSON object. */
  readonly input: Schema.Schema<I, IE, IR>
  /** What the counterparty answers. */
  readonly output: Schema.Schema<A, AE, AR>
  /** The refusals of the counterparty that are an answer. Defaults to none: a refusal is `EffectFailed`. */
  readonly error?: Schema.Schema<E, EE, ER> | undefined
  /** The same business key is the same effect, in whatever run: it happens once. */
  readonly businessKey?: ((input: I) => string) | undefined
  /** Asks the counterparty what became of a call: some = done, none = it knows nothing of it. */
  readonly statusCheck?: ((call: Call, input: I) => Effect.Effect<Option.Option<NoInfer<A>>, unknown, RS>) | undefined
  /** Undoes a confirmed effect. */
  readonly compensate?: ((input: I, output: A, call: Call) => Effect.Effect<unknown, unknown, RC>) | undefined
  /**
   * A person has to approve each call before it is recorded: it opens a gate named `approve/` and the call's key within the
   * run, with the call's envelope as context and `Durable.Approval` as its answer. A refusal is `EffectFailed`.
   */
  readonly humanGate?: boolean | undefined
  /** The scope that the run must have been granted, or a call ends it with `ScopeDenied`. Defaults to none. */
  readonly scope?: string | undefined
  /** Lets this tool pass `toolWith({ requireScope: true })` without a scope. Defaults to `false`. */
  readonly unsafeWithoutScope?: boolean | undefined
  /** `true`: a call gives the output, when it is there. Defaults to `false`: it gives a `Pending` at once. */
  readonly waitForResult?: W | undefined
  /**
   * How long to wait for a result; after that a call fails with `EffectUnknown`, and the effect goes on without it.
   * Defaults to no limit, also while the outcome is UNKNOWN: a reconciler or a person settles it.
   */
  readonly waitTimeout?: Duration.DurationInput | undefined
  /** Overrides the dispatcher's limit of failed attempts. */
  readonly maxAttempts?: number | undefined
  /** Limits one call of the connector. */
  readonly dispatchTimeout?: Duration.DurationInput | undefined
}

/**
 * Semantics that are safe with the options given, or a sentence that says what to add.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Guarded<S, Keys> = S extends "non_idempotent"
  ? [Keys & ("businessKey" | "statusCheck" | "compensate" | "humanGate")] extends [never]
    ? "non_idempotent needs a safety net: add businessKey, statusCheck, compensate or humanGate"
    : S
  : S

type OptionName =
  | keyof ToolOptions<string, never, never, never, never, never, never, never, never, never, never, never, boolean>
  | "semantics"

/**
 * An effect that is recorded and on its way.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pending<out A, out E> {
  readonly idempotencyKey: string
  /** Waits until it is settled; the run is not parked meanwhile. */
  readonly await: Effect.Effect<A, E | EffectFailed | EffectUnknown>
}

/**
 * A tool that goes through the outbox. Calling it records the intent and does nothing else; `W` says whether a call gives
 * the result or a `Pending`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Tool<in out Name extends string, in I, out A, out E, out R, out C extends string, W extends boolean>
  extends ToolLike<R>,
    Compensable<R> {
  (
    input: I,
    options?: ToolCallOptions
  ): Effect.Effect<
    W extends true ? A : Pending<A, E>,
    EffectFailed | (W extends true ? E | EffectUnknown : never),
    R | CurrentRun | Uses<Name>
  >
  readonly name: Name
  readonly connector: C
  readonly semantics: Semantics
  /** The intent as plain JSON, without recording it. */
  readonly envelope: (input: I) => Effect.Effect<Envelope, EffectFailed, R>
}

/**
 * A tool whose calls are recorded as intents and sent, once, by a dispatcher (`Outbox.layer`), in this process or another.
 *
 * A non-idempotent tool needs something that tells or undoes a second wire: without `businessKey`, `statusCheck`,
 * `compensate` or `humanGate` it does not compile. What the compiler cannot see (`businessKey: undefined`, a schema that
 * has no JSON) throws `ToolMisconfigured` here, when the program starts.
 *
 * ```ts
 * import { Outbox } from "effect-tape"
 * import { Schema } from "effect"
 *
 * export const WireMoney = Outbox.tool("wire_money", {
 *   connector: "bank.wire",
 *   semantics: "non_idempotent",
 *   input: Schema.Struct({ account: Schema.String, amount: Schema.Number }),
 *   output: Schema.Struct({ wireId: Schema.String }),
 *   businessKey: (wire) => `${wire.account}:${wire.amount}`,
 *   waitForResult: true
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const tool = <
  const Name extends string,
  const C extends string,
  const S extends Semantics,
  I,
  IE,
  IR,
  A,
  AE,
  AR,
  E = never,
  EE = never,
  ER = never,
  RS = never,
  RC = never,
  const W extends boolean = false,
  Given = unknown
>(
  name: Name,
  options: ToolOptions<C, I, IE, IR, A, AE, AR, E, EE, ER, RS, RC, W> & {
    readonly semantics: Guarded<S, keyof Given>
  } & { readonly [P in keyof Given]: P extends OptionName ? unknown : "not an option of Outbox.tool" }
): Tool<Name, I, A, E, IR | AR | ER | RS | RC, C, W> => {
  // The guard lets S through, or refuses to compile with a sentence in its place.
  const semantics = options.semantics as Semantics
  checked(name, semantics, options)
  const { connector, dispatchTimeout, humanGate = false, scope, waitForResult, waitTimeout } = options
  const codecs = {
    input: Json.codec(options.input),
    output: Json.codec(options.output),
    error: options.error === undefined ? undefined : Json.codec(options.error)
  }

  const envelope = Effect.fnUntraced(function* (input: I) {
    const payload = yield* Effect.mapError(codecs.input.encodeValue(input), ({ reason }) =>
      refused(name, `input refused: ${reason}`)
    )
    const businessKey = yield* keyOf(name, options.businessKey, input)
    const made: Envelope = {
      __outbox__: true,
      connector,
      tool: name,
      semantics,
      wait_for_result: waitForResult === true,
      human_gate: humanGate,
      payload,
      ...(dispatchTimeout === undefined ? {} : { dispatch_timeout_ms: Duration.toMillis(dispatchTimeout) }),
      ...(businessKey === undefined ? {} : { business_key: businessKey })
    }
    return made
  })

  const call = Effect.fnUntraced(function* (input: I, callOptions: ToolCallOptions | undefined) {
    const life = yield* enter(name)
    const intent = yield* envelope(input)
    const requestJson = yield* Effect.mapError(Json.write(intent.payload), ({ reason }) => refused(name, reason))
    const at = place(life, name, callOptions?.key)
    if (humanGate)
      yield* Effect.onInterrupt(approved(name, at.key.slice(life.runId.length + 1), intent), () => at.release)
    const work = begin(life, {
      place: at,
      tool: name,
      requestJson,
      semantics: semantics === "non_idempotent" ? EffectSemantics.NON_IDEMPOTENT : EffectSemantics.IDEMPOTENT,
      outbox: { connector, businessKey: intent.business_key ?? "" },
      scope
    })
    const row: Row = yield* at.lock === undefined ? work : at.lock.withPermits(1)(work)
    const result = settled(life, name, row, codecs, waitTimeout)
    if (waitForResult === true) return yield* result
    const context = yield* Effect.context<AR | ER>()
    const pending: Pending<A, E> = { idempotencyKey: row.key, await: Effect.provide(result, context) }
    return pending
  })

  return finishTool(
    name,
    // W is a literal: the branch that it rules out is not taken.
    call as Tool<Name, I, A, E, IR | AR | ER | RS | RC, C, W>,
    {
      connector,
      semantics,
      envelope,
      compensation: options.compensate === undefined ? undefined : { kind: name },
      compensate: compensateOf(codecs, options.compensate),
      statusCheck: statusCheckOf(name, codecs, options.statusCheck),
      maxAttempts: options.maxAttempts,
      dispatchTimeout
    }
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const refused = (tool: string, reason: string): EffectFailed =>
  new EffectFailed({ tool, idempotencyKey: "", error: reason, reason })

/** Asks a person; the answer is in the journal, so that later lives do not ask again. */
const approved = Effect.fnUntraced(function* (tool: string, call: string, context: Envelope) {
  const answer = yield* gate(`approve/${call}`, { resolution: Approval, context })
  if (!answer.approved) {
    const reason = answer.reason === undefined ? "a person refused it" : `a person refused it: ${answer.reason}`
    return yield* new EffectFailed({ tool, idempotencyKey: "", error: answer, reason })
  }
})

/** An empty key would silently be no key at all. */
const keyOf = <I>(
  tool: string,
  businessKey: ((input: I) => string) | undefined,
  input: I
): Effect.Effect<string | undefined, EffectFailed> =>
  businessKey === undefined
    ? Effect.succeed(undefined)
    : Effect.try({
        try: () => businessKey(input),
        catch: (cause) =>
          refused(tool, `its businessKey threw: ${cause instanceof Error ? cause.message : String(cause)}`)
      }).pipe(
        Effect.filterOrFail(
          (key) => key !== "",
          () => refused(tool, "its businessKey gave an empty text")
        )
      )
