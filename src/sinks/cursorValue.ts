import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { type CursorStore, decode, encode } from "./cursor.js"
import { CursorError } from "./errors.js"

/** The namespace of what relays write. No relay publishes entries about it: a cursor would never come to rest. */
export const namespace = "tape:relay"

/**
 * A cursor in the tape itself: the value under the relay's name in the namespace `tape:relay`, written by compare-and-set.
 * Of two relays of one name, the one whose write comes second fails with `Taken`: the cursor never goes back and never
 * jumps. Each save is an entry of the journal.
 *
 * @since 0.1.0
 * @category cursors
 */
export const cursorValue: CursorStore<never, TapeClient> = {
  open: (name) =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const place = `value ${namespace}/${name}`
      const writer = `relay ${crypto.randomUUID()}`
      const trouble = (reason: "NotReadable" | "NotWritable") => (cause: TapeError) =>
        new CursorError({ reason, place, detail: cause.message, cause })

      const read = Effect.mapError(tape.getValue({ namespace, key: name }), trouble("NotReadable"))
      const positionOf = (text: string) =>
        decode(text).pipe(
          Effect.map(({ last_global_seq }) => last_global_seq),
          Effect.mapError(
            (cause) => new CursorError({ reason: "Damaged", place, detail: 'not {"last_global_seq": n}', cause })
          )
        )

      const { found, value } = yield* read
      let version = value?.version ?? 0n

      const write = (globalSeq: bigint) =>
        Effect.map(
          tape.writeValue({ namespace, key: name, valueJson: encode(globalSeq), ifVersion: version, writer }),
          (written) => {
            version = written.version
          }
        )

      /** The version has moved. When it was our own write, whose answer was lost, we go on from there. */
      const moved = (globalSeq: bigint, cause: TapeError) =>
        Effect.flatMap(read, ({ value }) => {
          if (value?.writer !== writer) {
            const detail = `another relay of this name has moved it (${value?.writer ?? "gone"})`
            return Effect.fail(new CursorError({ reason: "Taken", place, detail, cause }))
          }
          version = value.version
          return value.valueJson === encode(globalSeq) ? Effect.void : save(globalSeq)
        })

      const save = (globalSeq: bigint): Effect.Effect<void, CursorError> =>
        write(globalSeq).pipe(
          Effect.catchAll((error) =>
            error._tag === "Conflict" ? moved(globalSeq, error) : Effect.fail(trouble("NotWritable")(error))
          )
        )

      const position = found && value !== undefined ? yield* Effect.asSome(positionOf(value.valueJson)) : Option.none()
      return { position, save }
    })
}
