/** What scenarios expect: refusals with their words, and things that must become visible before a deadline. */
import * as assert from "node:assert/strict"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { Errors } from "effect-tape"

export type TapeError = Errors.TapeError

/** Something that should have become visible did not, within its deadline. */
export class Unmet extends Data.TaggedError("Unmet")<{ readonly what: string; readonly seen?: unknown }> {
  override get message(): string {
    return `${this.what} did not happen in time${this.seen === undefined ? "" : `; seen: ${show(this.seen)}`}`
  }
}

/** Expects the call to be refused with this error, its sentence to contain the words. */
export const refused = <A, R>(
  call: Effect.Effect<A, TapeError, R>,
  tag: TapeError["_tag"],
  ...words: ReadonlyArray<string>
): Effect.Effect<TapeError, never, R> =>
  Effect.map(Effect.either(call), (outcome) => {
    if (Either.isRight(outcome)) {
      assert.fail(`expected ${tag}, but the call was answered with ${show(outcome.right)}`)
    }
    const error = outcome.left
    assert.equal(error._tag, tag, `expected ${tag}, got ${error._tag}: ${error.message}`)
    for (const word of words) {
      assert.ok(error.detail.includes(word), `the sentence should contain "${word}": ${error.detail}`)
    }
    return error
  })

/** Polls until the answer satisfies the condition; fails with what was last seen. */
export const eventually = <A, E, R>(
  what: string,
  look: Effect.Effect<A, E, R>,
  holds: (answer: A) => boolean,
  within: Duration.DurationInput = "5 seconds"
): Effect.Effect<A, E | Unmet, R> =>
  Effect.gen(function* () {
    const deadline = Date.now() + Duration.toMillis(within)
    for (;;) {
      const answer = yield* look
      if (holds(answer)) return answer
      if (Date.now() > deadline) return yield* new Unmet({ what, seen: answer })
      yield* Effect.sleep("2 millis")
    }
  })

/** Fails with a sentence rather than hanging when the effect does not finish. */
export const within = <A, E, R>(
  what: string,
  effect: Effect.Effect<A, E, R>,
  duration: Duration.DurationInput = "5 seconds"
): Effect.Effect<A, E | Unmet, R> => Effect.timeoutFail(effect, { duration, onTimeout: () => new Unmet({ what }) })

/** JSON with bigints as numbers in text. */
export const show = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => (typeof item === "bigint" ? `${item}n` : item)) ?? String(value)
