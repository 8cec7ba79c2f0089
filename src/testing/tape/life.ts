import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TapeClient } from "../../Client.js"
import type { TapeError } from "../../Errors.js"

/**
 * Where a life ends: right before a call is sent, or right after the tape has done what it asks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Death {
  readonly at: "before" | "after"
  /** Any unary call when left out. */
  readonly call?: keyof TapeClient["Type"] | undefined
  /** Which of those calls, 1 for the first. Defaults to 1. */
  readonly nth?: number | undefined
  /** Only calls with such a request count. Defaults to all. */
  readonly where?: ((request: object) => boolean) | undefined
}

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
  Effect.gen(function* () {
    const died = yield* Deferred.make<void>()
    let isDead = false
    let calls = 0
    const die = Effect.sync(() => {
      isDead = true
      Deferred.unsafeDone(died, Effect.void)
    })
    const isLast = (call: string, request: object) => {
      if (death === undefined || call !== (death.call ?? call) || death.where?.(request) === false) return false
      calls += 1
      return calls === (death.nth ?? 1)
    }
    const around: Around = (name, request, call) =>
      Effect.suspend(() => {
        if (isDead) return silence
        if (!isLast(name, request)) return Effect.flatMap(call, (answer) => (isDead ? silence : Effect.succeed(answer)))
        return death?.at === "after"
          ? Effect.zipRight(Effect.zipRight(Effect.ignore(call), die), silence)
          : Effect.zipRight(die, silence)
      })
    const cut = wrapped(yield* TapeClient, around, () => isDead)
    const fiber = yield* Effect.fork(Effect.provideService(self, TapeClient, cut))
    // Not waited for: what it does in dying nobody hears either.
    const buried = Effect.asVoid(Fiber.interruptFork(fiber))
    yield* Effect.fork(Effect.zipRight(Deferred.await(died), buried))
    const survived = Effect.zipRight(
      Fiber.await(fiber),
      Effect.suspend(() =>
        isDead
          ? Effect.void
          : new Survived({ death: death === undefined ? "when killed" : `${death.at} ${death.call ?? "a call"}` })
      )
    )
    return {
      fiber,
      kill: Effect.zipRight(die, buried),
      died: Effect.raceFirst(Deferred.await(died), survived)
    }
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

type Service = TapeClient["Type"]

type Around = (
  name: string,
  request: object,
  call: Effect.Effect<unknown, TapeError>
) => Effect.Effect<unknown, TapeError>

const silence = Effect.interruptible(Effect.never)

/** Every unary call goes through `around`; streams end in silence. */
const wrapped = (tape: Service, around: Around, isDead: () => boolean): Service =>
  new Proxy(tape, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== "function" || typeof name !== "string") return method
      return (request: object, options?: object): unknown => {
        // What a method of the client gives is an effect of one answer or a stream of them.
        const answer = Reflect.apply(method, target, [request, options]) as
          | Effect.Effect<unknown, TapeError>
          | Stream.Stream<unknown, TapeError>
        return Effect.isEffect(answer)
          ? around(name, request, answer as Effect.Effect<unknown, TapeError>)
          : Stream.mapEffect(answer as Stream.Stream<unknown, TapeError>, (entry) =>
              isDead() ? silence : Effect.succeed(entry)
            )
      }
    }
  })
