import { type Duration, Effect, Layer, Logger } from "effect"
import * as Connectors from "../src/Connectors.js"
import { CloudTasks, PubSub } from "../src/gcp/index.js"
import { fake } from "./support/google.js"

// Google's clients look for a machine of Google's otherwise.
process.env["METADATA_SERVER_DETECTION"] = "none"

export const quiet = Logger.remove(Logger.defaultLogger)

/** Google's services, with a topic "wires", and clients of them that wait for at most so long. */
export const google = (timeout: Duration.DurationInput = "5 seconds") =>
  Effect.gen(function* () {
    const services = yield* fake
    const options = { projectId: "test", emulator: services.address, timeout }
    const topic = (name: string) => {
      const messages = services.topics.get(`projects/test/topics/${name}`) ?? []
      services.topics.set(`projects/test/topics/${name}`, messages)
      return messages
    }
    return {
      ...services,
      /** What is in a topic, which is made when it is not there. */
      topic,
      wires: topic("wires"),
      pubSub: PubSub.layer(options),
      cloudTasks: CloudTasks.layer(options),
      /** How often a method was called. */
      count: (method: string) => services.calls.get(method) ?? 0
    }
  })

export const request = new Connectors.Request({
  runId: "run-1",
  idempotencyKey: "run-1/decision-0/wire_money/0",
  tool: "wire_money",
  connector: "bank.wire",
  businessKey: "bk-1",
  semantics: "non_idempotent",
  attempt: 1,
  payload: { amount: 100 }
})

export const obligation = new Connectors.Obligation({
  runId: request.runId,
  effectKey: request.idempotencyKey,
  kind: "reverse_wire",
  attempt: 1,
  payload: { id: 7 }
})

/** The connector of a layer, with every method. */
export const connectorOf = <E, R>(layer: Layer.Layer<Connectors.Connector<"bank.wire">, E, R>) =>
  Effect.gen(function* () {
    const { compensate, dispatch, observe } = yield* Effect.provide(
      Connectors.Tag("bank.wire"),
      yield* Layer.build(layer)
    )
    return {
      dispatch,
      observe: observe ?? (() => Effect.dieMessage("it cannot observe")),
      compensate: compensate ?? (() => Effect.dieMessage("it cannot compensate"))
    }
  })
