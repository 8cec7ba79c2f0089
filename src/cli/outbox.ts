/**
 * `tape outbox`: sends what is recorded.
 */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Flags from "./flags.js"

export const command = Command.make(
  "outbox",
  {
    url: Flags.url,
    ...Flags.connectors,
    connector: Options.text("connector").pipe(
      Options.withDescription("See to the effects of this connector only (default: of all that are given)"),
      Options.optional
    ),
    interval: Flags.duration("interval").pipe(
      Options.withDescription("How long a connector with nothing due rests; new effects wake it (default: 1s)"),
      Options.optional
    ),
    maxAttempts: Options.integer("max-attempts").pipe(
      Options.filterMap(
        Option.liftPredicate((attempts) => attempts > 0),
        "--max-attempts is at least 1"
      ),
      Options.withDescription("After how many failed attempts an effect is FAILED (default: 5)"),
      Options.optional
    ),
    claimer: Options.text("claimer").pipe(
      Options.withDescription("The name to claim effects under ($TAPE_DISPATCH_CLAIMER, else host:pid:random)"),
      Options.optional
    ),
    once: Flags.once
  },
  // loaded when needed, as all that commands need; a part of this package, hence `promise`
  (flags) =>
    Effect.flatMap(
      Effect.promise(() => import("./outboxDaemon.js")),
      ({ run }) => run(flags)
    )
).pipe(
  Command.withDescription(
    'Send recorded effects through connectors, until told to stop (SIGTERM, SIGINT). Prints {"ready"} when it is, then {"outbox": [outcome]} for each turn of an effect; logs go to standard error.'
  )
)
