/**
 * Streams that survive their connection.
 */
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Errors from "../Errors.js"
import { clientClosed } from "./transport.js"

/** Waits between two attempts to resume: 50 ms, doubled to at most 5 s, jittered, for ever. */
export const defaultResume: Schedule.Schedule<unknown, Errors.TapeError> = Schedule.exponential("50 millis").pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.jittered
)

/**
 * Opens the stream at `from`, and again after the last entry taken whenever it ends or is lost. Entries that arrived are
 * handed on before it is opened again, so that none is lost and none comes twice.
 */
export const resuming = <A, R>(
  rpc: string,
  from: bigint,
  open: (cursor: bigint) => Stream.Stream<A, Errors.TapeError, R>,
  cursorAfter: (entry: A) => bigint,
  resume: Schedule.Schedule<unknown, Errors.TapeError>
): Stream.Stream<A, Errors.TapeError, R> =>
  Stream.suspend(() => {
    let cursor = from
    let lost = false
    const attempt = Stream.suspend(() => open(cursor)).pipe(
      // a tape's stream has no end: one that ends hides a failure of its server
      Stream.concat(
        Stream.fail(new Errors.Unavailable({ rpc, detail: "the stream ended", ids: {}, maybeApplied: false }))
      ),
      Stream.mapChunks((entries) => {
        const last = Chunk.last(entries)
        if (Option.isSome(last)) cursor = cursorAfter(last.value)
        lost = false
        return entries
      }),
      Stream.tapError((error) => {
        if (!canResume(error) || lost) return Effect.void
        lost = true
        return Effect.logWarning(`${rpc}: the stream was lost, resuming at ${cursor}: ${error.detail}`)
      })
    )
    return Stream.retry(attempt, Schedule.whileInput(resume, canResume))
  })

// ---- internal ----

// a client that is closed will not be open again
const canResume = (error: Errors.TapeError): boolean =>
  error._tag === "Unavailable" && error.detail !== clientClosed.detail
