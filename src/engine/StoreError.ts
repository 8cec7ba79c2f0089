/**
 * What can be wrong with the place where a tape is kept.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * The store could not be opened, or failed under a call. `reason` tells a program what, `message` tells a person.
 *
 * - `InvalidUrl`: not a store URL. `NotWritable`: no such folder, no permission, or it is a folder.
 * - `NotADatabase`: the file is something else, or damaged. `AlreadyOpen`: this process has the file open already.
 * - `SchemaTooNew`: written by a later version. `NotDurable`: full durability could not be switched on.
 * - `Busy`: another process kept the write lock too long. `Full`: no space left. `Closed`: the store was shut down.
 * - `Unavailable`: anything else the database said.
 *
 * @since 0.1.0
 * @category errors
 */
export class StoreError extends Schema.TaggedError<StoreError>("effect-tape/engine/StoreError")("StoreError", {
  reason: Schema.Literal(
    "InvalidUrl",
    "NotWritable",
    "NotADatabase",
    "AlreadyOpen",
    "SchemaTooNew",
    "NotDurable",
    "Busy",
    "Full",
    "Closed",
    "Unavailable"
  ),
  url: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message(): string {
    return `store ${this.url}: ${this.detail}`
  }
}
