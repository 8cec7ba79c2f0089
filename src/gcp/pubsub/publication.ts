/** What reactions publish. */
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import type { Publication } from "../../Reactions.js"
import { Permanent } from "../../reactions/permanent.js"
import type { GoogleError } from "../errors.js"
import { PubSubClient } from "./client.js"
import { attributesOf, ifShort, type Message, orderingKeyOf } from "./message.js"
import { accepted, topicName } from "./topic.js"

/**
 * Where publications go.
 *
 * @since 0.1.0
 * @category models
 */
export interface PublicationOptions {
  /** The topic of reactions that name no target. Defaults to none: their tasks become dead letters. */
  readonly topic?: string | undefined
}

/**
 * Publishes what a `publish` reaction has matched to the reaction's own target, a topic: `projects/p/topics/t`, or a name
 * in the client's project. For the `publish` option of `Reactions.layer`, in a program that handles tasks as well.
 *
 * The body is the entry's `payload_json` as it is; the ordering key the source run's id, the subject for entries of no run;
 * attributes, without those that are empty: `tape-task-id` (what a subscriber deduplicates on), `tape-reaction-id`,
 * `tape-subject` (not there when longer than 1,024 bytes), `tape-global-seq`, `tape-trace-id`.
 *
 * A target that is no topic, and a message that Pub/Sub refuses for what is in it (`INVALID_ARGUMENT`, `OUT_OF_RANGE`),
 * make the task a dead letter at once. After any other failure, a missing topic or permission among them, it is tried
 * again by the reaction's own settings.
 *
 * @since 0.1.0
 * @category bridging
 */
export const publication =
  (
    options: PublicationOptions = {}
  ): ((publication: Publication) => Effect.Effect<string, GoogleError | Permanent, PubSubClient>) =>
  ({ target, task }) =>
    Effect.gen(function* () {
      const client = yield* PubSubClient
      const wanted = target === "" ? (options.topic ?? "") : target
      const topic = topicName(client.projectId, wanted)
      if (topic === undefined) {
        return yield* new Permanent({ reason: `the target ${JSON.stringify(wanted)} is not a topic: ${accepted}` })
      }
      const message: Message = {
        data: task.payloadJson,
        orderingKey: orderingKeyOf(task.sourceRunId, task.subject),
        attributes: attributesOf({
          "tape-task-id": task.taskId,
          "tape-reaction-id": task.reactionId,
          "tape-subject": ifShort(task.subject),
          "tape-global-seq": String(task.sourceGlobalSeq),
          "tape-trace-id": task.traceId
        })
      }
      const [id = ""] = yield* Effect.catchIf(
        client.publish(topic, [message]),
        (error) => error.refusal === "request",
        (error) => new Permanent({ reason: error.message })
      )
      return id
    })

/** A default topic that is none would make every task of a reaction without a target a dead letter. */
export const checkTopic = ({ topic }: PublicationOptions): Effect.Effect<void, ConfigError.ConfigError> =>
  topic === undefined || topicName("project", topic) !== undefined
    ? Effect.void
    : Effect.fail(ConfigError.InvalidData(["topic"], `${JSON.stringify(topic)} is not a topic: ${accepted}`))
