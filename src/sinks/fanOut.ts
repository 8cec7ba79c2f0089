import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import type { CursorStore } from "./cursor.js"
import type { CursorError } from "./errors.js"
import { layerRelay } from "./relay.js"
import type { RelayLoopOptions } from "./relayOptions.js"
import type { Sink } from "./sink.js"

/**
 * Several sinks, each with a relay and a cursor of its own (`<name>/<key>`): one that is slow or down holds up no other.
 *
 * @example
 * import { Sinks } from "effect-tape"
 *
 * export const Everywhere = Sinks.layerFanOut(
 *   { name: "audit", cursor: (relay) => Sinks.cursorFile({ path: `cursors/${relay}.json` }) },
 *   { disk: Sinks.log({ path: "audit.jsonl" }), siem: Sinks.webhook({ url: "https://siem.example/tape" }) }
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFanOut = <
  const Sinks extends { readonly [key: string]: Sink<unknown, unknown> },
  CE = never,
  CR = TapeClient
>(
  options: Omit<RelayLoopOptions, "cursor"> & {
    /** Where the cursor of each relay is kept, by the relay's name. Defaults to `Sinks.cursorValue` for all. */
    readonly cursor?: ((relay: string) => CursorStore<CE, CR>) | undefined
  },
  sinks: Sinks
): Layer.Layer<
  never,
  OpenError<Sinks[keyof Sinks]> | CE | CursorError | TapeError,
  TapeClient | Exclude<OpenContext<Sinks[keyof Sinks]> | CR, Scope.Scope>
> =>
  Object.entries(sinks).reduce<
    Layer.Layer<
      never,
      OpenError<Sinks[keyof Sinks]> | CE | CursorError | TapeError,
      TapeClient | Exclude<OpenContext<Sinks[keyof Sinks]> | CR, Scope.Scope>
    >
  >((merged, [key, sink]) => {
    const name = `${options.name}/${key}`
    // A record's values are widened to Sink<unknown, unknown>; this one's types are among those of Sinks.
    const own = sink as Sink<OpenError<Sinks[keyof Sinks]>, OpenContext<Sinks[keyof Sinks]>>
    return Layer.merge(merged, layerRelay({ ...options, name, cursor: options.cursor?.(name) }, own))
  }, Layer.empty)

/**
 * @since 0.1.0
 * @category type-level
 */
export type OpenError<S> = S extends Sink<infer E, unknown> ? E : never

/**
 * @since 0.1.0
 * @category type-level
 */
export type OpenContext<S> = S extends Sink<unknown, infer R> ? R : never
