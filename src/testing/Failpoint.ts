/**
 * Faults of the tape itself: named points at which it fails, sleeps or dies, written as the environment variable
 * `FAILPOINTS` of chaos builds, and struck by the embedded engine as well.
 *
 * Faults on the way to a counterparty are those of `TestConnector`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Schema from "effect/Schema"
import * as Engine from "../engine/Engine.js"
import { Tape } from "../gen/tape/v1/tape_pb.js"
import type { Handlers } from "../Handlers.js"
import { struck } from "./failpoint/strike.js"
import { type Term, troubleOf, unwritable, written } from "./failpoint/term.js"
import type { TestConnector } from "./TestConnector.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("effect-tape/testing/Failpoint")

/**
 * What happens at a point, and when: a description. Of its terms the first that is not used up and whose probability
 * strikes counts; without one all is well.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failpoint extends Pipeable {
  readonly [TypeId]: ReadonlyArray<Term>
}

/**
 * The server dies there. Whoever has called sees `Unavailable` with `maybeApplied`. The embedded engine is back at once,
 * with what it had stored.
 *
 * @since 0.1.0
 * @category constructors
 */
export const panic: Failpoint = /*#__PURE__*/ make([{ task: { _tag: "Panic" } }])

/**
 * The call is answered with an error. The embedded engine says what it says of a store that fails: `Unavailable` with
 * `maybeApplied`, and the message as its `detail`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fails = (message: string): Failpoint => make([{ task: { _tag: "Return", message } }])

/**
 * The call takes this much longer, in whole milliseconds; in a `TestTape` by the test's clock.
 *
 * @since 0.1.0
 * @category constructors
 */
export const sleep = (duration: Duration.DurationInput): Failpoint =>
  make([{ task: { _tag: "Sleep", millis: Math.ceil(Duration.toMillis(duration)) } }])

/**
 * Strikes with a probability, from 0 to 1.
 *
 * @example
 * import { Failpoint } from "effect-tape/testing"
 *
 * // "25%panic"
 * export const sometimes = Failpoint.panic.pipe(Failpoint.withProbability(0.25))
 *
 * @since 0.1.0
 * @category combinators
 */
export const withProbability: {
  (probability: number): (self: Failpoint) => Failpoint
  (self: Failpoint, probability: number): Failpoint
} = dual(2, (self: Failpoint, probability: number) => each(self, (term) => ({ ...term, probability })))

/**
 * Strikes so many times, and never again.
 *
 * @since 0.1.0
 * @category combinators
 */
export const times: {
  (count: number): (self: Failpoint) => Failpoint
  (self: Failpoint, count: number): Failpoint
} = dual(2, (self: Failpoint, count: number) => each(self, (term) => ({ ...term, count })))

/**
 * Lets the first calls pass.
 *
 * @example
 * import { Failpoint } from "effect-tape/testing"
 *
 * // "2*off->panic"
 * export const third = Failpoint.panic.pipe(Failpoint.skipFirst(2))
 *
 * @since 0.1.0
 * @category combinators
 */
export const skipFirst: {
  (count: number): (self: Failpoint) => Failpoint
  (self: Failpoint, count: number): Failpoint
} = dual(2, (self: Failpoint, count: number) => make([{ count, task: { _tag: "Off" } }, ...self[TypeId]]))

/**
 * What happens when the first does not, because it is used up or its probability has not struck.
 *
 * @example
 * import { Failpoint } from "effect-tape/testing"
 *
 * // "1*panic->sleep(250)"
 * export const slow = Failpoint.panic.pipe(Failpoint.times(1), Failpoint.orElse(Failpoint.sleep("250 millis")))
 *
 * @since 0.1.0
 * @category combinators
 */
export const orElse: {
  (that: Failpoint): (self: Failpoint) => Failpoint
  (self: Failpoint, that: Failpoint): Failpoint
} = dual(2, (self: Failpoint, that: Failpoint) => make([...self[TypeId], ...that[TypeId]]))

/**
 * A failpoint that cannot be: a probability outside of 0 to 1, a count that is no whole number, a sleep without an end; one
 * that `FAILPOINTS` has no words for; a point that the embedded engine does not have.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidFailpoint extends Schema.TaggedError<InvalidFailpoint>()("InvalidFailpoint", {
  /** The point. */
  name: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `the failpoint ${JSON.stringify(this.name)} ${this.reason}`
  }
}

/**
 * Failpoints as the environment variable `FAILPOINTS` has them: `name=25%panic;other=2*off->return(no space left)`.
 *
 * - Each is `<probability>%<count>*<task>`, with `->` before what happens else. Tasks are `off`, `panic`, `sleep(<milliseconds>)`
 *   and `return(<message>)`.
 * - Faults of connectors in the same record are left out: they strike in this process, not in the server
 *   (`TestConnector.describe` has words for them).
 * - Names and messages that the grammar cannot carry are refused: with `;`, `->`, a closing parenthesis or a line break;
 *   names also with `=`, an opening parenthesis or spaces around them.
 *
 * @example
 * import { Failpoint, TestConnector } from "effect-tape/testing"
 *
 * // Right("store::commit=2*off->25%panic")
 * export const environment = Failpoint.render({
 *   "store::commit": Failpoint.panic.pipe(Failpoint.withProbability(0.25), Failpoint.skipFirst(2)),
 *   "bank.wire": TestConnector.losesAck("once")
 * })
 *
 * @since 0.1.0
 * @category rendering
 */
export const render = (faults: {
  readonly [name: string]: Failpoint | TestConnector
}): Either.Either<string, InvalidFailpoint> => {
  const points = Object.entries(faults).flatMap(([name, fault]) => (TypeId in fault ? [[name, fault] as const] : []))
  return Either.map(
    Either.all(
      points.map(([name, point]) => {
        const reason = troubleIn(point) ?? unwritable(name, point[TypeId])
        return reason === undefined
          ? Either.right(`${name}=${point[TypeId].map(written).join("->")}`)
          : Either.left(new InvalidFailpoint({ name, reason }))
      })
    ),
    (texts) => texts.join(";")
  )
}

/**
 * Where the embedded engine can be struck: right before it begins with a unary call, and right after what the call does is
 * stored (of a call that it does not refuse), `beginEffect.before` and `beginEffect.after`.
 *
 * @since 0.1.0
 * @category models
 */
export type Point = `${Unary}.${"before" | "after"}`

/**
 * @since 0.1.0
 * @category models
 */
export type Points = { readonly [name in Point]?: Failpoint | undefined }

/**
 * Where probabilities are drawn from.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The same seed strikes the same calls. Defaults to 0. */
  readonly seed?: number | undefined
}

/**
 * The engine with failpoints, to be put on the wire or used in-process; `TestTape.layer` has them as an option. Each life of
 * the layer counts anew.
 *
 * @example
 * import { Engine } from "effect-tape/engine"
 * import { Failpoint } from "effect-tape/testing"
 * import { Layer } from "effect"
 *
 * export const EngineShaken = Failpoint.layer({
 *   "completeEffect.after": Failpoint.panic.pipe(Failpoint.withProbability(0.1)),
 *   "claimTasks.before": Failpoint.sleep("1 second")
 * }).pipe(Layer.provide(Engine.layerUrl("memory:")))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (points: Points, options?: Options): Layer.Layer<Engine.Engine, InvalidFailpoint, Engine.Engine> =>
  Layer.effect(
    Engine.Engine,
    Effect.flatMap(Engine.Engine, (engine) => handlers(engine, points, options))
  )

/**
 * Handlers with failpoints; see {@link layer}.
 *
 * @since 0.1.0
 * @category combinators
 */
export const handlers = (
  self: Handlers<typeof Tape>,
  points: Points,
  { seed = 0 }: Options = {}
): Effect.Effect<Handlers<typeof Tape>, InvalidFailpoint> =>
  Effect.gen(function* () {
    const terms = new Map<string, ReadonlyArray<Term>>()
    for (const [name, point] of Object.entries(points)) {
      if (point === undefined) continue
      const reason = isPoint(name) ? troubleIn(point) : "is nowhere in the engine"
      if (reason !== undefined) return yield* new InvalidFailpoint({ name, reason })
      terms.set(name, point[TypeId])
    }
    return terms.size === 0 ? self : struck(self, terms, seed)
  })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

type Unary = {
  [K in keyof typeof Tape.method]: (typeof Tape.method)[K] extends { readonly methodKind: "unary" } ? K : never
}[keyof typeof Tape.method]

function make(terms: ReadonlyArray<Term>): Failpoint {
  return {
    [TypeId]: terms,
    pipe() {
      return pipeArguments(this, arguments)
    }
  }
}

/** Programs without types may say anything. */
const isPoint = (name: string): boolean => {
  const [, rpc = ""] = /^(\w+)\.(?:before|after)$/.exec(name) ?? []
  const methods: { readonly [name: string]: { readonly methodKind: string } } = Tape.method
  return Object.hasOwn(methods, rpc) && methods[rpc]?.methodKind === "unary"
}

/** What is only there to let calls pass stays as it is. */
const each = (self: Failpoint, change: (term: Term) => Term): Failpoint =>
  make(self[TypeId].map((term) => (term.task._tag === "Off" ? term : change(term))))

const troubleIn = (point: Failpoint): string | undefined =>
  point[TypeId].map(troubleOf).find((trouble) => trouble !== undefined)
