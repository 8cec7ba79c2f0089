/**
 * Why a server could not start.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The server cannot listen where it was told to. `InvalidAddress`: not an address. `InUse`: another process listens
 * there. `NotPermitted`: the system forbids it. `Tls`: the certificates cannot be used. `Unavailable`: anything else.
 *
 * @since 0.1.0
 * @category errors
 */
export class ListenError extends Schema.TaggedError<ListenError>("effect-tape/server/ListenError")("ListenError", {
  reason: Schema.Literal("InvalidAddress", "InUse", "NotPermitted", "Tls", "Unavailable"),
  listen: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `cannot listen on ${this.listen}: ${this.detail}`
  }
}
