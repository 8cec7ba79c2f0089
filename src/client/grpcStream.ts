/**
 * A server stream of grpc-js as a back-pressured `Stream`.
 */
import type { ClientReadableStream, StatusObject } from "@grpc/grpc-js"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { soon } from "./timer.js"

/**
 * Reads a call that `open` starts. At most about {@link pauseAt} messages wait to be taken, beside what is in the HTTP/2
 * window (64 kB); then the call is paused, and with it the server. The call is cancelled with the stream's scope; until
 * then it is in `underWay`, for whoever has to cancel it before.
 */
export const read = <A, E>(
  open: () => ClientReadableStream<A>,
  failed: (error: unknown) => E,
  underWay: Set<Cancellable>
): Stream.Stream<A, E> =>
  Stream.fromPull(
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => {
          const reading = start(open, failed)
          underWay.add(reading)
          return reading
        }),
        (reading) =>
          Effect.sync(() => {
            underWay.delete(reading)
            reading.cancel()
          })
      ),
      ({ pull }) => pull
    )
  )

export interface Cancellable {
  readonly cancel: () => void
}

// ---- internal ----

// how many messages may wait before the call is paused
const pauseAt = 64

const start = <A, E>(open: () => ClientReadableStream<A>, failed: (error: unknown) => E) => {
  type Pulled = Effect.Effect<Chunk.Chunk<A>, Option.Option<E>>
  let messages: Array<A> = []
  let ended: Option.Option<E> | undefined
  let failure: Option.Option<E> = Option.none()
  let waiting: ((pulled: Pulled) => void) | undefined
  let waking = false
  let paused = false
  let call: ClientReadableStream<A> | undefined

  const take = (): Pulled | undefined => {
    if (messages.length > 0) {
      const taken = Chunk.unsafeFromArray(messages)
      messages = []
      if (paused) {
        paused = false
        call?.resume()
      }
      return Effect.succeed(taken)
    }
    return ended === undefined ? undefined : Effect.fail(ended)
  }
  const wake = () => {
    waking = false
    if (waiting === undefined) return
    const pulled = take()
    if (pulled === undefined) return
    const resume = waiting
    waiting = undefined
    resume(pulled)
  }
  const changed = () => {
    if (waiting === undefined || waking) return
    waking = true
    soon(wake)
  }

  try {
    call = open()
    const reading = call
    reading.on("data", (message: A) => {
      messages.push(message)
      if (!paused && messages.length >= pauseAt) {
        paused = true
        reading.pause()
      }
      changed()
    })
    // the error comes before the messages that are still buffered, the end after them
    reading.on("error", (error: Error) => {
      failure = Option.some(failed(error))
    })
    reading.on("status", (status: StatusObject) => {
      if (status.code !== 0 && Option.isNone(failure)) failure = Option.some(failed(status))
    })
    reading.on("end", () => {
      ended = failure
      changed()
    })
  } catch (cause) {
    ended = Option.some(failed(cause))
  }

  return {
    cancel: () => call?.cancel(),
    pull: Effect.suspend(
      (): Pulled =>
        take() ??
        Effect.async((resume) => {
          waiting = resume
          return Effect.sync(() => {
            waiting = undefined
          })
        })
    )
  }
}
