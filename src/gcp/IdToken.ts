/**
 * Google's ID tokens, for a tape behind `tapes://` that lets in whom Google knows (Cloud Run with IAM, an IAP).
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Client from "../Client.js"
import type { Minted } from "../client/token.js"
import * as Live from "../Live.js"
import type { MissingDependency, SetupFailed } from "./errors.js"
import { load, setUp } from "./load.js"

/**
 * Whose token, and for whom.
 *
 * @since 0.1.0
 * @category models
 */
export interface IdTokenOptions {
  /** Whom the token is for: the address of the service. */
  readonly audience: string
  /**
   * Options for the constructor of Google's `GoogleAuth` (`credentials`, `keyFilename` …). Defaults to none: Application
   * Default Credentials.
   */
  readonly google?: { readonly [option: string]: unknown } | undefined
}

/**
 * Mints an ID token each time it is run, by `google-auth-library`, which has to be installed (it is, where a client of
 * Google's is). For the `token` option of `Client.layerGrpc`, which keeps it until a minute before it expires, and lets all
 * that wait for a new one wait for the same. A token whose expiry cannot be read is kept for half an hour.
 *
 * @example
 * import { Client } from "effect-tape"
 * import { IdToken } from "effect-tape/gcp"
 *
 * export const Tape = Client.layerGrpc({
 *   url: "tapes://tape.example",
 *   token: IdToken.google({ audience: "https://tape.example" })
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const google = (options: IdTokenOptions): Effect.Effect<Minted, MissingDependency | SetupFailed> =>
  Effect.gen(function* () {
    const { GoogleAuth } = yield* library
    const text = yield* setUp(name, async () => {
      const client = await new GoogleAuth({ ...options.google }).getIdTokenClient(options.audience)
      return client.idTokenProvider.fetchIdToken(options.audience)
    })
    return { token: Redacted.make(text), renewAt: renewAtOf(text, yield* Clock.currentTimeMillis) }
  })

/**
 * Settings of a tape that is reached with ID tokens.
 *
 * @since 0.1.0
 * @category models
 */
export interface TapeOptions extends Live.LiveOptions {
  /** Whom the token is for. Defaults to `TAPE_AUDIENCE`, else `https://` and the host of the URL. */
  readonly audience?: string | undefined
  /** As for {@link google}. */
  readonly google?: IdTokenOptions["google"]
}

/**
 * `Live.layerUrl`, with an ID token of Google's where the URL is one with TLS and no `token` is given. Any other URL is
 * reached as ever, so one program runs here and there.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerUrl = (url: string, options: TapeOptions = {}): Layer.Layer<Client.TapeClient, TapeFailure> =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const { audience, google: settings, ...rest } = options
      const parsed = yield* Client.parseUrl(url)
      if (parsed._tag === "Embedded" || !parsed.tls || rest.token !== undefined) return Live.layerUrl(url, rest)
      // Before the first call: a program that cannot mint at all should not start.
      yield* library
      const configured = yield* audienceConfig
      const host = parsed.target.replace(/:\d+$/, "")
      const token = google({
        audience: audience ?? Option.getOrElse(configured, () => `https://${host}`),
        google: settings
      })
      return Live.layerUrl(url, { ...rest, token })
    })
  )

/**
 * {@link layerUrl} for the tape that `Config` names (`TAPE_URL`, `TAPE_TOKEN`): `TapeLive` for where Google guards the tape.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: TapeOptions = {}): Layer.Layer<Client.TapeClient, TapeFailure> =>
  Layer.unwrapEffect(
    Effect.map(Live.config, ({ token, url }) => layerUrl(url, { token: Option.getOrUndefined(token), ...options }))
  )

// ---- internal ----

type TapeFailure =
  | ConfigError.ConfigError
  | Layer.Layer.Error<ReturnType<typeof Live.layerUrl>>
  | MissingDependency
  | SetupFailed

const name = "google-auth-library"

const library = load(name, () => import("google-auth-library"))

const audienceConfig = Config.option(Config.nonEmptyString("TAPE_AUDIENCE")).pipe(
  Config.withDescription("Whom the ID token for a tape behind tapes:// is for (default: https:// and the tape's host)")
)

const marginMs = 60_000
const unreadableMs = 30 * 60_000

const Claims = Schema.decodeOption(Schema.parseJson(Schema.Struct({ exp: Schema.Positive })))

/** The token's own word, unchecked: who is asked to accept it checks it. */
const renewAtOf = (token: string, now: number): number =>
  Option.match(Claims(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()), {
    onNone: () => now + unreadableMs,
    onSome: ({ exp }) => exp * 1000 - marginMs
  })
