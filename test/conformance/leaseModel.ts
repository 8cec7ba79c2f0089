/** Random begins, heartbeats, take-overs and ends of one run against a model of its lease. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { RunStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import { check, type Model } from "./Model.js"
import { type Scenario, scenario } from "./Scenario.js"

const { CANCELLED, COMPENSATING, FAILED, RUNNABLE, RUNNING, STUCK, TERMINAL, WAITING } = RunStatus

type Command =
  | { readonly call: "begin"; readonly owner: string; readonly ifFree: boolean; readonly long: boolean }
  | { readonly call: "resume"; readonly owner: string; readonly long: boolean }
  | { readonly call: "end"; readonly status: RunStatus }
  | { readonly call: "await" | "signal" }

interface Run {
  readonly status: RunStatus
  readonly owner: string
  /** Whether the lease is long; a short one has run out before the next call. */
  readonly long: boolean
  readonly delivered: boolean
}

const owner = FastCheck.constantFrom("A", "B", "")

const command: FastCheck.Arbitrary<Command> = FastCheck.oneof(
  {
    weight: 4,
    arbitrary: FastCheck.record({
      call: FastCheck.constant("begin" as const),
      owner,
      ifFree: FastCheck.boolean(),
      long: FastCheck.boolean()
    })
  },
  {
    weight: 5,
    arbitrary: FastCheck.record({ call: FastCheck.constant("resume" as const), owner, long: FastCheck.boolean() })
  },
  {
    weight: 1,
    arbitrary: FastCheck.record({
      call: FastCheck.constant("end" as const),
      status: FastCheck.constantFrom(TERMINAL, FAILED, STUCK, CANCELLED, COMPENSATING)
    })
  },
  { weight: 2, arbitrary: FastCheck.record({ call: FastCheck.constantFrom("await" as const, "signal" as const) }) }
)

const alive = (run: Run): boolean =>
  (run.status === RUNNING || run.status === COMPENSATING) && run.owner !== "" && run.long

const isOf = (status: RunStatus, ...all: ReadonlyArray<RunStatus>): boolean => all.includes(status)

const taken = (run: Run, { long, owner }: { readonly owner: string; readonly long: boolean }): Run => ({
  ...run,
  status: run.status === COMPENSATING ? COMPENSATING : RUNNING,
  owner,
  long
})

/** The run after the call, or `undefined` when the call is refused. */
const next = (run: Run, command: Command): Run | undefined => {
  switch (command.call) {
    case "begin":
      return isOf(run.status, TERMINAL, STUCK, CANCELLED) ||
        (command.ifFree && alive(run) && run.owner !== command.owner)
        ? run
        : taken(run, command)
    case "resume":
      if (isOf(run.status, TERMINAL, STUCK, CANCELLED, FAILED)) return undefined
      if (alive(run) && run.owner !== command.owner) return undefined
      return run.status === WAITING ? run : taken(run, command)
    case "end": {
      const { status } = command
      const allowed =
        isOf(run.status, RUNNABLE, RUNNING, WAITING, COMPENSATING) ||
        (isOf(run.status, FAILED, CANCELLED) && status === COMPENSATING) ||
        (run.status === STUCK && isOf(status, COMPENSATING, FAILED, TERMINAL))
      return allowed && status !== run.status ? { ...run, status, owner: "" } : run
    }
    case "await":
      if (run.delivered) return run
      if (isOf(run.status, TERMINAL, STUCK, CANCELLED)) return run.status === WAITING ? run : undefined
      return { ...run, status: WAITING, owner: "" }
    case "signal":
      if (isOf(run.status, TERMINAL, STUCK, CANCELLED, FAILED)) return run
      return { ...run, delivered: true, status: run.status === WAITING ? RUNNABLE : run.status }
  }
}

export const leaseModel: Model<Command> = {
  command,
  run: (w, name, commands) =>
    Effect.gen(function* () {
      const runId = yield* w.run(name, { leaseOwner: "A" })
      let model: Run = { status: RUNNING, owner: "A", long: true, delivered: false }
      const ttl = (long: boolean) => (long ? 600_000n : 1n)
      for (const command of commands) {
        // gates of a run that is being undone, or has failed, are not what this is about
        if ((command.call === "await" || command.call === "signal") && !isOf(model.status, RUNNING, RUNNABLE, WAITING))
          continue
        const after = next(model, command)
        const call = Effect.gen(function* () {
          switch (command.call) {
            case "begin": {
              const metadata = command.ifFree ? { "tape-lease": "if-free" } : {}
              const begun = yield* w.beginRun(
                name,
                { leaseOwner: command.owner, leaseTtlMs: ttl(command.long) },
                { metadata }
              )
              assert.deepEqual([begun.runId, begun.resumed], [runId, true])
              return begun.status
            }
            case "resume":
              return (yield* w.resume(runId, command.owner, ttl(command.long))).status
            case "end":
              return (yield* w.endRun(runId, command.status)).status
            case "await":
              yield* w.tape.awaitSignal({ runId, gateName: "g" })
              return undefined
            case "signal":
              yield* w.tape.sendSignal({ runId, gateName: "g", resolutionJson: "1" })
              return undefined
          }
        })
        if (after === undefined) {
          yield* refused(call, "PreconditionFailed")
        } else {
          const status = yield* call
          model = after
          if (status !== undefined) assert.equal(status, model.status)
        }
        if ((command.call === "begin" || command.call === "resume") && !command.long) yield* Effect.sleep("3 millis")
        const { leaseOwner, status } = yield* w.getRun(runId)
        assert.deepEqual([status, leaseOwner], [model.status, model.owner])
      }
    })
}

export const leaseModelScenarios: ReadonlyArray<Scenario> = [
  scenario("MODEL-LEASE", "P1", "random begins, heartbeats and ends agree with a model", function* (w) {
    yield* check(w, leaseModel, 40)
  })
]
