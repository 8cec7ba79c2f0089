import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { TapeClient } from "../../Client.js"
import { type Death, Doom, Fate, mortal } from "./mortal.js"

/**
 * A life ended by itself, without coming to the call at which it was to die.
 *
 * @since 0.1.0
 * @category errors
 */
export class Survived extends Schema.TaggedError<Survived>()("Survived", { death: Schema.String }) {
  override get message(): string {
    return `it ended by itself, and was to die ${this.death}`
  }
}

/**
 * A process that can be killed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Life<out A, out E> {
  /** What runs in it. */
  readonly fiber: Fiber.RuntimeFiber<A, E>
  /** As SIGKILL does: from now on the tape hears nothing of it, and it holds what it holds until that runs out. */
  readonly kill: Effect.Effect<void>
  /** Done when it was killed, or died where it was told to. */
  readonly died: Effect.Effect<void, Survived>
}

/**
 * Runs an effect as if in a process of its own that can be killed, at any time or at a given call. What it had of the
 * tape is not given back: another life gets a run's lease when that runs out (2 minutes by default).
 *
 * @example
 * import { Durable } from "effect-tape"
 * import { TestTape } from "effect-tape/testing"
 * import { Effect, Schema, TestClock } from "effect"
 *
 * const Greet = Durable.app("greet", {
 *   input: Schema.String,
 *   output: Schema.String,
 *   *run(name) {
 *     return `Hello, ${name}`
 *   }
 * })
 *
 * export const twice = Effect.gen(function* () {
 *   const greet = Greet.start({ user: "u", session: "s", invocation: "i" }, "Ann")
 *   const first = yield* TestTape.life(greet, { at: "before", call: "endRun" })
 *   yield* first.died
 *   yield* TestClock.adjust("2 minutes")
 *   return yield* greet
 * }).pipe(Effect.provide(TestTape.layer()))
 *
 * @since 0.1.0
 * @category lives
 */
export const life = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  death?: Death
): Effect.Effect<Life<A, E>, never, R | TapeClient> =>
  lifeUnder(self, new Fate(death === undefined ? [] : [new Doom(death)]))

/** A life that dies of what is next for all of a tape's processes. */
export const lifeUnder = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  fate: Fate
): Effect.Effect<Life<A, E>, never, R | TapeClient> =>
  Effect.gen(function* () {
    const { client, die, died, isDead } = yield* mortal(yield* TapeClient, "program", fate)
    const fiber = yield* Effect.fork(Effect.provideService(self, TapeClient, client))
    // Not waited for: what it does in dying nobody hears either.
    const buried = Effect.asVoid(Fiber.interruptFork(fiber))
    yield* Effect.fork(Effect.zipRight(died, buried))
    const survived = Effect.zipRight(
      Fiber.await(fiber),
      Effect.suspend(() => (isDead() ? Effect.void : new Survived({ death: fate.next?.words ?? "when killed" })))
    )
    return { fiber, kill: Effect.zipRight(die, buried), died: Effect.raceFirst(died, survived) }
  })
