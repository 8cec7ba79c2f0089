/** The way to Cloud Tasks. */
import * as Grpc from "@grpc/grpc-js"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type ConfigOr, resolve } from "../../connectors/options.js"
import type { GoogleError, MissingDependency, SetupFailed } from "../errors.js"
import { call, close, load, setUp } from "../load.js"
import type { GoogleOptions } from "../options.js"

/**
 * A task: an HTTP request that Cloud Tasks makes, and repeats until it is answered by a 2xx.
 *
 * @since 0.1.0
 * @category models
 */
export interface HttpTask {
  /** `projects/p/locations/l/queues/q/tasks/t`. */
  readonly name: string
  readonly url: string
  readonly headers: { readonly [name: string]: string }
  readonly body: string
  /** The token that Cloud Tasks sends along: as whom, and for whom. Defaults to none. */
  readonly token?: TaskToken | undefined
  /** How long one request may take. Defaults to Google's own, 10 minutes. */
  readonly dispatchDeadline?: Duration.DurationInput | undefined
}

/**
 * Which token a task's request carries: an ID token for an audience, or an access token for a scope.
 *
 * @since 0.1.0
 * @category models
 */
export type TaskToken =
  | { readonly _tag: "oidc"; readonly serviceAccount: string; readonly audience: string }
  | { readonly _tag: "oauth"; readonly serviceAccount: string; readonly scope: string }

/**
 * Cloud Tasks, as the connector uses it.
 *
 * @since 0.1.0
 * @category services
 */
export class CloudTasksClient extends Context.Tag("effect-tape/gcp/CloudTasks/CloudTasksClient")<
  CloudTasksClient,
  {
    /** The project of queues. */
    readonly projectId: string
    /** Puts a task into its queue. `ALREADY_EXISTS`: it is there, or was a short while ago. */
    readonly create: (task: HttpTask) => Effect.Effect<void, GoogleError>
    /** How often a task that is still in its queue was tried. `NOT_FOUND`: it has left it, or never was there. */
    readonly tries: (name: string) => Effect.Effect<number, GoogleError>
    /** Takes a task out of its queue. */
    readonly remove: (name: string) => Effect.Effect<void, GoogleError>
  }
>() {}

/**
 * Cloud Tasks by Google's own client, `@google-cloud/tasks`, which is loaded here and has to be installed. Credentials are
 * found when the layer is built, and it fails without them. Each call has one deadline, and is not repeated. Each option
 * may be a `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: ConfigOr<GoogleOptions> = {}
): Layer.Layer<CloudTasksClient, ConfigError.ConfigError | MissingDependency | SetupFailed> =>
  Layer.scoped(CloudTasksClient, make(options))

// ---- internal ----

const name = "@google-cloud/tasks"

const make = (
  given: ConfigOr<GoogleOptions>
): Effect.Effect<CloudTasksClient["Type"], ConfigError.ConfigError | MissingDependency | SetupFailed, Scope.Scope> =>
  Effect.gen(function* () {
    const options = yield* resolve<GoogleOptions>(given)
    const google = yield* load(name, () => import("@google-cloud/tasks"))
    const { client, projectId } = yield* Effect.acquireRelease(
      setUp(name, async () => {
        // Its types ask for the options of a class of another package.
        type Options = ConstructorParameters<typeof google.CloudTasksClient>[0]
        const client = new google.CloudTasksClient(constructorOptions(options) as Options)
        const projectId = options.projectId ?? (await client.getProjectId())
        // Done by every call otherwise, where a rejection would be nobody's.
        await client.initialize()
        return { client, projectId }
      }),
      ({ client }) => close(() => client.close())
    )
    const limits = { timeout: Duration.toMillis(options.timeout ?? "10 seconds"), retry: null }
    return {
      projectId,
      create: (task) =>
        Effect.asVoid(
          call("CreateTask", task.name, () =>
            client.createTask({ parent: task.name.replace(/\/tasks\/[^/]*$/, ""), task: toWire(task) }, { ...limits })
          )
        ),
      tries: (name) =>
        Effect.map(
          call("GetTask", name, () => client.getTask({ name }, { ...limits })),
          ([task]) => task.dispatchCount ?? 0
        ),
      remove: (name) => Effect.asVoid(call("DeleteTask", name, () => client.deleteTask({ name }, { ...limits })))
    }
  })

const constructorOptions = ({ emulator, google, projectId }: GoogleOptions) => {
  const [, host, port] = /^(.*):(\d+)$/.exec(emulator ?? "") ?? []
  return {
    ...google,
    ...(projectId === undefined ? {} : { projectId }),
    ...(emulator === undefined
      ? {}
      : {
          apiEndpoint: host ?? emulator,
          ...(port === undefined ? {} : { port: Number(port) }),
          // Both of one copy of gRPC: it knows its own credentials only.
          grpc: Grpc,
          sslCreds: Grpc.credentials.createInsecure(),
          // The universe is asked of the credentials otherwise, and they of the network.
          clientOptions: { universe_domain: "googleapis.com" }
        })
  }
}

const toWire = ({ body, dispatchDeadline, headers, name, token, url }: HttpTask) => ({
  name,
  httpRequest: {
    httpMethod: "POST" as const,
    url,
    headers: { ...headers },
    body: Buffer.from(body),
    ...(token === undefined
      ? {}
      : token._tag === "oidc"
        ? { oidcToken: { serviceAccountEmail: token.serviceAccount, audience: token.audience } }
        : { oauthToken: { serviceAccountEmail: token.serviceAccount, scope: token.scope } })
  },
  ...(dispatchDeadline === undefined ? {} : { dispatchDeadline: durationOf(dispatchDeadline) })
})

const durationOf = (duration: Duration.DurationInput) => {
  const millis = Duration.toMillis(duration)
  return { seconds: Math.floor(millis / 1000), nanos: Math.round(millis % 1000) * 1_000_000 }
}
