/** Effects as messages. */
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Connectors from "../../Connectors.js"
import { resolve } from "../../connectors/options.js"
import { jsonOf, type Observe, refused } from "../options.js"
import { PubSubClient } from "./client.js"
import { attributesOf, ifShort, type Message, orderingKeyOf } from "./message.js"
import { topicOption } from "./topic.js"

/**
 * Options of the Pub/Sub connector.
 *
 * @since 0.1.0
 * @category models
 */
export interface ConnectorOptions {
  /** Where effects are published: `projects/p/topics/t`, or the name of a topic in the client's project. */
  readonly topic: string
  /** Where compensations are published. Without it every compensation is stuck. */
  readonly compensateTopic?: string | undefined
  /**
   * When an effect counts as done. `published`: Pub/Sub has the message; nobody need have acted on it. `observed`: when
   * `observe` says so; until then it is accepted, and observed again with growing waits. Defaults to `published`.
   */
  readonly doneWhen?: "published" | "observed" | undefined
}

/**
 * A counterparty that listens to a topic: one message for each effect.
 *
 * The body is the payload as JSON; the run's id is the ordering key; attributes, without those that are empty:
 * `tape_idempotency_key` (what a subscriber deduplicates on), `tape_run_id`, `tape_business_key`, `tape_tool`,
 * `tape_attempt`, `tape_connector`, `tape_semantics`.
 *
 * - dispatch: acknowledged is confirmed with `message_id`, which means **published, not done** (see `doneWhen`). A refusal
 *   is a failure, a final one but for `RESOURCE_EXHAUSTED` and `UNAUTHENTICATED`; anything else, and no answer, is
 *   unknown: the message may be there.
 * - observe: Pub/Sub cannot be asked for a message. Unknown, unless `observe` is given.
 * - compensate: publishes the obligation's payload to `compensateTopic`, with `tape_obligation_kind`, `tape_effect_key` and
 *   `tape_run_id`.
 *
 * @example
 * import { PubSub } from "effect-tape/gcp"
 * import { Layer } from "effect"
 *
 * export const Ledger = PubSub.connector("ledger", { topic: "bookings", compensateTopic: "cancellations" }).pipe(
 *   Layer.provide(PubSub.layer())
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const connector = <const Name extends string, R = never>(
  name: Name & Connectors.Literal<Name>,
  options: Connectors.ConfigOr<ConnectorOptions> & { readonly observe?: Observe<R> | undefined }
): Layer.Layer<Connectors.Connector<Name>, ConfigError.ConfigError, PubSubClient | R> =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const { observe, ...rest } = options
      const client = yield* PubSubClient
      const { compensateTopic, doneWhen = "published", topic } = yield* resolve<ConnectorOptions>(rest)
      if (doneWhen === "observed" && observe === undefined) {
        const wanted = 'nothing tells when a message was acted on: give observe, or say doneWhen: "published"'
        return yield* Effect.fail(ConfigError.InvalidData(["doneWhen"], wanted))
      }
      return Connectors.make<Name, R>(name, {
        dispatch: dispatching(client, yield* topicOption("topic", client.projectId, topic), doneWhen),
        observe: observe ?? (() => Effect.succeed<Connectors.Observed>({ _tag: "unknown", error: blind })),
        compensate:
          compensateTopic === undefined
            ? () => Effect.succeed<Connectors.Compensated>({ _tag: "stuck", error: noTopic })
            : compensating(client, yield* topicOption("compensateTopic", client.projectId, compensateTopic))
      })
    })
  )

// ---- internal ----

const blind = "Pub/Sub cannot be asked for a message: give the connector an observe of your own"
const noTopic = "the connector has no compensateTopic"

const dispatching =
  (client: PubSubClient["Type"], topic: string, doneWhen: "published" | "observed") => (request: Connectors.Request) =>
    Effect.match(client.publish(topic, [messageOf(request)]), {
      onFailure: refused,
      onSuccess: ([id = ""]): Connectors.Dispatched =>
        doneWhen === "observed"
          ? { _tag: "pending", externalRef: id }
          : { _tag: "confirmed", externalRef: id, response: { message_id: id } }
    })

const compensating =
  (client: PubSubClient["Type"], topic: string) =>
  ({ effectKey, kind, payload, runId }: Connectors.Obligation) =>
    Effect.match(
      client.publish(topic, [
        {
          data: jsonOf(payload),
          orderingKey: orderingKeyOf(runId),
          attributes: attributesOf({ tape_obligation_kind: kind, tape_effect_key: effectKey, tape_run_id: runId })
        }
      ]),
      {
        onFailure: (error): Connectors.Compensated => ({
          _tag: error.refusal === "unknown" ? "pending" : "failed",
          error: error.message
        }),
        onSuccess: ([id = ""]): Connectors.Compensated => ({ _tag: "compensated", response: { message_id: id } })
      }
    )

const messageOf = (request: Connectors.Request): Message => ({
  data: jsonOf(request.payload),
  orderingKey: orderingKeyOf(request.runId),
  attributes: attributesOf({
    tape_idempotency_key: request.idempotencyKey,
    tape_run_id: request.runId,
    tape_business_key: ifShort(request.businessKey),
    tape_tool: ifShort(request.tool),
    tape_attempt: String(request.attempt),
    tape_connector: ifShort(request.connector),
    tape_semantics: request.semantics
  })
})
