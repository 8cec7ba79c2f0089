import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { TapeClient } from "../../Client.js"
import type { TapeError } from "../../Errors.js"
import { type EffectState, type Run, TestTape } from "./service.js"

/**
 * What was waited for has not come.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotReached extends Schema.TaggedError<NotReached>()("NotReached", {
  awaited: Schema.String,
  /** The journal's steps so far. */
  steps: Schema.Array(Schema.String),
  /** How long the next fiber that sleeps has to sleep, by the test's clock, if one does. */
  nextWake: Schema.optional(Schema.DurationFromMillis)
}) {
  override get message(): string {
    const clock =
      this.nextWake === undefined
        ? "nobody waits for the clock"
        : `the next fiber sleeps for ${Duration.format(this.nextWake)}: is a TestClock.adjust missing?`
    return `${this.awaited} was not reached; ${clock}\n${this.steps.map((step) => `  ${step}`).join("\n")}`
  }
}

/**
 * How long to wait, and for what.
 *
 * @since 0.1.0
 * @category models
 */
export interface AwaitOptions {
  /** Only of this run. Defaults to any. */
  readonly runId?: string | undefined
  /** In real time: the test's clock stands still meanwhile. Defaults to 5 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
}

/**
 * Waits until some run waits at a gate, and gives that run. The clock stands still meanwhile; where something has to be
 * due first, adjust it before.
 *
 * @since 0.1.0
 * @category waiting
 */
export const awaitGate = (gate: string, options: AwaitOptions = {}): Effect.Effect<Run, NotReached, TestTape> =>
  awaited(
    `gate ${gate}`,
    options,
    ({ runs }) => runs,
    (run) => run.gate === gate && run.status === "WAITING"
  )

/**
 * Waits until an effect of a tool has a status, and gives the first such effect. Defaults to `CONFIRMED`.
 *
 * @since 0.1.0
 * @category waiting
 */
export const awaitEffect = (
  tool: string,
  options: AwaitOptions & { readonly status?: "PENDING" | "CONFIRMED" | "FAILED" | "UNKNOWN" | undefined } = {}
): Effect.Effect<EffectState, NotReached, TestTape> => {
  const { status = "CONFIRMED" } = options
  return awaited(
    `${tool} ${status}`,
    options,
    ({ effects }) => effects,
    (effect) => effect.tool === tool && effect.status === status
  )
}

/**
 * Waits until a run of an app has a status, and gives the first such run. Defaults to any of those that are final:
 * `TERMINAL` (it succeeded), `FAILED`, `CANCELLED`, `STUCK`.
 *
 * @since 0.1.0
 * @category waiting
 */
export const awaitRun = (
  app: string,
  options: AwaitOptions & { readonly status?: string | undefined } = {}
): Effect.Effect<Run, NotReached, TestTape> => {
  const { status } = options
  return awaited(
    `${app} ${status ?? "finished"}`,
    options,
    ({ runs }) => runs,
    (run) => run.app === app && (status === undefined ? final.has(run.status) : run.status === status)
  )
}

/**
 * Opens a gate once a run waits there, as a person would. The resolution is what the gate's schema decodes.
 *
 * @since 0.1.0
 * @category waiting
 */
export const openGate = (
  gate: string,
  resolution: unknown,
  options: AwaitOptions = {}
): Effect.Effect<Run, NotReached | TapeError, TestTape | TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const run = yield* awaitGate(gate, options)
    yield* tape.sendSignal({ runId: run.runId, gateName: gate, resolutionJson: JSON.stringify(resolution) ?? "" })
    return run
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const final: ReadonlySet<string> = new Set(["TERMINAL", "FAILED", "CANCELLED", "STUCK"])

const live = Clock.make()

const awaited = <A extends { readonly runId: string }>(
  awaited: string,
  { runId, timeout = "5 seconds" }: AwaitOptions,
  rowsOf: (tape: TestTape["Type"]) => Effect.Effect<ReadonlyArray<A>>,
  isIt: (row: A) => boolean
): Effect.Effect<A, NotReached, TestTape> =>
  Effect.gen(function* () {
    const tape = yield* TestTape
    const found = Effect.gen(function* () {
      for (;;) {
        const version = yield* tape.version
        const rows = yield* rowsOf(tape)
        const row = rows.find((row) => isIt(row) && (runId === undefined || row.runId === runId))
        if (row !== undefined) return row
        yield* tape.changed(version)
      }
    })
    const missed = Effect.gen(function* () {
      yield* Effect.withClock(Effect.sleep(timeout), live)
      const { journal } = yield* tape.state
      const next = yield* tape.nextWake
      const nextWake = next === undefined ? undefined : Duration.millis(next - (yield* Clock.currentTimeMillis))
      return yield* new NotReached({ awaited, steps: journal.steps, nextWake })
    })
    return yield* Effect.raceFirst(found, missed)
  })
