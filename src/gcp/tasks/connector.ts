/** Effects as tasks of a queue. */
import { createHash } from "node:crypto"
import * as ConfigError from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Connectors from "../../Connectors.js"
import * as Http from "../../connectors/http.js"
import { resolve } from "../../connectors/options.js"
import { isHttpUrl, plain } from "../../internal/http.js"
import { jsonOf, type Observe, refused } from "../options.js"
import { CloudTasksClient, type HttpTask, type TaskToken } from "./client.js"

/**
 * Options of the Cloud Tasks connector.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectorOptions {
  /** Where the queue is: `europe-west1`. */
  readonly location: string
  readonly queue: string
  /** What a task posts to. `http:` or `https:`. */
  readonly url: string
  /**
   * When an effect counts as done. `executed`: when `observeUrl` or `observe` says so; until then it is accepted, and
   * observed again with growing waits. `enqueued`: the queue has the task; its request may be hours away, or fail for
   * good. Defaults to `executed`.
   */
  readonly doneWhen?: "executed" | "enqueued" | undefined
  /** Where to ask what became of an effect, as for `Connectors.http`. */
  readonly observeUrl?: string | undefined
  /** Where compensations are posted, as for `Connectors.http`, of tasks that have left the queue or were tried. */
  readonly compensateUrl?: string | undefined
  /** Sent with a task's request, and with ours; whoever may read the queue reads them there. */
  readonly headers?: { readonly [name: string]: string | Redacted.Redacted } | undefined
  /** The service account as which a task's request is made. Defaults to none: no token. */
  readonly serviceAccount?: string | undefined
  /** `oidc`: an ID token, for Cloud Run and one's own services. `oauth`: for Google's APIs. Defaults to `oidc`. */
  readonly tokenKind?: "oidc" | "oauth" | undefined
  /** Whom an ID token is for. Defaults to the url. */
  readonly audience?: string | undefined
  /** What an access token is for. Defaults to `https://www.googleapis.com/auth/cloud-platform`. */
  readonly scope?: string | undefined
  /** How long one request of a task may take, 15 seconds to 30 minutes. Defaults to Google's own, 10 minutes. */
  readonly dispatchDeadline?: Duration.DurationInput | undefined
}

/**
 * A counterparty behind a queue: one task for each effect, which posts the payload as JSON, with the headers of
 * `Connectors.http` but for the attempt.
 *
 * The task's name is the SHA-256 of the idempotency key, so an effect that is dispatched again finds its task there. Google
 * remembers a name for an hour or more after the task has gone, not for ever.
 *
 * - dispatch: created, or there already (by its code), is pending; with `doneWhen: "enqueued"` confirmed, with
 *   `deduped: true` where it was there. Refusals are as with `PubSub.connector`; no answer is unknown.
 * - observe: asks `observe` or `observeUrl`. An absence counts only while no task waits in the queue. With `enqueued` and
 *   neither, a task that is in the queue is confirmed; one that is not has left it or never was there: unknown.
 * - compensate: a task that was never tried is deleted, and that is all. What was tried, or has left the queue, is posted to
 *   `compensateUrl`; without it, stuck.
 *
 * @example
 * import { CloudTasks } from "effect-tape/gcp"
 * import { Layer } from "effect"
 *
 * export const Mailer = CloudTasks.connector("mailer", {
 *   location: "europe-west1",
 *   queue: "mail",
 *   url: "https://mailer.example/send",
 *   observeUrl: "https://mailer.example/search",
 *   serviceAccount: "agent@bank.iam.gserviceaccount.com"
 * }).pipe(Layer.provide(CloudTasks.layer()))
 *
 * @since 0.1.0
 * @category layers
 */
export const connector = <const Name extends string, R = never>(
  name: Name & Connectors.Literal<Name>,
  options: Connectors.ConfigOr<ConnectorOptions> & { readonly observe?: Observe<R> | undefined }
): Layer.Layer<Connectors.Connector<Name>, ConfigError.ConfigError, CloudTasksClient | R> =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const { observe, ...rest } = options
      const client = yield* CloudTasksClient
      const resolved = yield* resolve<ConnectorOptions>(rest)
      const problem = problemOf(resolved, observe !== undefined)
      if (problem !== undefined) return yield* Effect.fail(ConfigError.InvalidData([...problem.path], problem.wanted))
      const { compensateUrl, headers, observeUrl, url } = resolved
      const http = yield* Http.make({ url, observeUrl, compensateUrl, headers })
      return Connectors.make<Name, R>(
        name,
        protocol(client, resolved, observe ?? (observeUrl === undefined ? undefined : http.observe), http)
      )
    })
  )

// ---- internal ----

const problemOf = (options: ConnectorOptions, hasObserve: boolean) => {
  const { doneWhen = "executed", location, observeUrl, queue, url } = options
  if (!isHttpUrl(url)) return { path: ["url"], wanted: "the tasks' url is not an http(s) address" }
  if (!segment.test(location)) return { path: ["location"], wanted: "a location is letters, digits and -" }
  if (!segment.test(queue)) return { path: ["queue"], wanted: "a queue's name is letters, digits and -" }
  if (doneWhen === "enqueued" || hasObserve || observeUrl !== undefined) return undefined
  const wanted = 'nothing tells when a task was executed: give observeUrl or observe, or say doneWhen: "enqueued"'
  return { path: ["doneWhen"], wanted }
}

const segment = /^[A-Za-z0-9-]{1,100}$/

const protocol = <R>(
  client: CloudTasksClient["Type"],
  options: ConnectorOptions,
  ask: Observe<R> | undefined,
  http: Connectors.Protocol
): Connectors.Protocol<R> => {
  const { doneWhen = "executed", location, queue } = options
  const queueName = `projects/${client.projectId}/locations/${location}/queues/${queue}`
  const taskName = (key: string) => `${queueName}/tasks/${createHash("sha256").update(key).digest("hex")}`

  const accepted = (name: string, deduped: boolean): Connectors.Dispatched =>
    doneWhen === "executed"
      ? { _tag: "pending", externalRef: name }
      : { _tag: "confirmed", externalRef: name, response: { task: name, ...(deduped ? { deduped } : {}) } }

  /** Whether the task is in its queue, and how often it was tried; nothing when that cannot be told. */
  const inQueue = (name: string) =>
    Effect.match(client.tries(name), {
      onFailure: (error) => (error.code === "NOT_FOUND" ? gone : { _tag: "unclear" as const, error: error.message }),
      onSuccess: (tries) => ({ _tag: "there" as const, tries })
    })

  const observed = Effect.fnUntraced(function* (request: Connectors.Request, ask: Observe<R>) {
    const first = yield* ask(request)
    if (first._tag !== "absent") return first
    const place = yield* inQueue(taskName(request.idempotencyKey))
    if (place._tag === "there") return cannotTell(`it is in the queue, after ${place.tries} tries`)
    if (place._tag === "unclear") return cannotTell(`absent, but ${place.error}`)
    // It may have been executed, and have left the queue, between the two questions.
    return yield* ask(request)
  })

  const compensated = Effect.fnUntraced(function* (obligation: Connectors.Obligation) {
    const name = taskName(obligation.effectKey)
    const place = yield* inQueue(name)
    if (place._tag === "unclear") return { _tag: "pending", error: place.error } satisfies Connectors.Compensated
    if (place._tag === "there") {
      const removed = yield* Effect.either(client.remove(name))
      if (removed._tag === "Left")
        return { _tag: "pending", error: removed.left.message } satisfies Connectors.Compensated
      if (place.tries === 0) {
        return { _tag: "compensated", response: { deleted: name } } satisfies Connectors.Compensated
      }
    }
    if (options.compensateUrl !== undefined && http.compensate !== undefined) return yield* http.compensate(obligation)
    const error = `the task ${place._tag === "there" ? "was tried" : "has left its queue"}, and there is no compensateUrl`
    return { _tag: "stuck", error } satisfies Connectors.Compensated
  })

  return {
    dispatch: (request) => {
      const name = taskName(request.idempotencyKey)
      return Effect.match(client.create(taskOf(options, name, request)), {
        onFailure: (error) => (error.code === "ALREADY_EXISTS" ? accepted(name, true) : refused(error)),
        onSuccess: () => accepted(name, false)
      })
    },
    observe: (request): Effect.Effect<Connectors.Observed, unknown, R> =>
      ask !== undefined
        ? observed(request, ask)
        : Effect.map(inQueue(taskName(request.idempotencyKey)), (place): Connectors.Observed => {
            if (place._tag === "unclear") return cannotTell(place.error)
            return place._tag === "there"
              ? { _tag: "confirmed", externalRef: taskName(request.idempotencyKey) }
              : cannotTell("no such task is in the queue: it has left it, or never was there")
          }),
    compensate: (obligation): Effect.Effect<Connectors.Compensated, unknown> => compensated(obligation)
  }
}

const gone = { _tag: "gone" as const }

const cannotTell = (error: string): Connectors.Observed => ({ _tag: "unknown", error })

const taskOf = (options: ConnectorOptions, name: string, request: Connectors.Request): HttpTask => {
  const own = Object.entries(options.headers ?? {}).filter(([header]) => !Http.reserved.has(header.toLowerCase()))
  return {
    name,
    url: options.url,
    headers: {
      "content-type": "application/json",
      ...Object.fromEntries(own.map(([header, value]) => [header, plain(value)])),
      // The attempts of a task are Cloud Tasks' own, and it says which with a header of its own.
      ...Http.tapeHeaders(request.idempotencyKey, request.runId, request.businessKey, 0)
    },
    body: jsonOf(request.payload),
    token: tokenOf(options),
    dispatchDeadline: options.dispatchDeadline
  }
}

const tokenOf = ({ audience, scope, serviceAccount, tokenKind, url }: ConnectorOptions): TaskToken | undefined => {
  if (serviceAccount === undefined) return undefined
  return tokenKind === "oauth"
    ? { _tag: "oauth", serviceAccount, scope: scope ?? "https://www.googleapis.com/auth/cloud-platform" }
    : { _tag: "oidc", serviceAccount, audience: audience ?? url }
}
