/**
 * The work of `tape reactors`.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Reactors from "../Reactors.js"
import * as Daemon from "./daemon.js"
import type { ConnectorFlags } from "./flags.js"
import { Trouble, Usage } from "./mistake.js"

interface Flags extends ConnectorFlags {
  readonly url: string
  readonly noRecover: boolean
  readonly noReconcile: boolean
  readonly noTimers: boolean
  readonly noCompensations: boolean
  readonly reconcilePendingAfter: Option.Option<Duration.Duration>
  readonly interval: Option.Option<Duration.Duration>
  readonly claimer: Option.Option<string>
  readonly once: boolean
}

export const run = (flags: Flags): Effect.Effect<void, Daemon.Failed> =>
  Daemon.withTape(flags, ({ apps, connectors, tools, url }) =>
    Effect.gen(function* () {
      const interval = Option.getOrUndefined(flags.interval)
      const schedule = interval === undefined ? undefined : Schedule.jittered(Schedule.spaced(interval))
      const options = {
        apps,
        tools,
        // Without an app there is nobody to take a run up.
        recover: !flags.noRecover &&
          apps.length > 0 && { schedule, onReport: printed(Reactors.Recovered, "recovered") },
        reconcile: !flags.noReconcile && {
          schedule,
          pendingOlderThan: Option.getOrUndefined(flags.reconcilePendingAfter),
          onReport: printed(Reactors.Reconciled, "reconciled")
        },
        timers: !flags.noTimers && { schedule, onReport: printed(Reactors.Fired, "timers_fired") },
        obligations: !flags.noCompensations && {
          schedule,
          claimer: Option.getOrUndefined(flags.claimer),
          onReport: printed(Reactors.Drained, "compensations")
        }
      } as const
      const working = (["recover", "reconcile", "timers", "obligations"] as const).filter((name) => options[name])
      if (working.length === 0) return yield* new Usage({ message: "nothing is left to do: every reactor is left out" })
      if (flags.once) return yield* pass(url, options)
      return yield* Daemon.serve(Reactors.layer(options), {
        ready: "reactors",
        url,
        reactors: working,
        connectors,
        apps: apps.map(({ name }) => name)
      })
    })
  )

// ---- internal ----

/** Tells each report as a tick of its own: a reactor does not wait for the others. */
const printed =
  <A, I>(schema: Schema.Schema<A, I>, name: string) =>
  (report: A) =>
    Daemon.print({ tick: { [name]: [Schema.encodeSync(schema)(report)] } })

const pass = Effect.fnUntraced(function* (url: string, options: Reactors.Options) {
  const { failures } = yield* Reactors.once(options)
  if (failures.length > 0) {
    const reasons = failures.map(({ error, reactor }) => `${reactor}: ${error.message}`)
    return yield* new Trouble({ message: `${url}: ${reasons.join("; ")}` })
  }
})
