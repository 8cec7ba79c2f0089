/**
 * The work of `tape outbox`.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Outbox from "../Outbox.js"
import * as Daemon from "./daemon.js"
import type { ConnectorFlags } from "./flags.js"
import { Trouble, Usage } from "./mistake.js"

interface Flags extends ConnectorFlags {
  readonly url: string
  readonly connector: Option.Option<string>
  readonly interval: Option.Option<Duration.Duration>
  readonly maxAttempts: Option.Option<number>
  readonly claimer: Option.Option<string>
  readonly once: boolean
}

export const run = (flags: Flags): Effect.Effect<void, Daemon.Failed> =>
  Daemon.withTape(flags, ({ connectors, tools, url }) =>
    Effect.gen(function* () {
      const only = Option.getOrUndefined(flags.connector)
      if (connectors.length === 0) {
        const message = "there is no connector to send effects through: add --http, --register-log-connector or --load"
        return yield* new Usage({ message })
      }
      if (only !== undefined && !connectors.includes(only)) {
        const message = `there is no connector ${JSON.stringify(only)}; there is ${connectors.join(", ")}`
        return yield* new Usage({ message })
      }
      const options = {
        tools,
        connector: only,
        claimer: Option.getOrUndefined(flags.claimer),
        maxAttempts: Option.getOrUndefined(flags.maxAttempts),
        pollInterval: Option.getOrUndefined(flags.interval)
      }
      if (flags.once) return yield* pass(url, options)
      return yield* Daemon.serve(Outbox.layer({ ...options, onOutcome: (outcome) => print([outcome]) }), {
        ready: "outbox",
        url,
        connectors: only === undefined ? connectors : [only]
      })
    })
  )

// ---- internal ----

const pass = Effect.fnUntraced(function* (url: string, options: Outbox.LoopOptions) {
  const outcomes = yield* Effect.mapError(Outbox.dispatchOnce(options), (error) => Daemon.trouble(url, error))
  if (outcomes.length > 0) yield* print(outcomes)
  const unseen = outcomes.filter(({ _tag }) => _tag === "error").length
  if (unseen > 0) {
    return yield* new Trouble({ message: `${unseen} of ${outcomes.length} effects could not be read or recorded` })
  }
})

const encode = Schema.encodeSync(Schema.Array(Outbox.Outcome))

const print = (outcomes: ReadonlyArray<Outbox.Outcome>) => Daemon.print({ outbox: encode(outcomes) })
