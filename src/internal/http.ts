/** What every HTTP caller of this package shares. */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
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

/** Takes the secrets among the headers out of a text. */
export const scrubber = (headers: ReadonlyArray<readonly [string, string | Redacted.Redacted]>) => {
  const secrets = headers.flatMap(([, value]) => (Redacted.isRedacted(value) ? [Redacted.value(value)] : []))
  return (text: string): string =>
    secrets.reduce((text, secret) => (secret === "" ? text : text.replaceAll(secret, "<redacted>")), text)
}

/** `Retry-After` is a number of seconds or an HTTP date. */
export const waitOf = (header: string | undefined, now: number): Duration.Duration | undefined => {
  if (header === undefined) return undefined
  if (/^\s*\d+\s*$/.test(header)) return Duration.seconds(Number(header))
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Duration.millis(Math.max(0, date - now))
}
