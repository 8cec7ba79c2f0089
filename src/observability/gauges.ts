/**
 * Gauges of a whole tape.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { TapeClient, tailEvents } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { untroubled } from "../reactors/supervise.js"
import { effectsUnknown, obligationsUnresolved, outboxLag, runsRunning, runsStuck } from "./metrics.js"

/**
 * How the gauges of a tape are kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface GaugeOptions {
  /** How often what can be listed is counted. Defaults to 15 seconds. */
  readonly interval?: Duration.DurationInput | undefined
  /** How many rows are listed to count them: a gauge that shows this many stands for this many or more. Defaults to 500. */
  readonly limit?: number | undefined
  /**
   * How far back runs are counted from when this starts: one that was last heard of before that is not. Defaults to the
   * whole journal, which is read through once; until then the counts of runs rise to what they are.
   */
  readonly lookBack?: Duration.DurationInput | undefined
}

/**
 * Keeps the gauges of a tape, in supervised fibers of this layer's scope: `tape.runs.running` and `tape.runs.stuck` follow
 * the journal, `tape.effects.unknown`, `tape.obligations.unresolved` and `tape.outbox.lag` are sampled. They are about the
 * whole tape, not this process, so one program that keeps them is enough.
 *
 * While the tape cannot be read they stay as they are, which is logged once.
 *
 * @example
 * import { Observability } from "effect-tape"
 * import { Effect, Metric } from "effect"
 *
 * export const Gauges = Observability.layerGauges({ interval: "30 seconds" })
 *
 * export const alarm = Effect.gen(function* () {
 *   const { value } = yield* Metric.value(Observability.metrics.runsStuck)
 *   if (value > 0) yield* Effect.logError(`${value} runs are stuck`)
 * })
 *
 * @since 0.1.0
 * @category gauges
 */
export const layerGauges = (options: GaugeOptions = {}): Layer.Layer<never, never, TapeClient> =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* Metric.set(runsRunning, 0)
      yield* Metric.set(runsStuck, 0)
      const named = Effect.annotateLogs({ module: "Observability", fiber: "gauges" })
      yield* untroubled(sampled(tape, Math.max(1, options.limit ?? 500)), {
        trouble: "the gauges of the tape cannot be sampled for now",
        fine: "the gauges of the tape are sampled again"
      }).pipe(Effect.repeat(Schedule.spaced(options.interval ?? "15 seconds")), named, Effect.forkScoped)
      yield* untroubled(
        Effect.suspend(() => followed(options.lookBack)),
        {
          trouble: "runs cannot be followed for now",
          fine: "runs are followed again"
        }
      ).pipe(Effect.repeat(Schedule.jittered(Schedule.spaced("5 seconds"))), named, Effect.forkScoped)
    })
  )

// ---- internal ----

const sampled = (tape: TapeClient["Type"], limit: number): Effect.Effect<void, TapeError> =>
  Effect.gen(function* () {
    const [unknown, pending, stuck, due] = yield* Effect.all([
      tape.listPendingEffects({ includeUnknown: true, limit: BigInt(limit) }),
      tape.listUnresolvedObligations({ includePending: true, includeCommittedExpired: true, limit }),
      tape.listUnresolvedObligations({ includeStuck: true, limit }),
      tape.listEffectsToDispatch({ limit: 1n })
    ])
    const [first] = due.effects
    const now = yield* Clock.currentTimeMillis
    yield* Metric.set(effectsUnknown, unknown.effects.length)
    yield* Metric.set(Metric.tagged(obligationsUnresolved, "state", "pending"), pending.obligations.length)
    yield* Metric.set(Metric.tagged(obligationsUnresolved, "state", "stuck"), stuck.obligations.length)
    yield* Metric.set(outboxLag, first === undefined ? 0 : Math.max(0, now - Number(first.nextDispatchAtMs)))
  })

/** The wire has no list of runs, but the journal tells of each that it was begun and how it ended. */
const followed = (lookBack: Duration.DurationInput | undefined): Effect.Effect<void, TapeError, TapeClient> =>
  Effect.gen(function* () {
    const running = new Set<string>()
    const stuck = new Set<string>()
    const span = Duration.toMillis(lookBack ?? Duration.infinity)
    const from = Number.isFinite(span) ? Math.max(0, (yield* Clock.currentTimeMillis) - span) : 0
    yield* tailEvents({ fromTsMs: BigInt(Math.floor(from)), kind: "run" }).pipe(
      Stream.runForEachChunk((entries) => {
        for (const { kind, runId, subject } of entries) {
          const now = kind === "run" ? stateOf(subject) : undefined
          if (now === undefined) continue
          running.delete(runId)
          stuck.delete(runId)
          if (now === "running") running.add(runId)
          if (now === "stuck") stuck.add(runId)
        }
        return Effect.zipRight(Metric.set(runsRunning, running.size), Metric.set(runsStuck, stuck.size))
      })
    )
  })

const stateOf = (subject: string): "running" | "stuck" | "ended" | undefined => {
  switch (subject.split("/")[3]) {
    case "running":
    case "compensating":
      return "running"
    case "stuck":
      return "stuck"
    case "terminal":
    case "failed":
    case "cancelled":
    case "ended":
      return "ended"
    default:
      return undefined
  }
}
