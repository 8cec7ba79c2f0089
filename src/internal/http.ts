/** What every HTTP caller of this package shares. */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"

/** The client of the context, else `fetch`. */
export const clientOrFetch: Effect.Effect<HttpClient.HttpClient> = Effect.flatMap(
  Effect.serviceOption(HttpClient.HttpClient),
  // Plain fetch needs no resource: its layer can be built and left.
  (given) =>
    Option.isSome(given) ? Effect.succeed(given.value) : Effect.provide(HttpClient.HttpClient, FetchHttpClient.layer)
)

export const isHttpUrl = (url: string): boolean => /^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : "")

/** Header values carry no text beyond ASCII: without this a key in another script could never be sent. */
export const sendable = (value: string): string =>
  /^[\x20-\x7e]*$/.test(value) ? value : encodeURIComponent(value.toWellFormed())

export const plain = (value: string | Redacted.Redacted): string =>
  Redacted.isRedacted(value) ? Redacted.value(value) : value

type Configured = ReadonlyArray<readonly [name: string, value: string | Redacted.Redacted]>

export interface Answer {
  readonly status: number
  readonly text: string
  readonly retryAfter: string | undefined
}

/** Posts JSON with the configured headers, then those of the call, and reads the whole answer within the time given. */
export const poster =
  (client: HttpClient.HttpClient, configured: Configured, timeout: Duration.DurationInput) =>
  (url: string, own: { readonly [name: string]: string }, body: string): Effect.Effect<Answer, string> =>
    HttpClientRequest.post(url).pipe(
      HttpClientRequest.setHeaders(configured.map(([name, value]) => [name, plain(value)] as const)),
      HttpClientRequest.setHeaders(own),
      HttpClientRequest.setBody(HttpBody.text(body, "application/json")),
      client.execute,
      Effect.flatMap((response) =>
        Effect.map(
          response.text,
          (text): Answer => ({ status: response.status, text, retryAfter: response.headers["retry-after"] })
        )
      ),
      // fetch would repeat a POST at the new address of a 307: it is sent where it was meant to go, once.
      Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" }),
      Effect.timeoutFail({ duration: timeout, onTimeout: () => "no answer in time" }),
      Effect.mapError((error) => (typeof error === "string" ? error : `no answer (${error.reason})`)),
      // A header that cannot be sent makes the client throw: nothing was sent, but it is an answer like any other.
      Effect.catchAllDefect(() => Effect.fail("the request could not be sent"))
    )

/** Answers of a counterparty are kept up to this many characters in an error. */
const excerpt = 500

/** What an answer says, for an error, without the secrets among the headers. */
export const sayer = (configured: Configured) => {
  const secrets = configured.flatMap(([, value]) => (Redacted.isRedacted(value) ? [Redacted.value(value)] : []))
  return ({ status, text }: Answer): string => {
    const said = secrets
      .reduce((text, secret) => (secret === "" ? text : text.replaceAll(secret, "<redacted>")), text.trim())
      .slice(0, excerpt)
    return `http ${status}${said === "" ? "" : `: ${said}`}`
  }
}

/** `Retry-After` is a number of seconds or an HTTP date. */
export const waitOf = (header: string | undefined, now: number): Duration.Duration | undefined => {
  if (header === undefined) return undefined
  if (/^\s*\d+\s*$/.test(header)) return Duration.seconds(Number(header))
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Duration.millis(Math.max(0, date - now))
}
