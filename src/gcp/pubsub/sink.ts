/** The journal as messages. */
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ConfigOr } from "../../Connectors.js"
import { resolve } from "../../connectors/options.js"
import { type Entry, eventIdOf, toJson } from "../../sinks/entry.js"
import { Rejected, type SinkError, Undelivered } from "../../sinks/errors.js"
import { unwritable } from "../../sinks/log.js"
import { make, type Sink } from "../../sinks/sink.js"
import type { GoogleError } from "../errors.js"
import { PubSubClient } from "./client.js"
import { attributesOf, ifShort, type Message, orderingKeyOf } from "./message.js"
import { topicOption } from "./topic.js"

/**
 * Options of the Pub/Sub sink.
 *
 * @since 0.1.0
 * @category models
 */
export interface SinkOptions {
  /** `projects/p/topics/t`, or the name of a topic in the client's project. */
  readonly topic: string
}

/**
 * A message for each entry, as JSON (`Sinks.Entry`), to one topic.
 *
 * The ordering key is the run's id, the subject for entries of no run: a subscription with message ordering receives each
 * run's entries, and each value's changes, in order. Attributes: `tape-event-id` (what a subscriber deduplicates on),
 * `kind`, `tape-global-seq`, `tape-subject` (not there when longer than the 1,024 bytes Pub/Sub takes).
 *
 * Up to `batchSize` entries are published together, by key, and the batch is accepted when Pub/Sub has acknowledged all of
 * it; nothing waits in a buffer when the cursor moves. After a failure the whole batch comes again, in the same order.
 * `INVALID_ARGUMENT` and `OUT_OF_RANGE` are rejected by the entry's fault, other refusals by the receiver's; what may pass
 * is undelivered.
 *
 * @example
 * import { Sinks } from "effect-tape"
 * import { PubSub } from "effect-tape/gcp"
 * import { Layer } from "effect"
 *
 * export const Relay = Sinks.layerRelay({ name: "warehouse" }, PubSub.sink({ topic: "journal" })).pipe(
 *   Layer.provide(PubSub.layer())
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const sink = (
  options: ConfigOr<SinkOptions> & {
    /** The most entries that are published together, and come again together. Defaults to 100. */
    readonly batchSize?: number | undefined
  }
): Sink<ConfigError.ConfigError, PubSubClient> => {
  const { batchSize = 100, ...rest } = options
  return make(
    Effect.gen(function* () {
      const client = yield* PubSubClient
      const { topic } = yield* resolve<SinkOptions>(rest)
      const name = yield* topicOption("topic", client.projectId, topic)
      return (entries: ReadonlyArray<Entry>) =>
        Effect.flatMap(Effect.forEach(entries, messageOf), (messages) =>
          Effect.mapError(client.publish(name, messages), (error) => failureOf(error, entries))
        )
    }),
    { name: sinkName, batchSize }
  )
}

// ---- internal ----

const sinkName = "pubsub"

const messageOf = (entry: Entry): Effect.Effect<Message, Rejected> =>
  Option.match(toJson(entry), {
    onNone: () => Effect.fail(unwritable(sinkName, entry)),
    onSome: (data) =>
      Effect.succeed({
        data,
        orderingKey: orderingKeyOf(entry.runId, entry.subject),
        attributes: attributesOf({
          "tape-event-id": eventIdOf(entry),
          kind: entry.kind,
          "tape-global-seq": String(entry.globalSeq),
          "tape-subject": ifShort(entry.subject)
        })
      })
  })

const failureOf = (error: GoogleError, [first]: ReadonlyArray<Entry>): SinkError => {
  const about = { sink: sinkName, eventId: first === undefined ? "" : eventIdOf(first), detail: error.message }
  switch (error.refusal) {
    case "request":
      return new Rejected({ ...about, fault: "entry" })
    case "receiver":
      return new Rejected({ ...about, fault: "receiver" })
    default:
      return new Undelivered(about)
  }
}
