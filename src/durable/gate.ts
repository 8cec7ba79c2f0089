/**
 * Where a run waits for a person, for another program, or for a time.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { EffectSemantics, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { begin, readable, reserved, settle, writable } from "./act.js"
import { GateTimedOut } from "./errors.js"
import * as Json from "./json.js"
import { passed, timeoutSignal } from "./park.js"
import { ask, type CurrentRun, enter, type Life } from "./run.js"

/**
 * What a gate asks for.
 *
 * @since 0.1.0
 * @category models
 */
export interface GateOptions<A, I, R, T extends Duration.DurationInput | undefined> {
  /** What whoever opens it answers (`SendSignal`). */
  readonly resolution: Schema.Schema<A, I, R>
  /** What they should know: anything that has a form in JSON. Defaults to nothing. */
  readonly context?: unknown
  /** How long to wait, counted from the first time the run asked. Defaults to no limit. */
  readonly timeout?: T | undefined
}

/**
 * Waits until somebody opens the gate, and gives their answer; every later life of the run gets the same one.
 *
 * The run is parked meanwhile: its lease is let go, and a process that dies loses nothing. The process that waits goes on
 * by itself when the gate opens; when there is none, recovery takes the run up.
 *
 * - A name stands for one question of the run: asked again, it has the same answer.
 * - A run waits at one gate at a time; concurrent ones are opened one after another.
 * - With `timeout` it may fail with `GateTimedOut`; after that another gate can be opened, under another name.
 *
 * ```ts
 * import { Durable } from "effect-tape"
 * import { Schema } from "effect"
 *
 * const cfo = Durable.gate("cfo", {
 *   resolution: Schema.Struct({ approved: Schema.Boolean }),
 *   context: { amount: 100 },
 *   timeout: "2 days"
 * })
 * ```
 *
 * @since 0.1.0
 * @category durable
 */
export const gate = <A, I, R, const T extends Duration.DurationInput | undefined = undefined>(
  name: string,
  options: GateOptions<A, I, R, T>
): Effect.Effect<A, [T] extends [undefined] ? never : GateTimedOut, R | CurrentRun> =>
  Effect.flatMap(enter(`gate ${name}`), (life) => {
    const { context, timeout } = options
    const answered = Effect.gen(function* () {
      const contextJson = yield* writable(life, `gate ${name}'s context`, Json.write(context))
      const resolutionJson = yield* opened(life, name, contextJson, timeout)
      if (timeout !== undefined && (yield* hasTimedOut(resolutionJson))) {
        return yield* new GateTimedOut({ runId: life.runId, gate: name })
      }
      return yield* readable(life, `gate ${name}`, Json.codec(options.resolution).decode(resolutionJson))
    })
    // It times out only when a timeout is given, which is what the type says.
    return answered as Effect.Effect<A, [T] extends [undefined] ? never : GateTimedOut, R>
  })

/**
 * Waits for a time that survives the process: counted from the first life that came here. The run is parked meanwhile, so
 * short waits inside a step are better made with `Effect.sleep`. Known by their order in the run.
 *
 * @since 0.1.0
 * @category durable
 */
export const sleep = (duration: Duration.DurationInput): Effect.Effect<void, never, CurrentRun> =>
  Effect.flatMap(enter("a sleep"), (life) => Effect.asVoid(opened(life, `sleep/${life.state.sleeps++}`, "", duration)))

/**
 * What a person says to a call that needs approval (`humanGate` of outbox tools). The gate's name is `approve/` and the
 * call's key within the run, as in `approve/decision-0/wire_money/0`.
 *
 * @since 0.1.0
 * @category models
 */
export const Approval = Schema.Struct({ approved: Schema.Boolean, reason: Schema.optional(Schema.String) })

/**
 * @since 0.1.0
 * @category models
 */
export type Approval = typeof Approval.Type

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const opened = Effect.fnUntraced(function* (
  life: Life,
  name: string,
  contextJson: string,
  timeout: Duration.DurationInput | undefined
) {
  const limit = timeout === undefined ? Duration.infinity : Duration.decode(timeout)
  const deadline =
    Duration.isFinite(limit) && life.mode !== "finished"
      ? yield* timer(life, name, Math.ceil(Duration.toMillis(limit)))
      : undefined
  const { isFirst, resolutionJson } = yield* passed(life, name, contextJson, deadline)
  if (deadline !== undefined && isFirst) {
    yield* ask(life, life.tape.cancelTimer({ runId: life.runId, timerId: timerOf(name) }))
  }
  return resolutionJson
})

/**
 * When the gate times out. The timer is set before its time is recorded, and that before the run waits: a record means
 * that there is a timer, and a later life does not move it.
 */
const timer = Effect.fnUntraced(function* (life: Life, name: string, timeoutMs: number) {
  const row = yield* begin(life, {
    place: reserved(life, timerOf(name)),
    tool: "run.timer",
    requestJson: JSON.stringify({ timeout_ms: timeoutMs }),
    semantics: EffectSemantics.OBSERVE_ONLY
  })
  const read = (json: string) => Effect.map(readable(life, row.key, recorded.decode(json)), (at) => at.fire_at_ms)
  if (row.status === EffectStatus.CONFIRMED) return yield* read(row.responseJson)
  const fireAt = (yield* Clock.currentTimeMillis) + timeoutMs
  yield* ask(
    life,
    life.tape.setTimer({
      runId: life.runId,
      timerId: timerOf(name),
      fireAtMs: BigInt(fireAt),
      kind: "gate_timeout",
      payloadJson: JSON.stringify({ gate: name })
    })
  )
  const responseJson = yield* writable(life, row.key, recorded.encode({ fire_at_ms: fireAt }))
  return yield* read((yield* settle(life, row, { status: EffectStatus.CONFIRMED, responseJson })).responseJson)
})

const recorded = Json.codec(Schema.Struct({ fire_at_ms: Schema.Number }))

const timerOf = (gate: string): string => `gate/${gate}`

const hasTimedOut = (resolutionJson: string): Effect.Effect<boolean> =>
  resolutionJson === timeoutSignal
    ? Effect.succeed(true)
    : Effect.sync(() => {
        const given = Json.parseOrText(resolutionJson)
        return typeof given === "object" && given !== null && "timed_out" in given && given.timed_out === true
      })
