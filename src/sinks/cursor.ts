import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { CursorError } from "./errors.js"

/**
 * How far a relay has come, kept somewhere that outlives it.
 *
 * @since 0.1.0
 * @category cursors
 */
export interface Cursor {
  /** The global_seq of the last entry that was accepted, as it was stored when the cursor was opened. */
  readonly position: Option.Option<bigint>
  /** Stores a position; when it returns, the position is durable. */
  readonly save: (globalSeq: bigint) => Effect.Effect<void, CursorError>
}

/**
 * Where relays keep their cursors.
 *
 * @since 0.1.0
 * @category cursors
 */
export interface CursorStore<out E = never, out R = never> {
  /** Opens the cursor of the relay called `name`. Fails with `Damaged` rather than starting over. */
  readonly open: (name: string) => Effect.Effect<Cursor, CursorError | E, R>
}

/** What is stored, wherever it is. */
const Stored = Schema.parseJson(
  Schema.Struct({
    last_global_seq: Schema.BigIntFromNumber.pipe(Schema.filter((position) => position >= 0n))
  })
)

export const decode = Schema.decode(Stored)

export const encode = (globalSeq: bigint): string => JSON.stringify({ last_global_seq: Number(globalSeq) })
