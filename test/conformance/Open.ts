/** A stream that stays open for the rest of a scenario, looked at element by element. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { within } from "./Expect.js"

/** `next` is the next element, within a second; `silent` holds while none has come. */
export const open = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.gen(function* () {
    const queue = yield* Queue.unbounded<A>()
    yield* Effect.forkScoped(Stream.runForEach(stream, (element) => Queue.offer(queue, element)))
    return {
      next: within("the entry arrives within a second", Queue.take(queue), "1 second"),
      silent: Effect.map(Queue.size(queue), (size) => assert.ok(size <= 0, "nothing more was expected"))
    }
  })
