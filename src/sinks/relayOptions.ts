import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { TapeClient } from "../Client.js"
import type { CursorStore } from "./cursor.js"
import type { Entry } from "./entry.js"
import type { Rejected } from "./errors.js"

/**
 * What a relay takes, where it keeps its cursor, and what it does with an entry that is refused.
 *
 * @since 0.1.0
 * @category models
 */
export interface RelayOptions<out CE = never, out CR = TapeClient> {
  /** Tells relays apart: each has a cursor of its own. */
  readonly name: string
  /** Subjects: `*` is one segment, `**` at the end any number. Defaults to `/tape/**`, everything. */
  readonly pattern?: string | undefined
  /** A CEL expression over the entry, evaluated by the tape. An entry for which it fails is left out. */
  readonly where?: string | undefined
  /** Where the cursor is kept. Defaults to `Sinks.cursorValue`, a value in the tape. */
  readonly cursor?: CursorStore<CE, CR> | undefined
  /** Where a relay without a stored cursor begins. Defaults to `start`. */
  readonly from?: "start" | "head" | undefined
  /**
   * What to do with an entry that the receiver refuses for good by the entry's fault: `stop` goes no further until it is
   * accepted; `skip` logs it as an error, tells `onSkipped`, and goes on. Defaults to `stop`.
   */
  readonly onPoison?: "stop" | "skip" | undefined
  /** The place for dead letters: told of each skipped entry before the cursor passes it. If it fails, nothing is skipped. */
  readonly onSkipped?: ((entry: Entry, error: Rejected) => Effect.Effect<unknown, unknown>) | undefined
  /** The cursor is stored after so many accepted entries: about as many come again after a crash. Defaults to 64. */
  readonly saveEvery?: number | undefined
  /** How long the entries in flight may take to be accepted when the relay is interrupted. Defaults to 5 seconds. */
  readonly grace?: Duration.DurationInput | undefined
}

/**
 * How a relay's fiber runs.
 *
 * @since 0.1.0
 * @category models
 */
export interface RelayLoopOptions<out CE = never, out CR = TapeClient> extends RelayOptions<CE, CR> {
  /** How long an accepted entry may wait until the cursor is stored behind it. Defaults to 1 second. */
  readonly saveInterval?: Duration.DurationInput | undefined
  /** How long a relay whose cursor was moved by another one stands by before it looks again. Defaults to 30 seconds. */
  readonly standBy?: Duration.DurationInput | undefined
  /**
   * The wait after a first failure of the sink, the cursor or the tape; doubled for each further one up to a minute,
   * jittered. Defaults to 1 second.
   */
  readonly backOff?: Duration.DurationInput | undefined
}

/**
 * What one tick did. Encodes to JSON with keys in snake_case.
 *
 * @since 0.1.0
 * @category models
 */
export const Relayed = Schema.Struct({
  published: Schema.Int,
  skipped: Schema.Int,
  lastGlobalSeq: Schema.propertySignature(Schema.BigIntFromNumber).pipe(Schema.fromKey("last_global_seq"))
})

/**
 * @since 0.1.0
 * @category models
 */
export type Relayed = typeof Relayed.Type
