/**
 * One life of a run: what its calls share, how they reach the tape, and how they end the run when they must.
 *
 * A run that has to stop (lost lease, cancellation, trouble with the tape) does so by a private defect that typed error
 * handling cannot swallow. The life remembers it, so that a program that hides even defects cannot end as a success.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { type RunState, RunStatus } from "../gen/tape/v1/tape_pb.js"
import { LeaseLost, RunCancelled, type RunError, RunFinished, RunStuck, TapeTrouble } from "./errors.js"
import { differences } from "./json.js"

/**
 * A call that asked for something else than what is recorded in its place. The record wins.
 *
 * @since 0.1.0
 * @category models
 */
export class Drift extends Schema.Class<Drift>("effect-tape/Durable/Drift")({
  /** Which call: `decision 0`, `input`, or the effect's key. */
  record: Schema.String,
  /** How, by path: `amount: 100 is recorded, 120 is asked`. */
  differences: Schema.Array(Schema.String)
}) {}

/**
 * The run that a durable program is part of. Provided by `App.start` and `App.redrive` only.
 *
 * @since 0.1.0
 * @category tags
 */
export class CurrentRun extends Context.Tag("effect-tape/Durable/CurrentRun")<CurrentRun, Life>() {}

/**
 * What one life of a run carries; programs read it through `Durable.info` and `Durable.drifts`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Life {
  readonly tape: Context.Tag.Service<TapeClient>
  readonly app: string
  readonly runId: string
  readonly owner: string
  /** `first`: nothing is recorded yet. `resumed`: look before you act. `finished`: look only. */
  readonly mode: "first" | "resumed" | "finished"
  /** How long a call waits for a tape that is away. */
  readonly patience: Duration.Duration
  /** How long its lease lasts. */
  readonly leaseTtl: Duration.Duration
  /** What to do at a gate that is not open yet: wait there, or leave the run to whoever takes it up when it is. */
  readonly atGate: "wait" | "leave"
  /** Set inside the body of a tool, a decision or a sample, which must not make durable calls of its own. */
  readonly inside: string | undefined
  readonly state: {
    stopped: RunError | undefined
    /** The ordinal of the latest decision; -1 before the first. */
    decision: number
    readonly positions: Map<string, number>
    readonly keyed: Map<string, Effect.Semaphore>
    readonly drifts: Array<Drift>
    /** Inline effects that were begun and not settled, with their tools. */
    readonly open: Map<string, string>
    /** The program asked for what was done to be undone. */
    undoing: boolean
    /** The gate at which the lease was let go; it has to be taken again. */
    parked: string | undefined
    /** How many calls wait at gates. */
    waiting: number
    /** A run waits at one gate at a time; the others stand in line. */
    readonly gates: Effect.Semaphore
    sleeps: number
    /** Of the latest decision, as it is recorded. */
    policyVersion: string
    /** What was spent is told one decision after the other. */
    readonly charging: Effect.Semaphore
    /** The decisions that are charged for, in the order of their charges; unknown until somebody looks. */
    charged: ReadonlyArray<number> | undefined
  }
}

export const make = (options: Omit<Life, "inside" | "state">): Life => ({
  ...options,
  inside: undefined,
  state: {
    stopped: undefined,
    decision: -1,
    positions: new Map(),
    keyed: new Map(),
    drifts: [],
    open: new Map(),
    undoing: false,
    parked: undefined,
    waiting: 0,
    gates: Effect.unsafeMakeSemaphore(1),
    sleeps: 0,
    policyVersion: "",
    charging: Effect.unsafeMakeSemaphore(1),
    charged: options.mode === "first" ? [] : undefined
  }
})

/** How a run is stopped: a defect, so that no typed handler takes it for an answer. */
export class RunStopped extends Data.Error<{ readonly error: RunError }> {
  override get message(): string {
    return this.error.message
  }
}

/** The first reason to stop is the one that is told. */
export const stop = (life: Life, error: RunError): Effect.Effect<never> =>
  Effect.suspend(() => {
    life.state.stopped ??= error
    return Effect.die(new RunStopped({ error: life.state.stopped }))
  })

/** The current life, for a call named `what`. */
export const enter = (what: string): Effect.Effect<Life, never, CurrentRun> =>
  Effect.flatMap(CurrentRun, (life) => {
    if (life.state.stopped !== undefined) return stop(life, life.state.stopped)
    if (life.inside !== undefined) {
      // A mistake in the program: replay skips the body, and the positions of all later calls would move.
      return Effect.dieMessage(
        `${what} was called inside the body of ${life.inside}: replay skips bodies, so durable calls belong in the app's run`
      )
    }
    return life.state.parked !== undefined && life.state.waiting === 0
      ? Effect.as(unpark(life), life)
      : Effect.succeed(life)
  })

/**
 * The program left a gate that nobody opened (a timeout of its own, a race) and goes on: then the run needs its lease. A
 * waiting run cannot be resumed, but begun again.
 */
const unpark = Effect.fnUntraced(function* (life: Life) {
  const { runId, tape } = life
  const { appName, invocationId, sessionId, userId } = yield* ask(life, tape.getRun({ runId }))
  const lease = { leaseOwner: life.owner, leaseTtlMs: leaseMillis(life) }
  const ids = { appName, invocationId, sessionId, userId }
  yield* ask(life, tape.beginRun({ ...ids, ...lease }, { metadata: { "tape-lease": "if-free" } }))
  const run = yield* ask(life, tape.getRun({ runId }))
  if (run.leaseOwner !== life.owner) return yield* stop(life, ended(run) ?? lost(life, run))
  life.state.parked = undefined
})

export const leaseMillis = (life: Life): bigint => BigInt(Math.ceil(Duration.toMillis(life.leaseTtl)))

/** The body of a tool or a decision, where durable calls have no place. */
export const sealed = <A, E, R>(life: Life, inside: string, body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(body, (context: Context.Context<R>) => Context.add(context, CurrentRun, { ...life, inside }))

/**
 * A call to the tape on behalf of the run. A tape that is away is waited for; what it refuses stops the run. Only for calls
 * that may be repeated.
 *
 * A run that was told to stop makes no more calls, the one that ends it included, whatever the program did with the defect
 * that told it.
 */
export const ask = <A>(life: Life, call: Effect.Effect<A, TapeError>): Effect.Effect<A> =>
  Effect.suspend(() =>
    life.state.stopped !== undefined
      ? stop(life, life.state.stopped)
      : Effect.catchAll(waitingOut(call, life.patience), (error) =>
          Effect.flatMap(meaning(life, error), (stopped) => stop(life, stopped))
        )
  )

/** Repeats a call while the tape is away, for `patience` at most. */
export const waitingOut = <A>(
  call: Effect.Effect<A, TapeError>,
  patience: Duration.Duration
): Effect.Effect<A, TapeError> =>
  Effect.catchIf(call, isAway, () =>
    Effect.retry(call, {
      while: isAway,
      schedule: Schedule.exponential("100 millis").pipe(
        Schedule.union(Schedule.spaced("2 seconds")),
        Schedule.jittered,
        Schedule.modifyDelay((_, delay) => Duration.millis(Math.ceil(Duration.toMillis(delay)))),
        Schedule.upTo(patience)
      )
    })
  )

/** Whether the tape may answer the same call later. A Cancelled that is not ours is a lost connection. */
export const isAway = (error: TapeError): boolean =>
  error._tag === "Unavailable" || error._tag === "DeadlineExceeded" || error._tag === "Cancelled"

/** Reports a call that asks for something else than what is recorded in its place. */
export const compare = (life: Life, record: string, recorded: string, asked: string): Effect.Effect<void> => {
  const found = differences(recorded, asked)
  if (found.length === 0) return Effect.void
  life.state.drifts.push(new Drift({ record, differences: found }))
  return Effect.logWarning(`run ${life.runId} has drifted at ${record}: ${found.join("; ")}. The record is used.`)
}

/** What a final status means for whoever still waits for the run. */
export const ended = (run: RunState): RunError | undefined => {
  switch (run.status) {
    case RunStatus.CANCELLED:
      return new RunCancelled({ runId: run.runId })
    case RunStatus.STUCK:
      return new RunStuck({ runId: run.runId })
    default:
      return undefined
  }
}

export const isFinal = (status: RunStatus): boolean =>
  status === RunStatus.TERMINAL ||
  status === RunStatus.FAILED ||
  status === RunStatus.STUCK ||
  status === RunStatus.CANCELLED

/** A refusal does not say why the run may not go on; the run's row does. */
const meaning = (life: Life, error: TapeError): Effect.Effect<RunError> => {
  const trouble = new TapeTrouble({ runId: life.runId, cause: error })
  if (error._tag !== "PreconditionFailed") return Effect.succeed(trouble)
  return life.tape.getRun({ runId: life.runId }).pipe(
    Effect.map((run): RunError => {
      if (isFinal(run.status)) return ended(run) ?? new RunFinished({ runId: life.runId, asked: error.rpc })
      return run.leaseOwner === life.owner ? trouble : lost(life, run)
    }),
    Effect.orElseSucceed(() => trouble)
  )
}

export const lost = (life: Life, run: RunState): LeaseLost =>
  new LeaseLost({
    runId: life.runId,
    owner: run.leaseOwner,
    reason: run.leaseOwner === "" ? "it was given back by somebody else" : `${run.leaseOwner} holds it`
  })
