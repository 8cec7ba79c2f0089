import * as Schema from "effect/Schema"

/**
 * For handlers: trying again cannot help. A handler that fails with it has its task made a dead letter at once.
 *
 * @since 0.1.0
 * @category errors
 */
export class Permanent extends Schema.TaggedError<Permanent>("effect-tape/Reactions/Permanent")("Permanent", {
  reason: Schema.String
}) {
  override get message(): string {
    return this.reason
  }
}
