/**
 * Waiting at a gate without a lease, and taking the lease again when it opens.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { TapeClient, tailRun } from "../Client.js"
import { type RunState, RunStatus } from "../gen/tape/v1/tape_pb.js"
import * as Rest from "../internal/rest.js"
import { RunCompensated, RunFinished, RunParked } from "./errors.js"
import { ask, ended, isFinal, type Life, leaseMillis, lost, stop } from "./run.js"

/** What opens a gate whose time has come: by its own run here, or by a reactor. Whoever is first counts. */
export const timeoutSignal = JSON.stringify({ timed_out: true })

interface Passed {
  readonly resolutionJson: string
  /** Somebody waited for it in this life. */
  readonly isFirst: boolean
}

/** The gate's resolution, when it is there. With a deadline the gate is opened by this very call, at the latest. */
export const passed = (
  life: Life,
  gate: string,
  contextJson: string,
  deadline: number | undefined
): Effect.Effect<Passed> => {
  let waits = false
  const inLine = life.state.gates.withPermits(1)(
    Effect.suspend(() => {
      waits = true
      return wait(life, gate, contextJson, deadline)
    })
  )
  if (deadline === undefined) return inLine
  // Behind another gate, its own time still counts.
  const rung = Effect.flatMap(until(deadline), () =>
    waits ? Effect.never : Effect.zipRight(ring(life, gate), wait(life, gate, contextJson, deadline))
  )
  return Effect.raceFirst(inLine, rung)
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const wait = Effect.fnUntraced(function* (life: Life, gate: string, contextJson: string, deadline: number | undefined) {
  const { runId, tape } = life
  const look = ask(life, tape.awaitSignal({ runId, gateName: gate, payloadJson: contextJson }))
  let isFirst = false
  while (true) {
    const { delivered, resolutionJson } = yield* look
    if (delivered) return { resolutionJson, isFirst }
    if (life.mode === "finished") {
      return yield* stop(life, new RunFinished({ runId, asked: `what opened gate ${gate}` }))
    }
    isFirst = true
    life.state.parked = gate
    if (life.atGate === "leave") return yield* stop(life, new RunParked({ runId, gate }))
    life.state.waiting++
    yield* Effect.ensuring(
      released(life, gate, deadline),
      Effect.sync(() => life.state.waiting--)
    )
  }
})

/** Until the gate is open and the run's lease is ours again. */
const released = Effect.fnUntraced(function* (life: Life, gate: string, deadline: number | undefined) {
  const { runId, tape } = life
  const rest = yield* Rest.make("run")
  while (true) {
    const run = yield* ask(life, tape.getRun({ runId }))
    if (isFinal(run.status)) return yield* stop(life, ended(run) ?? new RunFinished({ runId, asked: `gate ${gate}` }))
    if (run.status === RunStatus.COMPENSATING) return yield* stop(life, new RunCompensated({ runId }))
    if (run.status === RunStatus.WAITING) {
      const left = deadline === undefined ? Infinity : deadline - (yield* Clock.currentTimeMillis)
      if (left > 0) {
        yield* changed(life, run, left < safetyNet ? Effect.sleep(left) : rest(safetyNet, deadline))
        continue
      }
      yield* ring(life, gate)
      // Another process has taken the run to another gate; what comes next takes the lease, or is told.
      if (run.waitingOnGate !== gate) return
      continue
    }
    // A compare-and-set: of all who saw it open, one goes on.
    const taken = yield* ask(
      life,
      Effect.catchTag(
        tape.resumeRun({ runId, leaseOwner: life.owner, leaseTtlMs: leaseMillis(life) }),
        "PreconditionFailed",
        () => Effect.map(tape.getRun({ runId }), (now) => ({ run: now }))
      )
    )
    if (taken.run?.leaseOwner === life.owner) {
      life.state.parked = undefined
      return
    }
    if (taken.run?.status === RunStatus.RUNNING) return yield* stop(life, lost(life, taken.run))
  }
})

/** Until something happened to the gate or the run. The journal tells at once; the pause is for news that got lost. */
const changed = (life: Life, run: RunState, pause: Effect.Effect<void>): Effect.Effect<void> =>
  tailRun({ runId: life.runId, fromSeq: run.seqCursor + 1n }).pipe(
    Stream.provideService(TapeClient, life.tape),
    Stream.filter((entry) => entry.kind === "gate" || entry.kind === "run"),
    Stream.runHead,
    // What cannot be followed can still be looked at.
    Effect.catchAll(() => Effect.never),
    Effect.asVoid,
    Effect.raceFirst(pause)
  )

const ring = (life: Life, gate: string): Effect.Effect<void> =>
  Effect.asVoid(ask(life, life.tape.sendSignal({ runId: life.runId, gateName: gate, resolutionJson: timeoutSignal })))

const until = (time: number): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sleep(Math.max(0, time - now)))

const safetyNet = Duration.toMillis("30 seconds")
