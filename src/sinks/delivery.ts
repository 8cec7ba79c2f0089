/** One relay at work: publishes in order, and stores how far it has come. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { EventEntry } from "../gen/tape/v1/tape_pb.js"
import { sentenceOf } from "../internal/sentence.js"
import { finishing } from "../outbox/finishing.js"
import type { Cursor } from "./cursor.js"
import type { Entry } from "./entry.js"
import { type CursorError, Rejected, type SinkError } from "./errors.js"
import { isOwn } from "./selection.js"
import type { Publish } from "./sink.js"

export interface Settings {
  readonly batchSize: number
  readonly saveEvery: number
  readonly grace: Duration.DurationInput
  readonly onPoison: "stop" | "skip"
  readonly onSkipped: (entry: Entry, error: Rejected) => Effect.Effect<unknown, unknown>
}

export interface Delivery {
  /** Everything up to here was accepted, or is not for this relay. */
  readonly position: () => bigint
  readonly published: () => number
  readonly skipped: () => number
  /** Publishes what of these has not been published. After a failure it can be called again. */
  readonly deliver: (entries: ReadonlyArray<EventEntry>) => Effect.Effect<void, SinkError | CursorError>
  /** Everything up to here has been seen. */
  readonly passed: (globalSeq: bigint) => Effect.Effect<void>
  /** Stores the position, when it is not stored yet. */
  readonly save: Effect.Effect<void, CursorError>
  /** Whether something was published since the position was stored. */
  readonly isDirty: () => boolean
}

const late = "the entries in flight were accepted; they come again"

export const make = (settings: Settings, publish: Publish, cursor: Cursor, from: bigint): Effect.Effect<Delivery> =>
  Effect.map(Effect.makeSemaphore(1), (turn) => {
    let position = from
    let saved = from
    let unsaved = 0
    let published = 0
    let skipped = 0

    const accepted = (entries: ReadonlyArray<Entry>) =>
      Effect.sync(() => {
        position = entries.at(-1)?.globalSeq ?? position
        unsaved += entries.length
        published += entries.length
      })

    const skip = (entry: Entry, error: Rejected) =>
      Effect.suspend(() => settings.onSkipped(entry, error)).pipe(
        // What cannot be put aside is not skipped.
        Effect.mapErrorCause((cause) =>
          Cause.fail(
            new Rejected({ ...error, detail: `${error.detail}; it could not be put aside: ${sentenceOf(cause)}` })
          )
        ),
        Effect.zipRight(
          Effect.sync(() => {
            position = entry.globalSeq
            unsaved += 1
            skipped += 1
          })
        ),
        Effect.zipRight(Effect.logError(`skipped: ${error.message}`))
      )

    const piece = (entries: ReadonlyArray<Entry>): Effect.Effect<void, SinkError> =>
      Effect.catchTag(Effect.zipRight(publish(entries), accepted(entries)), "Rejected", (error) => {
        const [first, ...rest] = entries
        // One by one, to know which of them it is.
        if (rest.length > 0) return Effect.forEach(entries, (entry) => piece([entry]), { discard: true })
        return first !== undefined && settings.onPoison === "skip" && error.fault === "entry"
          ? skip(first, error)
          : Effect.fail(error)
      })

    const save = turn.withPermits(1)(
      Effect.suspend(() => {
        const target = position
        const count = unsaved
        if (target === saved) return Effect.void
        return Effect.map(cursor.save(target), () => {
          saved = target
          unsaved -= count
        })
      })
    )

    const step = (entries: ReadonlyArray<Entry>) =>
      Effect.zipRight(
        Effect.suspend(() => (unsaved >= settings.saveEvery ? save : Effect.void)),
        finishing(settings.grace, late)(piece(entries))
      )

    const deliver = (entries: ReadonlyArray<EventEntry>): Effect.Effect<void, SinkError | CursorError> =>
      Effect.suspend(() => {
        const due = entries.filter((entry) => entry.globalSeq > position && !isOwn(entry))
        const pieces = Array.from({ length: Math.ceil(due.length / settings.batchSize) }, (_, index) =>
          due.slice(index * settings.batchSize, (index + 1) * settings.batchSize)
        )
        return Effect.zipRight(Effect.forEach(pieces, step, { discard: true }), passed(entries.at(-1)?.globalSeq ?? 0n))
      })

    const passed = (globalSeq: bigint) =>
      Effect.sync(() => {
        if (globalSeq > position) position = globalSeq
      })

    return {
      position: () => position,
      published: () => published,
      skipped: () => skipped,
      deliver,
      passed,
      save,
      isDirty: () => unsaved > 0
    }
  })
