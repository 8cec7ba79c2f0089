/** The way to Pub/Sub that connector, sink and bridge share. */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type ConfigOr, resolve } from "../../connectors/options.js"
import type { GoogleError, MissingDependency } from "../errors.js"
import { SetupFailed } from "../errors.js"
import { call, close, load, setUp } from "../load.js"
import type { GoogleOptions } from "../options.js"
import { type Message, pieces } from "./message.js"
import { Turns } from "./turns.js"

/**
 * Pub/Sub, as the connector, the sink and the bridge use it.
 *
 * @since 0.1.0
 * @category services
 */
export class PubSubClient extends Context.Tag("effect-tape/gcp/PubSub/PubSubClient")<
  PubSubClient,
  {
    /** The project of topics that are named without one. */
    readonly projectId: string
    /**
     * Publishes messages to a topic (`projects/p/topics/t`) and answers their ids, in order. Messages that share an
     * ordering key are published in the order given, and never at the same time as others of that key from here. After a
     * failure any of them may have been published; the key is free for what comes next. An interruption does not take
     * back what was sent.
     */
    readonly publish: (
      topic: string,
      messages: ReadonlyArray<Message>
    ) => Effect.Effect<ReadonlyArray<string>, GoogleError>
  }
>() {}

/**
 * Pub/Sub by Google's own client, `@google-cloud/pubsub`, which is loaded here and has to be installed. Credentials are
 * found when the layer is built, and it fails without them.
 *
 * Each publish is one call with one deadline: what the client would do beside it (waiting to batch, repeating, pausing a
 * key after a failure) would hide from its caller what became of a message. Each option may be a `Config`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: ConfigOr<GoogleOptions> = {}
): Layer.Layer<PubSubClient, ConfigError.ConfigError | MissingDependency | SetupFailed> =>
  Layer.scoped(PubSubClient, make(options))

// ---- internal ----

const name = "@google-cloud/pubsub"

/** How many ordering keys are published at once. */
const keysAtOnce = 16

const make = (
  given: ConfigOr<GoogleOptions>
): Effect.Effect<PubSubClient["Type"], ConfigError.ConfigError | MissingDependency | SetupFailed, Scope.Scope> =>
  Effect.gen(function* () {
    const options = yield* resolve<GoogleOptions>(given)
    const emulator = options.emulator ?? (yield* emulatorHost)
    const timeout = Duration.toMillis(options.timeout ?? "10 seconds")
    const google = yield* load(name, () => import("@google-cloud/pubsub"))
    const scope = yield* Effect.scope
    const { client, projectId } = yield* Effect.acquireRelease(
      setUp(name, async () => {
        const pubsub = new google.PubSub(constructorOptions(options, emulator))
        const config = await pubsub.getClientConfig()
        // Made for this, by its own documentation; the two types differ in how they write an option that is not there.
        const client = new google.v1.PublisherClient(
          config as ConstructorParameters<typeof google.v1.PublisherClient>[0]
        )
        // Done by every call otherwise, where a rejection would be nobody's.
        await client.initialize()
        return { client, projectId: pubsub.projectId }
      }),
      ({ client }) => close(() => client.close())
    )
    if (projectId === "") return yield* new SetupFailed({ package: name, detail: "no project is known: say projectId" })
    const turns = new Turns()

    const send = (topic: string, messages: ReadonlyArray<Message>) =>
      Effect.map(
        call("Publish", topic, () =>
          client.publish({ topic, messages: messages.map(toWire) }, { timeout, retry: null, isBundling: false })
        ),
        ([answer]) => answer.messageIds ?? []
      )

    const sendAll = (topic: string, key: string, messages: ReadonlyArray<Message>) => {
      const sent = Effect.map(
        Effect.forEach(pieces(messages), (piece) => send(topic, piece)),
        (ids) => ids.flat()
      )
      // In a fiber of the layer: whoever goes away, the key's turn lasts as long as the call.
      return Effect.flatMap(Effect.forkIn(key === "" ? sent : turns.within(`${topic} ${key}`, sent), scope), Fiber.join)
    }

    return {
      projectId,
      publish: (topic, messages) =>
        // Each key comes to its end, whatever becomes of the others.
        Effect.forEach(
          byKey(messages),
          ([key, places]) =>
            Effect.either(
              Effect.map(
                sendAll(
                  topic,
                  key,
                  places.map(({ message }) => message)
                ),
                (ids) => places.map(({ place }, index) => [place, ids[index] ?? ""] as const)
              )
            ),
          { concurrency: keysAtOnce }
        ).pipe(
          Effect.flatMap(Either.all),
          Effect.map((ids) =>
            ids
              .flat()
              .toSorted(([a], [b]) => a - b)
              .map(([, id]) => id)
          )
        )
    }
  })

interface Place {
  readonly place: number
  readonly message: Message
}

const byKey = (messages: ReadonlyArray<Message>): ReadonlyMap<string, ReadonlyArray<Place>> => {
  const keys = new Map<string, Array<Place>>()
  for (const [place, message] of messages.entries()) {
    const key = message.orderingKey ?? ""
    const places = keys.get(key) ?? []
    places.push({ place, message })
    keys.set(key, places)
  }
  return keys
}

const emulatorHost = Config.withDefault(Config.string("PUBSUB_EMULATOR_HOST"), "")

const constructorOptions = ({ google, projectId }: GoogleOptions, emulator: string) => ({
  ...google,
  ...(projectId === undefined ? {} : { projectId }),
  ...(emulator === ""
    ? {}
    : // The universe is asked of the credentials otherwise, and they of the network.
      { apiEndpoint: emulator, emulatorMode: true, clientOptions: { universe_domain: "googleapis.com" } })
})

const toWire = ({ attributes, data, orderingKey }: Message) => ({
  data: Buffer.from(data),
  attributes: { ...attributes },
  orderingKey: orderingKey ?? ""
})
