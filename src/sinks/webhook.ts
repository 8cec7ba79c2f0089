import type * as HttpClient from "@effect/platform/HttpClient"
import * as Clock from "effect/Clock"
import * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Redacted from "effect/Redacted"
import { type ConfigOr, resolve } from "../connectors/options.js"
import { clientOrFetch, isHttpUrl, poster, sayer, sendable, waitOf } from "../internal/http.js"
import { parentOf } from "../observability/tracing.js"
import { type Entry, eventIdOf, toJson } from "./entry.js"
import { Rejected, type SinkError, Undelivered } from "./errors.js"
import { unwritable } from "./log.js"
import { type Sign, signer } from "./signature.js"
import { make, type Sink } from "./sink.js"

/**
 * Options of the webhook sink.
 *
 * @since 0.1.0
 * @category models
 */
export interface WebhookOptions {
  /** Where entries are posted. `http:` or `https:`. */
  readonly url: string
  /** Sent with every post; secrets as `Redacted`, their values never appear in an error. */
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  /**
   * Signs each post by the Standard Webhooks specification: `whsec_` and a key in base64. Of several, each signs: so a
   * secret is replaced without a gap. Defaults to no signature.
   */
  readonly secret?: Redacted.Redacted | ReadonlyArray<Redacted.Redacted> | undefined
  /** Limits one post, from the connection to the end of the answer. Defaults to 10 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** How often an entry is posted before it counts as undelivered. Defaults to 3. */
  readonly maxAttempts?: number | undefined
  /** The wait before the second attempt; doubled for each further one, jittered. Defaults to 500 milliseconds. */
  readonly backOff?: Duration.DurationInput | undefined
  /**
   * The longest wait between two attempts. A receiver that asks for more (`Retry-After`) leaves the entry undelivered, and
   * the relay waits as long as it asked. Defaults to 30 seconds.
   */
  readonly maxBackOff?: Duration.DurationInput | undefined
}

/**
 * Posts each entry as JSON ({@link Entry}), one after the other.
 *
 * Headers: `X-Tape-Event-Id` (`<run_id>/<seq>`, what the receiver deduplicates on), `X-Tape-Global-Seq`, and with a
 * secret `webhook-id`, `webhook-timestamp`, `webhook-signature`; configured headers cannot overwrite them. Values that are
 * not printable ASCII are percent-encoded.
 *
 * 2xx is accepted. 5xx, 408, 429, a timeout and no answer are tried again; then {@link Undelivered}. Anything else is
 * {@link Rejected} at once: by the receiver's fault with 3xx (redirects are not followed), 401, 403, 404, 405, 407 and
 * 410, by the entry's with another 4xx. Each option may be a `Config`. Uses the `HttpClient` of its context, else `fetch`.
 *
 * @example
 * import { Sinks } from "effect-tape"
 * import { Config } from "effect"
 *
 * export const Audit = Sinks.webhook({ url: Config.string("AUDIT_URL"), secret: Config.redacted("AUDIT_SECRET") })
 *
 * @since 0.1.0
 * @category constructors
 */
export const webhook = (options: ConfigOr<WebhookOptions>): Sink<ConfigError.ConfigError> =>
  make(
    Effect.gen(function* () {
      const resolved = yield* resolve<WebhookOptions>(options)
      if (!isHttpUrl(resolved.url)) {
        return yield* Effect.fail(ConfigError.InvalidData(["url"], "the webhook's url is not an http(s) address"))
      }
      const secrets = resolved.secret === undefined ? [] : [resolved.secret].flat()
      const sign = secrets.length === 0 ? undefined : yield* signer(secrets)
      const send = sender(resolved, yield* clientOrFetch, sign)
      return (entries: ReadonlyArray<Entry>) => Effect.forEach(entries, send, { discard: true })
    }),
    { name: "webhook" }
  )

// ---- internal ----

const ours = /^(x-tape-|webhook-|content-(type|length)$)/i

const sender = (options: WebhookOptions, client: HttpClient.HttpClient, sign: Sign | undefined) => {
  const headers = Object.entries(options.headers ?? {}).filter(([name]) => !ours.test(name))
  const refusal = sayer(headers)
  const send = poster(client, headers, options.timeout ?? "10 seconds")
  const attempts = Math.max(1, options.maxAttempts ?? 3)
  const first = Duration.toMillis(options.backOff ?? "500 millis")
  const longest = Duration.toMillis(options.maxBackOff ?? "30 seconds")

  const post = Effect.fnUntraced(function* (entry: Entry, body: string) {
    const id = sendable(eventIdOf(entry))
    const seconds = Math.floor((yield* Clock.currentTimeMillis) / 1_000)
    const signature: { readonly [name: string]: string } =
      sign === undefined
        ? {}
        : {
            "webhook-id": id,
            "webhook-timestamp": String(seconds),
            "webhook-signature": sign(id, seconds, body)
          }
    const own = { "x-tape-event-id": id, "x-tape-global-seq": String(entry.globalSeq), ...signature }
    return yield* send(options.url, own, body)
  })

  const attempt = Effect.fnUntraced(function* (entry: Entry, body: string): Effect.fn.Return<void, SinkError> {
    const about = { sink: "webhook", eventId: eventIdOf(entry) }
    const answer = yield* Effect.mapError(
      inItsTrace(entry, post(entry, body)),
      (detail) => new Undelivered({ ...about, detail })
    )
    const { status } = answer
    if (status >= 200 && status < 300) return
    const detail = refusal(answer)
    if (status >= 500 || status === 408 || status === 429) {
      const retryAfter = waitOf(answer.retryAfter, yield* Clock.currentTimeMillis)
      return yield* new Undelivered({ ...about, detail, status, retryAfter })
    }
    const isEntrys = status >= 400 && !receivers.has(status)
    return yield* new Rejected({ ...about, detail, status, fault: isEntrys ? "entry" : "receiver" })
  })

  const again = (entry: Entry, body: string, made: number): Effect.Effect<void, SinkError> =>
    Effect.catchTag(attempt(entry, body), "Undelivered", (error) => {
      const asked = error.retryAfter === undefined ? 0 : Duration.toMillis(error.retryAfter)
      if (made >= attempts || asked > longest) return Effect.fail(error)
      return Random.nextRange(0.8, 1.2).pipe(
        Effect.map((jitter) => Math.max(asked, Math.min(longest, jitter * first * 2 ** (made - 1)))),
        Effect.flatMap(Effect.sleep),
        Effect.zipRight(again(entry, body, made + 1))
      )
    })

  return (entry: Entry): Effect.Effect<void, SinkError> =>
    Option.match(toJson(entry), {
      onNone: () => Effect.fail(unwritable("webhook", entry)),
      onSome: (body) => again(entry, body, 1)
    })
}

/** The receiver gets the trace context that the entry was written in. */
const inItsTrace = <A, E>(entry: Entry, post: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  const parent = parentOf(entry.traceId, entry.spanId)
  return parent === undefined ? post : Effect.withParentSpan(post, parent)
}

/** Statuses that say nothing about the entry. */
const receivers: ReadonlySet<number> = new Set([401, 403, 404, 405, 407, 410])
