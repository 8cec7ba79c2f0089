/**
 * Ways to a counterparty: how the outbox makes an effect happen, asks what became of it, and undoes it.
 *
 * A connector is a service per name, provided by layer. Only the process that dispatches needs it; the agent that records
 * the intent does not.
 *
 * @since 0.1.0
 */
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Types from "effect/Types"
import * as Http from "./connectors/http.js"
import * as Log from "./connectors/log.js"
import type { ConfigOr } from "./connectors/options.js"
import type { Protocol } from "./connectors/protocol.js"

export type { HttpOptions } from "./connectors/http.js"
export type { LogOptions } from "./connectors/log.js"
export type { ConfigOr } from "./connectors/options.js"
export {
  Compensated,
  Dispatched,
  Obligation,
  Observed,
  type Protocol,
  Request,
  Semantics
} from "./connectors/protocol.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export declare const NameId: unique symbol

/**
 * The service of the connector called `Name`, as it stands in a layer's or an effect's requirements.
 *
 * Invariant in its name: a connector of unknown name discharges nothing.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connector<in out Name extends string> {
  readonly [NameId]: Types.Invariant<Name>
}

/**
 * The connectors of a union of names.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Named<Name extends string> = Name extends string ? Connector<Name> : never

/**
 * Refuses a name that is only known as `string`: it could not be told apart from any other connector.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Literal<Name extends string> = string extends Name
  ? "a connector's name must be a literal string; for names known only at run time use Connectors.layerRecord"
  : Name

/**
 * The tag of the connector called `name`.
 *
 * @since 0.1.0
 * @category tags
 */
export const Tag = <const Name extends string>(name: Name): Context.Tag<Connector<Name>, Protocol> =>
  Context.GenericTag(`effect-tape/Connectors/${name}`)

/**
 * A connector of one's own. What its methods need is taken from the layer's context.
 *
 * @example
 * import { Connectors } from "effect-tape"
 * import { Effect } from "effect"
 *
 * export const Slack = Connectors.make("slack", {
 *   dispatch: (request) => Effect.as(Effect.log(request.payload), { _tag: "confirmed" })
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const make = <const Name extends string, R = never>(
  name: Name & Literal<Name>,
  protocol: Protocol<R>
): Layer.Layer<Connector<Name>, never, R> => layerNamed<Name, never, R>(name, provided(protocol))

/**
 * A counterparty that speaks JSON over HTTP.
 *
 * Every call is a POST with `X-Tape-Idempotency-Key`, `X-Tape-Run-Id`, `X-Tape-Business-Key` and `X-Tape-Attempt`
 * (configured headers cannot overwrite them; a value that is not printable ASCII is percent-encoded).
 *
 * - dispatch posts the payload: 2xx is confirmed with the parsed body; a final status (`finalStatuses`) is a final
 *   failure, any other 4xx one to try again, at `Retry-After` if sent; anything else, and no answer, is unknown.
 * - observe posts `{ idempotency_key, business_key, payload }` to `observeUrl` and is strict: exactly 200 with a JSON
 *   object whose `count` is 0, 1, 2 … is absent, confirmed (with `response` and `external_ref` if there), duplicate.
 * - compensate posts the obligation's payload to `compensateUrl`.
 *
 * Redirects are not followed. Each option may be a `Config`. Uses the `HttpClient` of its context, else `fetch`.
 *
 * @example
 * import { Connectors } from "effect-tape"
 * import { Config } from "effect"
 *
 * export const Bank = Connectors.http("bank.wire", {
 *   url: Config.string("BANK_URL"),
 *   observeUrl: "https://bank.example/wires/search"
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const http = <const Name extends string>(
  name: Name & Literal<Name>,
  options: ConfigOr<Http.HttpOptions>
): Layer.Layer<Connector<Name>, ConfigError.ConfigError> =>
  layerNamed<Name, ConfigError.ConfigError, never>(name, Http.make(options))

/**
 * A counterparty that is a file: every dispatch and compensation is a line of JSON (`kind`, `ts_ms`, `body`), synced to
 * disk before it counts as confirmed; observing reads the file. For development, audits and tests.
 *
 * @since 0.1.0
 * @category layers
 */
export const log = <const Name extends string>(
  name: Name & Literal<Name>,
  options: ConfigOr<Log.LogOptions> = {}
): Layer.Layer<Connector<Name>, ConfigError.ConfigError> =>
  layerNamed<Name, ConfigError.ConfigError, never>(name, Log.make(options))

/**
 * Many connectors at once, by name; the way for names that are known only at run time.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRecord = <const C extends { readonly [name: string]: Protocol<unknown> }>(
  connectors: C
): Layer.Layer<Named<keyof C & string>, never, RecordContext<C>> =>
  Layer.effectContext(
    Effect.map(Effect.context<RecordContext<C>>(), (context) => {
      let built = Context.empty()
      for (const [name, protocol] of Object.entries(connectors)) {
        // A record's values are widened to Protocol<unknown>; what they need is what RecordContext asked the context for.
        built = Context.add(built, Tag(name), within(protocol as Protocol<RecordContext<C>>, context))
      }
      return built as Context.Context<Named<keyof C & string>> // one entry per key of C, added just above
    })
  )

type RecordContext<C> = C[keyof C] extends infer P ? (P extends Protocol<infer R> ? R : never) : never

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const within = <R>(protocol: Protocol<R>, context: Context.Context<R>): Protocol => {
  const { compensate, dispatch, observe } = protocol
  return {
    dispatch: (request) =>
      Effect.provide(
        Effect.suspend(() => dispatch(request)),
        context
      ),
    observe:
      observe &&
      ((request) =>
        Effect.provide(
          Effect.suspend(() => observe(request)),
          context
        )),
    compensate:
      compensate &&
      ((obligation) =>
        Effect.provide(
          Effect.suspend(() => compensate(obligation)),
          context
        ))
  }
}

const provided = <R>(protocol: Protocol<R>): Effect.Effect<Protocol, never, R> =>
  Effect.map(Effect.context<R>(), (context) => within(protocol, context))

const layerNamed = <Name extends string, E, R>(name: Name, protocol: Effect.Effect<Protocol, E, R>) =>
  Layer.scoped(Tag<Name>(name), Effect.zipRight(warnWhenTaken(name), protocol))

/** Names alive per layer build: two layers of one name silently shadow each other, and only their build has them both. */
const alive = new WeakMap<Layer.MemoMap, Set<string>>()

const warnWhenTaken = (name: string) =>
  Effect.contextWithEffect((context: Context.Context<never>) => {
    // Read from the map itself: the reference's default would be one memo map for the whole process.
    const memoMap = context.unsafeMap.get(Layer.CurrentMemoMap.key) as Layer.MemoMap | undefined
    if (memoMap === undefined) return Effect.void
    const names = alive.get(memoMap) ?? new Set<string>()
    alive.set(memoMap, names)
    if (names.has(name)) {
      return Effect.logWarning(`two layers provide the connector "${name}"; one of them shadows the other`)
    }
    return Effect.acquireRelease(
      Effect.sync(() => names.add(name)),
      () => Effect.sync(() => names.delete(name))
    )
  })
