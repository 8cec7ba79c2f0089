/**
 * `tape reactors`: keeps a tape's promises.
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Flags from "./flags.js"

const without = (name: string, what: string) =>
  Options.boolean(`no-${name}`).pipe(Options.withDescription(`Leave out ${what}`))

export const command = Command.make(
  "reactors",
  {
    url: Flags.url,
    ...Flags.connectors,
    noRecover: without("recover", "taking up runs whose process died (needs apps: --load)"),
    noReconcile: without("reconcile", "asking what became of effects whose outcome is unknown"),
    noTimers: without("timers", "what is due at a time"),
    noCompensations: without("compensations", "undoing what runs owe"),
    reconcilePendingAfter: Flags.duration("reconcile-pending-after").pipe(
      Options.withDescription("Ask also about inline effects that are pending for this long"),
      Options.optional
    ),
    interval: Flags.duration("interval").pipe(
      Options.withDescription("How long to rest between passes (default: 2s; compensations 5s, or news)"),
      Options.optional
    ),
    claimer: Options.text("claimer").pipe(
      Options.withDescription("The name to claim obligations under ($TAPE_CLAIMER, else host:pid:random)"),
      Options.optional
    ),
    once: Flags.once
  },
  // loaded when needed, as all that commands need; a part of this package, hence `promise`
  (flags) =>
    Effect.flatMap(
      Effect.promise(() => import("./reactorsDaemon.js")),
      ({ run }) => run(flags)
    )
).pipe(
  Command.withDescription(
    'Recover runs, reconcile effects, fire timers, work off compensations, until told to stop (SIGTERM, SIGINT). Prints {"ready"} when it is, then {"tick": {…}} for what was done; logs go to standard error.'
  )
)
