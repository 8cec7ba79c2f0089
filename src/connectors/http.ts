import type * as HttpClient from "@effect/platform/HttpClient"
import * as Clock from "effect/Clock"
import * as ConfigError from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { type Answer, clientOrFetch, isHttpUrl, poster, sayer, sendable, waitOf } from "../internal/http.js"
import { type ConfigOr, resolve } from "./options.js"
import type { Compensated, Dispatched, Observed, Protocol, Request } from "./protocol.js"

/**
 * Options of the HTTP connector.
 *
 * @since 0.1.0
 * @category models
 */
export interface HttpOptions {
  /** Where effects are posted. `http:` or `https:`. */
  readonly url: string
  /** Where to ask what became of an effect. Without it every observation is unknown. */
  readonly observeUrl?: string | undefined
  /** Where compensations are posted. Without it every compensation is stuck. */
  readonly compensateUrl?: string | undefined
  /** Sent with every call; secrets as `Redacted`, their values never appear in an error. */
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  /** Limits one call. Defaults to 30 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Statuses that are a final failure. Defaults to 400, 401, 403, 404, 405, 409, 410, 422. */
  readonly finalStatuses?: ReadonlyArray<number> | undefined
  /** The field of the answer that holds the counterparty's own reference. Defaults to `external_ref`. */
  readonly externalRef?: string | undefined
  /**
   * Whether `count: 0` proves that the effect did not happen: the search reads what the posts wrote, with no delay.
   * Defaults to `true`; say `false` when the search lags behind.
   */
  readonly absenceIsConclusive?: boolean | undefined
}

export const reserved: ReadonlySet<string> = new Set([
  "x-tape-idempotency-key",
  "x-tape-run-id",
  "x-tape-business-key",
  "x-tape-attempt"
])

const defaultFinal: ReadonlyArray<number> = [400, 401, 403, 404, 405, 409, 410, 422]

export const make = Effect.fnUntraced(function* (given: ConfigOr<HttpOptions>) {
  const options = yield* resolve<HttpOptions>(given)
  for (const key of ["url", "observeUrl", "compensateUrl"] as const) yield* checkUrl(key, options[key])
  return protocol(options, yield* clientOrFetch)
})

const checkUrl = (key: string, url: string | undefined) => {
  if (url === undefined || isHttpUrl(url)) return Effect.void
  return Effect.fail(ConfigError.InvalidData([key], `the connector's ${key} is not an http(s) address`))
}

const protocol = (options: HttpOptions, client: HttpClient.HttpClient): Protocol => {
  const final = options.finalStatuses ?? defaultFinal
  const headers = Object.entries(options.headers ?? {}).filter(([name]) => !reserved.has(name.toLowerCase()))
  const refusal = sayer(headers)
  const send = poster(client, headers, options.timeout ?? "30 seconds")
  const post = (url: string, own: Headers, body: unknown) => send(url, own, JSON.stringify(body) ?? "null")

  const dispatched = Effect.fnUntraced(function* (answer: Answer) {
    if (answer.status >= 200 && answer.status < 300) {
      const response = parsed(answer.text)
      return { _tag: "confirmed", response, externalRef: field(response, options.externalRef) } satisfies Dispatched
    }
    const error = refusal(answer)
    if (final.includes(answer.status)) return { _tag: "failed", error, final: true } satisfies Dispatched
    if (answer.status < 400 || answer.status >= 500) return { _tag: "unknown", error } satisfies Dispatched
    const now = yield* Clock.currentTimeMillis
    return { _tag: "failed", error, final: false, retryAfter: waitOf(answer.retryAfter, now) } satisfies Dispatched
  })

  const observed = (answer: Answer): Observed => {
    const said = answer.status === 200 ? decodeCount(answer.text) : Option.none()
    if (Option.isNone(said)) return { _tag: "unknown", error: `no usable answer: ${refusal(answer)}` }
    const { count, response } = said.value
    if (count === 0) return { _tag: "absent", conclusive: options.absenceIsConclusive ?? true }
    const externalRef = said.value.external_ref ?? field(response, options.externalRef)
    return { _tag: count === 1 ? "confirmed" : "duplicate", response, externalRef }
  }

  const compensated = (answer: Answer): Compensated => {
    if (answer.status >= 200 && answer.status < 300) return { _tag: "compensated", response: parsed(answer.text) }
    const error = refusal(answer)
    return answer.status >= 400 && answer.status < 500 ? { _tag: "failed", error } : { _tag: "pending", error }
  }

  return {
    dispatch: (request) =>
      Effect.matchEffect(post(options.url, headersOf(request), request.payload), {
        onFailure: (error) => Effect.succeed<Dispatched>({ _tag: "unknown", error }),
        onSuccess: (answer): Effect.Effect<Dispatched> => dispatched(answer)
      }),
    observe: (request) => {
      if (options.observeUrl === undefined) {
        return Effect.succeed<Observed>({ _tag: "unknown", error: "the connector has no observeUrl" })
      }
      const body = {
        idempotency_key: request.idempotencyKey,
        business_key: request.businessKey,
        payload: request.payload
      }
      return Effect.match(post(options.observeUrl, headersOf(request), body), {
        onFailure: (error): Observed => ({ _tag: "unknown", error }),
        onSuccess: observed
      })
    },
    compensate: (obligation) => {
      if (options.compensateUrl === undefined) {
        return Effect.succeed<Compensated>({ _tag: "stuck", error: "the connector has no compensateUrl" })
      }
      const own = tapeHeaders(obligation.effectKey, obligation.runId, "", obligation.attempt)
      return Effect.match(post(options.compensateUrl, own, obligation.payload), {
        onFailure: (error): Compensated => ({ _tag: "pending", error }),
        onSuccess: compensated
      })
    }
  }
}

type Headers = { readonly [name: string]: string }

const headersOf = (request: Request): Headers =>
  tapeHeaders(request.idempotencyKey, request.runId, request.businessKey, request.attempt)

export const tapeHeaders = (idempotencyKey: string, runId: string, businessKey: string, attempt: number): Headers => ({
  "x-tape-idempotency-key": sendable(idempotencyKey),
  ...(runId === "" ? {} : { "x-tape-run-id": sendable(runId) }),
  ...(businessKey === "" ? {} : { "x-tape-business-key": sendable(businessKey) }),
  ...(attempt > 0 ? { "x-tape-attempt": String(attempt) } : {})
})

const decodeJson = Schema.decodeEither(Schema.parseJson())

const parsed = (text: string): unknown => (text === "" ? undefined : Either.getOrElse(decodeJson(text), () => text))

const Count = Schema.Struct({
  count: Schema.NonNegativeInt,
  response: Schema.optional(Schema.Unknown),
  external_ref: Schema.optional(Schema.NullOr(Schema.String))
})

const decodeCount = Schema.decodeOption(Schema.parseJson(Count))

const field = (body: unknown, name = "external_ref"): string | undefined => {
  if (typeof body !== "object" || body === null || !Object.hasOwn(body, name)) return undefined
  const value: unknown = Reflect.get(body, name)
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined
}
