/**
 * The tape that a URL names, wherever it is: a server, or an engine in this process.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Client from "./Client.js"
import type { EngineOptions } from "./engine/Engine.js"
import type { StoreError } from "./engine/StoreError.js"

/**
 * Settings of a tape that a URL names.
 *
 * @since 0.1.0
 * @category models
 */
export interface LiveOptions extends Omit<Client.GrpcOptions, "url"> {
  /** Settings of the engine, where the URL names one. */
  readonly engine?: EngineOptions | undefined
}

/**
 * The tape at a URL: `tape://`, `tapes://`, `unix:` reach a server, `sqlite:`, `memory:`, `postgres://` start an engine
 * in this process for the lifetime of the layer. What concerns connections only (`token`, `tls`, `keepalive`) is for
 * servers. A program that never names an engine never loads one, nor a database driver.
 *
 * @example
 * import { Live } from "effect-tape"
 *
 * const TapeInFile = Live.layerUrl("sqlite:./tape.db")
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUrl = (
  url: string,
  options: LiveOptions = {}
): Layer.Layer<Client.TapeClient, Client.InvalidUrl | StoreError> =>
  Layer.unwrapEffect(
    Effect.gen(function* (): Effect.fn.Return<Tape, Client.InvalidUrl> {
      const parsed = yield* Client.parseUrl(url)
      if (parsed._tag === "Server") return Client.layerGrpc({ ...options, url })
      // a part of this package: that it cannot be loaded is no failure a program could answer, hence `promise`
      const { Engine } = yield* Effect.promise(() => import("./engine/index.js"))
      return Layer.provide(Client.layerHandlers(Engine.Engine, options), Engine.layerUrl(url, options.engine))
    })
  )

/**
 * Where the tape is, from the environment: `TAPE_URL` (unset or empty: `tape://localhost:7878`) and `TAPE_TOKEN`.
 *
 * @since 0.1.0
 * @category config
 */
export const config: Config.Config<{
  readonly url: string
  readonly token: Option.Option<Redacted.Redacted>
}> = Config.all({
  url: Config.string("TAPE_URL").pipe(
    Config.withDefault(""),
    Config.map((url) => (url === "" ? defaultUrl : url)),
    Config.withDescription(
      "The tape: tape://host[:port], tapes://host[:port], unix:path, sqlite:path, memory: or postgres://… (default: tape://localhost:7878)"
    )
  ),
  token: Config.option(Config.redacted("TAPE_TOKEN")).pipe(
    Config.map(Option.filter((token) => Redacted.value(token) !== "")),
    Config.withDescription("The bearer token for a tape behind tapes:// (default: none)")
  )
})

/**
 * The tape that `Config` names; see {@link config} and {@link layerUrl}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: LiveOptions = {}
): Layer.Layer<Client.TapeClient, ConfigError.ConfigError | Client.InvalidUrl | StoreError> =>
  Layer.unwrapEffect(
    Effect.map(config, ({ token, url }) =>
      layerUrl(url, { ...options, token: options.token ?? Option.getOrUndefined(token) })
    )
  )

/**
 * The tape that `Config` names, with all defaults: what most programs provide, once.
 *
 * @since 0.1.0
 * @category layers
 */
export const TapeLive: Layer.Layer<Client.TapeClient, ConfigError.ConfigError | Client.InvalidUrl | StoreError> =
  Layer.suspend(() => layer())

// ---- internal ----

type Tape = Layer.Layer<Client.TapeClient, Client.InvalidUrl | StoreError>

const defaultUrl = "tape://localhost:7878"
