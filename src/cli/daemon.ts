/**
 * What a daemon works with: the tape, connectors, the modules of a program.
 */
import type * as ConfigError from "effect/ConfigError"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { toStringUnknown } from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Record from "effect/Record"
import { type InvalidUrl, TapeClient } from "../Client.js"
import * as Connectors from "../Connectors.js"
import * as Http from "../connectors/http.js"
import * as Log from "../connectors/log.js"
import type { StoreError } from "../engine/StoreError.js"
import { withoutPassword } from "../internal/withoutPassword.js"
import * as Live from "../Live.js"
import * as Tenancy from "../Tenancy.js"
import type { ConnectorFlags } from "./flags.js"
import { type Loaded, load } from "./load.js"
import { Trouble, Usage } from "./mistake.js"

export type Failed = Usage | Trouble | InvalidUrl | StoreError

/** What the work of a daemon is given. */
export interface Given extends Pick<Loaded, "apps" | "tools"> {
  readonly url: string
  /** The names of the connectors that are there. */
  readonly connectors: ReadonlyArray<string>
}

/**
 * Does the work with what the flags name. The tape has answered once before it begins. What the work needs beside the tape
 * are the connectors and services of loaded modules, which no type here knows; what is missing dies by its name.
 */
export const withTape = (
  flags: ConnectorFlags & { readonly url: string },
  work: (given: Given) => Effect.Effect<unknown, Failed, unknown>
): Effect.Effect<void, Failed> =>
  Effect.gen(function* () {
    const { token } = yield* Effect.mapError(Live.config, usage)
    const loaded = yield* load(flags.load)
    const tape = Live.layerUrl(flags.url, { token: Option.getOrUndefined(token) })
    const parts = Layer.merge(
      byFlags(flags),
      Layer.mapError(loaded.layer, (error) => trouble("--load", error))
    )
    const ready = Effect.gen(function* () {
      const client = yield* TapeClient
      const url = withoutPassword(flags.url)
      yield* Effect.mapError(client.listRunsToRecover({ limit: 1n }), (error) => trouble(url, error))
      const { apps, tools } = loaded
      yield* work({ url, apps, tools, connectors: yield* connectorNames })
    })
    yield* Effect.provide(ready as Effect.Effect<void, Failed, TapeClient>, Layer.provideMerge(parts, tape))
  }).pipe(Effect.provide(Layer.mapError(Tenancy.layerConfig, usage)))

/** Runs a layer until the process is told to stop, and says so when it is there. */
export const serve = <E, R>(layer: Layer.Layer<never, E, R>, ready: object): Effect.Effect<never, E, R> =>
  Effect.scoped(Effect.zipRight(Effect.zipRight(Layer.build(layer), print(ready)), Effect.never))

/** One line of JSON on standard output. */
export const print = (line: object): Effect.Effect<void> => Console.log(JSON.stringify(line))

export const trouble = (where: string, error: unknown): Trouble =>
  new Trouble({ message: `${where}: ${error instanceof Error ? error.message : toStringUnknown(error, 0)}` })

// ---- internal ----

const usage = (error: ConfigError.ConfigError): Usage => new Usage({ message: String(error) })

const byFlags = (flags: ConnectorFlags): Layer.Layer<never, Usage> => {
  const names = flags.http.map(({ name }) => name)
  const twice = names.find((name, index) => names.includes(name, index + 1))
  if (twice !== undefined) return Layer.fail(new Usage({ message: `--http names two connectors ${twice}` }))
  const http = flags.http.map(({ name, observeUrl, url }) => {
    const wrong = (error: ConfigError.ConfigError) => new Usage({ message: `--http ${name}: ${String(error)}` })
    return [name, Effect.mapError(Http.make({ url, observeUrl }), wrong)] as const
  })
  const log = flags.log ? [["log", Effect.mapError(Log.make({ path: flags.logPath }), usage)] as const] : []
  const protocols = Effect.all(Record.fromEntries([...http, ...log]))
  return Layer.unwrapEffect(Effect.map(protocols, (found): Layer.Layer<never> => Connectors.layerRecord(found)))
}

const connectorNames = Effect.map(Effect.context<never>(), ({ unsafeMap }) => {
  const prefix = Connectors.Tag("").key
  return [...unsafeMap.keys()].flatMap((key) => (key.startsWith(prefix) ? [key.slice(prefix.length)] : [])).toSorted()
})
