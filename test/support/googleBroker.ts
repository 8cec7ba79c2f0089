/** One Pub/Sub for tests, twice: the fake, and Google's own emulator. Read by a subscriber with message ordering. */
import * as Google from "@google-cloud/pubsub"
import { Cause, Context, Effect, Layer, type Scope } from "effect"
import { PubSub } from "../../src/gcp/index.js"
import { fake, type Message } from "./google.js"
import { emulator } from "./googleEmulator.js"

export class Broker extends Context.Tag("test/Broker")<
  Broker,
  {
    /** Makes a topic of the project "test". */
    readonly topic: (name: string) => Effect.Effect<void>
    /** What came to a topic, as soon as it is as many, in the order of its subscription. */
    readonly received: (name: string, count: number) => Effect.Effect<ReadonlyArray<Omit<Message, "id">>>
  }
>() {}

const project = "test"

const client = (address: string) => PubSub.layer({ projectId: project, emulator: address })

const faked: Effect.Effect<readonly [string, Broker["Type"]], never, Scope.Scope> = Effect.map(fake, (fake) => [
  fake.address,
  {
    topic: (name) => Effect.sync(() => void fake.topics.set(`projects/${project}/topics/${name}`, [])),
    received: (name) =>
      Effect.sync(() =>
        (fake.topics.get(`projects/${project}/topics/${name}`) ?? []).map(({ id: _, ...message }) => message)
      )
  }
])

const emulated: Effect.Effect<readonly [string, Broker["Type"]], never, Scope.Scope> = Effect.gen(function* () {
  const address = yield* emulator
  const google = new Google.PubSub({ projectId: project, apiEndpoint: address, emulatorMode: true })
  const config = yield* Effect.promise(() => google.getClientConfig())
  type Options = ConstructorParameters<typeof Google.v1.SubscriberClient>[0]
  const subscriber = new Google.v1.SubscriberClient(config as Options)
  yield* Effect.addFinalizer(() => Effect.promise(() => Promise.all([subscriber.close(), google.close()])))

  const pull = (name: string) =>
    Effect.promise(async () => {
      const subscription = subscriber.subscriptionPath(project, name)
      const [{ receivedMessages }] = await subscriber.pull({ subscription, maxMessages: 1000 })
      const received = receivedMessages ?? []
      const ackIds = received.flatMap(({ ackId }) => ackId ?? [])
      if (ackIds.length > 0) await subscriber.acknowledge({ subscription, ackIds })
      return received.map(({ message }) => ({
        data: Buffer.from(message?.data ?? "").toString(),
        attributes: message?.attributes ?? {},
        orderingKey: message?.orderingKey ?? ""
      }))
    })

  const broker: Broker["Type"] = {
    topic: (name) =>
      Effect.promise(async () => {
        const [topic] = await google.createTopic(name)
        await topic.createSubscription(name, { enableMessageOrdering: true })
      }),
    received: (name, count) =>
      Effect.gen(function* () {
        const received: Array<Omit<Message, "id">> = []
        while (received.length < count) received.push(...(yield* pull(name)))
        return received
      }).pipe(
        Effect.timeoutFailCause({ duration: "10 seconds", onTimeout: () => Cause.die(`not ${count} in ${name}`) })
      )
  }
  return [address, broker] as const
})

const layerOf = (open: Effect.Effect<readonly [string, Broker["Type"]], never, Scope.Scope>) =>
  Layer.unwrapScoped(
    Effect.map(open, ([address, broker]) => Layer.merge(client(address), Layer.succeed(Broker, broker)))
  )

export const layerFake = layerOf(faked)
export const layerEmulator = layerOf(emulated)
