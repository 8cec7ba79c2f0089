/**
 * How a run is opened, resumed or joined: until it is finished, somebody drives it, and everybody sees its outcome.
 *
 * @since 0.1.0
 */
import { create } from "@bufbuild/protobuf"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { type RunState, RunStateSchema, RunStatus } from "../gen/tape/v1/tape_pb.js"
import * as Rest from "../internal/rest.js"
import type { Definition } from "./definition.js"
import { drive, finished, reported, undo } from "./drive.js"
import { LeaseHeld, type RunError, RunParked, RunRefused, TapeTrouble } from "./errors.js"
import { identityOf } from "./identity.js"
import { isHeld, type Lease, take, ttlMillis } from "./lease.js"
import { isFinal, type Life, make, waitingOut } from "./run.js"
import type { RedriveOptions, RunIds } from "./types.js"
import { begin as turn } from "./undo.js"

/** `App.start`. */
export const start = <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  ids: RunIds,
  input: I
): Effect.Effect<A, E | RunError, R | TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const app = definition.name
    const inputJson = yield* Effect.mapError(
      definition.input.encode(input),
      ({ reason }) => new RunRefused({ app, reason: `its input does not fit its schema: ${reason}` })
    )
    const lease = yield* take(app)
    // Without taking over: while another process drives the run, this one only follows it.
    const begun = tape.beginRun(
      {
        appName: app,
        userId: ids.user,
        sessionId: ids.session,
        invocationId: ids.invocation,
        leaseOwner: lease.owner,
        leaseTtlMs: ttlMillis(lease),
        ...(yield* identityOf(ids, definition.identity))
      },
      { metadata: { "tape-lease": "if-free" } }
    )
    const opening = yield* Effect.mapError(begun, (cause) => new TapeTrouble({ runId: "", cause }))
    const { runId } = opening
    const seize = Effect.zipRight(begun, tape.getRun({ runId }))
    const at: Attendance = { tape, lease, seize, inputJson, whenHeld: "join" }
    const attended = opening.resumed
      ? attend(definition, at, yield* look(tape, lease, runId))
      : // Nobody else knows of it yet.
        attend(
          definition,
          at,
          create(RunStateSchema, { runId, status: RunStatus.RUNNING, leaseOwner: lease.owner }),
          "first"
        )
    return yield* Effect.annotateLogs(attended, {
      app_name: app,
      run_id: runId,
      invocation_id: ids.invocation,
      session_id: ids.session,
      lease_owner: lease.owner
    })
  })

/** `App.cancel`. */
export const cancel = (app: string, runId: string, reason: string): Effect.Effect<boolean, RunError, TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const lease = yield* take(app)
    const run = yield* look(tape, lease, runId)
    if (run.appName !== app) return yield* new RunRefused({ app, reason: `run ${runId} is one of ${run.appName}` })
    // What is being undone is undone to its end.
    if (isFinal(run.status) || run.status === RunStatus.COMPENSATING) return run.status === RunStatus.CANCELLED
    const ended = tape.endRun({ runId, status: RunStatus.CANCELLED, detailJson: JSON.stringify({ reason }) })
    const after = yield* Effect.mapError(waitingOut(ended, lease.patience), trouble(runId))
    return after.run?.status === RunStatus.CANCELLED
  })

/** `App.redrive`. */
export const redrive = <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  runId: string,
  options: RedriveOptions = {}
): Effect.Effect<A, E | RunError, R | TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const app = definition.name
    const lease = yield* take(app)
    const run = yield* look(tape, lease, runId)
    if (run.appName !== app) return yield* new RunRefused({ app, reason: `run ${runId} is one of ${run.appName}` })
    if (!isFinal(run.status) && !(yield* hasInput(tape, lease, runId))) {
      // Killed between its first two calls; only who started it can say what it was to do.
      return yield* new RunRefused({ app, reason: `run ${runId} has no input recorded: start it again with its ids` })
    }
    // The lease decides between those who want it: whoever comes second is refused.
    const seize = tape.resumeRun({ runId, leaseOwner: lease.owner, leaseTtlMs: ttlMillis(lease) }).pipe(
      Effect.catchTag("PreconditionFailed", () => Effect.void),
      Effect.zipRight(tape.getRun({ runId }))
    )
    const { whenHeld = "join" } = options
    return yield* Effect.annotateLogs(attend(definition, { tape, lease, seize, inputJson: undefined, whenHeld }, run), {
      app_name: app,
      run_id: runId,
      invocation_id: run.invocationId,
      session_id: run.sessionId,
      lease_owner: lease.owner
    })
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

interface Attendance {
  readonly tape: Life["tape"]
  readonly lease: Lease
  /** Takes the lease if it is free, and gives the run's row after that. */
  readonly seize: Effect.Effect<RunState, TapeError>
  readonly inputJson: string | undefined
  readonly whenHeld: "join" | "fail"
}

/**
 * Stays with a run until it is finished: drives it when it can, undoes what it did when it is to, follows it while somebody
 * else does or while it waits at a gate.
 */
const attend = Effect.fnUntraced(function* <I, A, E, R>(
  definition: Definition<I, A, E, R>,
  at: Attendance,
  found: RunState,
  firstMode: "first" | "resumed" = "resumed"
) {
  const { lease, tape } = at
  const { runId } = found
  const begins = (mode: Life["mode"]) => alive(at, definition, runId, mode)
  let run = found
  let mode = firstMode
  let outcome: Exit.Exit<A, E | RunError> | undefined
  let told = false
  let refused = false
  const rest = yield* Rest.make("run")
  while (true) {
    if (isFinal(run.status)) {
      if (outcome !== undefined && run.status === RunStatus.FAILED) return yield* outcome
      return yield* finished(definition, begins("finished"), run)
    }
    const isOurs = run.leaseOwner === lease.owner
    if (isOurs && run.status === RunStatus.RUNNING) {
      const life = begins(mode)
      const exit = yield* Effect.exit(drive(definition, life, lease, at.inputJson))
      if (life.state.undoing) {
        outcome = exit
        run = yield* turned(life, begins("resumed"))
      } else if (isElsewhere(life, exit)) {
        run = yield* look(tape, lease, runId)
      } else {
        return yield* exit
      }
      mode = "resumed"
      continue
    }
    if (isOurs && run.status === RunStatus.COMPENSATING) {
      yield* undo(definition, begins("resumed"), lease)
      run = yield* look(tape, lease, runId)
      continue
    }
    const isParked = run.status === RunStatus.WAITING
    if (refused || isParked || isHeld(run, yield* Clock.currentTimeMillis)) {
      if (at.whenHeld === "fail") {
        return yield* isParked
          ? new RunParked({ runId, gate: run.waitingOnGate })
          : new LeaseHeld({ runId, owner: run.leaseOwner })
      }
      if (!told && !isParked) yield* Effect.logInfo(`run ${runId} is driven by ${run.leaseOwner}: following it`)
      told = true
      yield* change(tape, run, rest)
      run = yield* look(tape, lease, runId)
      refused = false
      continue
    }
    run = yield* Effect.mapError(waitingOut(at.seize, lease.patience), trouble(runId))
    // Somebody else was faster, or the tape's clock is behind ours.
    refused = run.leaseOwner !== lease.owner
  }
})

/** Its program has stopped; from here on the run is COMPENSATING. */
const turned = (former: Life, life: Life): Effect.Effect<RunState, RunError> => {
  for (const [key, tool] of former.state.open) life.state.open.set(key, tool)
  return reported(life, turn(life))
}

/** While it waited at a gate, another process took the run up, or undoes it. */
const isElsewhere = (life: Life, exit: Exit.Exit<unknown, unknown>): boolean =>
  life.state.parked !== undefined &&
  Exit.isFailure(exit) &&
  (life.state.stopped?._tag === "LeaseLost" || life.state.stopped?._tag === "RunCompensated")

/** Until the run moves, its lease runs out, or a while has passed. */
const change = (tape: Life["tape"], run: RunState, rest: Rest.Rest): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const left = Number(run.leaseExpiresAtMs) - now
    const pause =
      run.status === RunStatus.WAITING ? rest(parked) : Effect.sleep(Math.min(Math.max(left + 1, shortest), longest))
    return tape.subscribeRun({ runId: run.runId, fromSeq: run.seqCursor + 1n }).pipe(
      Stream.filter((entry) => entry.kind === "run" || entry.kind === "gate"),
      Stream.runHead,
      // A broken stream is no news: the pause is the safety net.
      Effect.catchAll(() => Effect.never),
      Effect.asVoid,
      Effect.raceFirst(pause)
    )
  })

const shortest = 200
const longest = Duration.toMillis("5 seconds")
const parked = Duration.toMillis("30 seconds")

const look = (tape: Life["tape"], lease: Lease, runId: string) =>
  Effect.mapError(waitingOut(tape.getRun({ runId }), lease.patience), trouble(runId))

const hasInput = (tape: Life["tape"], lease: Lease, runId: string) =>
  waitingOut(tape.getEffect({ runId, idempotencyKey: `${runId}/input` }), lease.patience).pipe(
    Effect.mapBoth({ onFailure: trouble(runId), onSuccess: ({ found }) => found })
  )

const trouble =
  (runId: string) =>
  (cause: TapeError): TapeTrouble =>
    new TapeTrouble({ runId, cause })

const alive = <I, A, E, R>(
  { lease, tape, whenHeld }: Attendance,
  { name: app }: Definition<I, A, E, R>,
  runId: string,
  mode: Life["mode"]
): Life =>
  make({
    tape,
    app,
    runId,
    owner: lease.owner,
    patience: lease.patience,
    leaseTtl: lease.ttl,
    // Recovery drives a bounded number of runs: one that waits for days must not take a place among them.
    atGate: whenHeld === "fail" ? "leave" : "wait",
    mode
  })
