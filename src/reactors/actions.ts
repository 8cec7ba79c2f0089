import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { TapeClient } from "../Client.js"
import type { AnyApp } from "../durable/types.js"
import type { TapeError } from "../Errors.js"
import { EffectDispatchMode, EffectStatus, RunStatus, type TimerRecord } from "../gen/tape/v1/tape_pb.js"
import { sentenceOf } from "../internal/sentence.js"
import { parsed } from "../outbox/rows.js"
import type { Fired } from "./fired.js"
import { recoverRun } from "./recover.js"
import { type Settle, settle } from "./settle.js"

/**
 * A timer as `onTimer` sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface DueTimer {
  readonly runId: string
  readonly timerId: string
  readonly kind: string
  /** What it was set with: parsed JSON, or its text when it is not JSON. */
  readonly payload: unknown
  /** Epoch milliseconds. */
  readonly fireAt: number
}

export interface Acting<R> {
  readonly tape: TapeClient["Type"]
  readonly apps: ReadonlyMap<string, AnyApp<R>>
  readonly settle: Settle<R>
  readonly onTimer: ((timer: DueTimer) => Effect.Effect<unknown, unknown, R>) | undefined
  readonly exclusive: boolean
}

/**
 * Acts on one timer, then acknowledges it by cancelling it. Killed in between, the next reactor acts again; what is done
 * here may be done again.
 */
export const act = <R>(timer: TimerRecord, acting: Acting<R>): Effect.Effect<Fired, never, R | TapeClient> => {
  const action = actionOf(timer, acting)
  return action.pipe(
    Effect.catchAll((error: TapeError) =>
      error._tag === "NotFound"
        ? Effect.as(cancel(timer, acting), obsolete(timer, "its run is not there any more"))
        : Effect.fail(error)
    ),
    Effect.catchAll((error) => Effect.succeed(failed(timer, error.message)))
  )
}

type Action<R> = Effect.Effect<Fired, TapeError, R | TapeClient>

const actionOf = <R>(timer: TimerRecord, acting: Acting<R>): Action<R> => {
  switch (timer.kind) {
    case "gate_timeout":
      return signal(timer, acting)
    case "redrive":
      return redrive(timer, acting)
    case "reconcile":
      return reconcile(timer, acting)
    default:
      return call(timer, acting)
  }
}

const acknowledged = <R>(timer: TimerRecord, acting: Acting<R>, report: Fired): Effect.Effect<Fired, TapeError> =>
  Effect.as(cancel(timer, acting), report)

const cancel = <R>({ runId, timerId }: TimerRecord, { tape }: Acting<R>) => tape.cancelTimer({ runId, timerId })

/** The first resolution of a gate stands, so a signal that was sent before changes nothing. */
const signal = <R>(timer: TimerRecord, acting: Acting<R>): Action<R> =>
  Effect.gen(function* () {
    const { gate, resolution } = fieldsOf(timer)
    if (typeof gate !== "string" || gate === "") return left(timer, "its payload names no gate")
    const overlay = typeof resolution === "object" && resolution !== null ? resolution : {}
    const { accepted } = yield* acting.tape.sendSignal({
      runId: timer.runId,
      gateName: gate,
      resolutionJson: JSON.stringify({ timed_out: true, ...overlay })
    })
    return yield* acknowledged(timer, acting, { ...namesOf(timer), _tag: "signalled", gate, accepted })
  })

const redrive = <R>(timer: TimerRecord, acting: Acting<R>): Action<R> =>
  Effect.gen(function* () {
    const run = yield* acting.tape.getRun({ runId: timer.runId })
    if (isFinal.has(run.status)) {
      return yield* acknowledged(timer, acting, obsolete(timer, `its run is ${RunStatus[run.status]}`))
    }
    const app = acting.apps.get(run.appName)
    if (app === undefined) return left(timer, `the app ${JSON.stringify(run.appName)} is not among these`)
    const recovered = yield* recoverRun(app, run.runId)
    switch (recovered._tag) {
      case "skipped":
        return { ...namesOf(timer), _tag: "waiting", reason: `${recovered.owner} drives the run` }
      case "parked":
        return { ...namesOf(timer), _tag: "waiting", reason: `the run waits at gate ${recovered.gate}` }
      case "stopped": {
        // A run that ended otherwise (cancelled, stuck) needs no driver any more; one that cannot go on does.
        const now = yield* acting.tape.getRun({ runId: timer.runId })
        if (!isFinal.has(now.status)) return failed(timer, recovered.error.message)
        break
      }
      case "crashed":
        return failed(timer, recovered.error)
    }
    return yield* acknowledged(timer, acting, { ...namesOf(timer), _tag: "redriven", recovered })
  })

const isFinal: ReadonlySet<RunStatus> = new Set([
  RunStatus.TERMINAL,
  RunStatus.FAILED,
  RunStatus.STUCK,
  RunStatus.CANCELLED
])

const reconcile = <R>(timer: TimerRecord, acting: Acting<R>): Action<R> =>
  Effect.gen(function* () {
    const { key } = fieldsOf(timer)
    if (typeof key !== "string" || key === "") return left(timer, "its payload names no effect key")
    const { effect } = yield* acting.tape.getEffect({ runId: timer.runId, idempotencyKey: key })
    if (effect === undefined) return yield* acknowledged(timer, acting, obsolete(timer, "there is no such effect"))
    if (effect.status !== EffectStatus.PENDING && effect.status !== EffectStatus.UNKNOWN) {
      return yield* acknowledged(timer, acting, obsolete(timer, `the effect is ${EffectStatus[effect.status]}`))
    }
    if (effect.status === EffectStatus.PENDING && effect.dispatchMode === EffectDispatchMode.OUTBOX) {
      return { ...namesOf(timer), _tag: "waiting", reason: "the effect is still the dispatcher's" }
    }
    const reconciled = yield* settle(effect, acting.settle)
    if (reconciled._tag === "unresolved") return { ...namesOf(timer), _tag: "waiting", reason: reconciled.reason }
    if (reconciled._tag === "error") return failed(timer, reconciled.error)
    return yield* acknowledged(timer, acting, { ...namesOf(timer), _tag: "reconciled", reconciled })
  })

const call = <R>(timer: TimerRecord, acting: Acting<R>): Action<R> =>
  Effect.gen(function* () {
    const { exclusive, onTimer } = acting
    if (onTimer === undefined) return left(timer, `nothing here handles the kind ${JSON.stringify(timer.kind)}`)
    const { fireAtMs, kind, payloadJson, runId, timerId } = timer
    const due: DueTimer = { runId, timerId, kind, payload: parsed(payloadJson), fireAt: Number(fireAtMs) }
    const called = Effect.suspend(() => onTimer(due)).pipe(
      Effect.as(undefined),
      Effect.catchAllCause((cause) =>
        Cause.isInterruptedOnly(cause) ? Effect.interrupt : Effect.succeed(sentenceOf(cause))
      )
    )
    if (exclusive) return yield* callAlone(timer, acting, called)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const raised = yield* restore(called)
        if (raised !== undefined) return failed(timer, raised)
        // The callback may have set the timer anew: that one is not ours to remove.
        if (yield* isStillDue(timer, acting)) yield* cancel(timer, acting)
        return { ...namesOf(timer), _tag: "called" } satisfies Fired
      })
    )
  })

/** Who removes the timer is the one who calls; after a failure, or interrupted, he sets it again. */
const callAlone = <R>(
  timer: TimerRecord,
  acting: Acting<R>,
  called: Effect.Effect<string | undefined, never, R>
): Action<R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { fireAtMs, kind, payloadJson, runId, timerId } = timer
      const again = acting.tape.setTimer({ runId, timerId, kind, payloadJson, fireAtMs })
      const { cancelled } = yield* cancel(timer, acting)
      if (!cancelled) return { ...namesOf(timer), _tag: "waiting", reason: "another reactor has it" }
      const raised = yield* Effect.onInterrupt(restore(called), () => Effect.ignoreLogged(again))
      if (raised === undefined) return { ...namesOf(timer), _tag: "called" }
      yield* again
      return failed(timer, raised)
    })
  )

const isStillDue = <R>(timer: TimerRecord, { tape }: Acting<R>) =>
  Effect.map(tape.listDueTimers({ nowMs: timer.fireAtMs, limit: 100_000n }), ({ timers }) =>
    timers.some(
      ({ fireAtMs, runId, timerId }) =>
        runId === timer.runId && timerId === timer.timerId && fireAtMs === timer.fireAtMs
    )
  )

/** A payload that is no JSON object has no fields. */
const fieldsOf = ({ payloadJson }: TimerRecord): { readonly [name: string]: unknown } => {
  const payload = parsed(payloadJson)
  return typeof payload === "object" && payload !== null && !Array.isArray(payload) ? { ...payload } : {}
}

const namesOf = ({ kind, runId, timerId }: TimerRecord) => ({ runId, timerId, kind })

const obsolete = (timer: TimerRecord, reason: string): Fired => ({ ...namesOf(timer), _tag: "obsolete", reason })
const left = (timer: TimerRecord, reason: string): Fired => ({ ...namesOf(timer), _tag: "left", reason })
const failed = (timer: TimerRecord, error: string): Fired => ({ ...namesOf(timer), _tag: "failed", error })
