/**
 * What this package counts and measures.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"

const counter = (name: string, description: string) => Metric.counter(name, { description, incremental: true })

/**
 * Runs that were begun and have not ended, those that wait at a gate included. Set by `Observability.layerGauges`.
 *
 * @since 0.1.0
 * @category gauges
 */
export const runsRunning = Metric.gauge("tape.runs.running", { description: "Runs that have not ended." })

/**
 * Runs that are STUCK: a person has to look. Set by `Observability.layerGauges`.
 *
 * @since 0.1.0
 * @category gauges
 */
export const runsStuck = Metric.gauge("tape.runs.stuck", { description: "Runs that a person has to look at." })

/**
 * Effects that are UNKNOWN: nobody knows whether they happened. Set by `Observability.layerGauges`.
 *
 * @since 0.1.0
 * @category gauges
 */
export const effectsUnknown = Metric.gauge("tape.effects.unknown", {
  description: "Effects of which nobody knows whether they happened."
})

/**
 * Obligations that are not resolved, tagged `state`: `pending` (registered, owed or not) or `stuck`. Set by
 * `Observability.layerGauges`.
 *
 * @since 0.1.0
 * @category gauges
 */
export const obligationsUnresolved = Metric.gauge("tape.obligations.unresolved", {
  description: "Obligations that are not resolved, by state."
})

/**
 * Milliseconds that the longest waiting effect of the outbox is overdue; 0 when none is. Set by
 * `Observability.layerGauges`.
 *
 * @since 0.1.0
 * @category gauges
 */
export const outboxLag = Metric.gauge("tape.outbox.lag", {
  description: "Milliseconds that the longest waiting effect of the outbox is overdue."
})

/**
 * Milliseconds that the longest waiting piece of a reactor's work is overdue, tagged `reactor`: leases of runs, effects
 * of unknown outcome, timers, obligations. Set by each pass of a reactor.
 *
 * @since 0.1.0
 * @category gauges
 */
export const reactorLag = Metric.gauge("tape.reactors.lag", {
  description: "Milliseconds that the longest waiting piece of a reactor's work is overdue, at its last pass."
})

/**
 * Turns of the outbox dispatcher, tagged `outcome` (the tag of an `Outbox.Outcome`) and `connector`.
 *
 * @since 0.1.0
 * @category counters
 */
export const dispatched = counter("tape.outbox.dispatched", "Turns of the outbox dispatcher, by outcome and connector.")

/**
 * Tasks of reactions, tagged `outcome` (the tag of a `Reactions.Outcome`) and `reaction`.
 *
 * @since 0.1.0
 * @category counters
 */
export const tasks = counter("tape.reactions.dispatched", "Tasks of reactions, by outcome and reaction.")

/**
 * Passes of reactors, tagged `reactor` and `outcome`: `done`, or `failed` when the tape could not be read.
 *
 * @since 0.1.0
 * @category counters
 */
export const ticks = counter("tape.reactors.ticks", "Passes of reactors, by outcome and reactor.")

/**
 * Runs that recovery took up, tagged `outcome` (the tag of a `Reactors.Recovered`).
 *
 * @since 0.1.0
 * @category counters
 */
export const recovered = counter("tape.reactors.recovered", "Runs that recovery took up, by what became of them.")

/**
 * Effects the reconciler asked about, tagged `outcome` (the tag of a `Reactors.Reconciled`).
 *
 * @since 0.1.0
 * @category counters
 */
export const reconciled = counter(
  "tape.reactors.reconciled",
  "Effects the reconciler asked about, by what became of them."
)

/**
 * Timers that were due, tagged `outcome` (the tag of a `Reactors.Fired`).
 *
 * @since 0.1.0
 * @category counters
 */
export const timers = counter("tape.reactors.timers", "Timers that were due, by what became of them.")

/**
 * Obligations the drainer turned to, tagged `outcome` (the tag of a `Reactors.Drained`).
 *
 * @since 0.1.0
 * @category counters
 */
export const obligations = counter(
  "tape.reactors.obligations",
  "Obligations the drainer turned to, by what became of them."
)

/**
 * Runs that were to be compacted, tagged `outcome` (the tag of a `Reactors.Compacted`).
 *
 * @since 0.1.0
 * @category counters
 */
export const compacted = counter("tape.reactors.compacted", "Runs that were to be compacted, by what became of them.")
