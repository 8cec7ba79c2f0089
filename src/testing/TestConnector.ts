/**
 * Connectors for tests: a counterparty with books that a test can read, and faults on the way to it.
 *
 * A counterparty books whatever it is sent and never deduplicates; asked what became of an effect it answers from its
 * books. Faults strike dispatches only.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import * as Schema from "effect/Schema"
import * as Connectors from "../Connectors.js"
import {
  type Fault,
  type FaultOptions,
  faulty,
  describe as inWords,
  type Mishap,
  mishapsOf,
  type When
} from "./connector/fault.js"
import { type Booking, Counterparty, Ledgers, NoLedger } from "./connector/ledger.js"

export type { FaultOptions, When } from "./connector/fault.js"
export { Booking, Ledgers, NoLedger } from "./connector/ledger.js"

/**
 * @since 0.1.0
 * @category symbols
 */
export const TypeId: unique symbol = Symbol.for("effect-tape/testing/TestConnector")

/**
 * A counterparty and the faults on the way to it: a description, of which every layer makes its own.
 *
 * @since 0.1.0
 * @category models
 */
export interface TestConnector extends Pipeable {
  readonly [TypeId]: {
    /** What the counterparty answers to a booking, if this says. */
    readonly response: ((booking: Booking) => unknown) | undefined
    readonly faults: ReadonlyArray<Fault>
  }
}

/**
 * Books and confirms. The response is what the tool's `output` decodes; `{ "id": <the booking's id> }` when left out.
 *
 * @example
 * import { TestConnector } from "effect-tape/testing"
 *
 * export const bank = TestConnector.confirms(({ id }) => ({ wireId: id })).pipe(
 *   TestConnector.and(TestConnector.losesAck("once", { tool: "wire_money" }))
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const confirms = (response?: (booking: Booking) => unknown): TestConnector => make(response, [])

/**
 * Books, and the answer gets lost: the effect is UNKNOWN until somebody asks.
 *
 * @since 0.1.0
 * @category constructors
 */
export const losesAck = (when: When = "always", options?: FaultOptions): TestConnector =>
  strike({ _tag: "LoseAck" }, when, options)

/**
 * The request gets lost: nothing is booked, and the outbox cannot know that.
 *
 * @since 0.1.0
 * @category constructors
 */
export const losesRequest = (when: When = "always", options?: FaultOptions): TestConnector =>
  strike({ _tag: "Lose" }, when, options)

/**
 * Books twice what is sent once. Asked about it, the counterparty answers `duplicate`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const duplicates = (when: When = "always", options?: FaultOptions): TestConnector =>
  strike({ _tag: "Duplicate" }, when, options)

/**
 * Takes its time before it books.
 *
 * @since 0.1.0
 * @category constructors
 */
export const delays = (
  duration: Duration.DurationInput,
  when: When = "always",
  options?: FaultOptions
): TestConnector => strike({ _tag: "Delay", duration }, when, options)

/**
 * Never books, and never answers: the dispatcher gives up after half the claim's time.
 *
 * @since 0.1.0
 * @category constructors
 */
export const hangs = (when: When = "always", options?: FaultOptions): TestConnector =>
  strike({ _tag: "Hang" }, when, options)

/**
 * Refuses, without booking: tried again with back-off, unless `final`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fails = (
  error: string,
  when: When = "always",
  options: FaultOptions & { readonly final?: boolean | undefined } = {}
): TestConnector => strike({ _tag: "Fail", error, final: options.final ?? false }, when, options)

/**
 * What happens to the first dispatch, to the second, and so on; after that all is well. When the steps' own faults strike
 * is left out of account.
 *
 * @example
 * import { TestConnector } from "effect-tape/testing"
 *
 * export const busyThenGone = TestConnector.script([
 *   TestConnector.fails("busy"),
 *   TestConnector.delays("1 second").pipe(TestConnector.and(TestConnector.losesAck())),
 *   TestConnector.confirms()
 * ])
 *
 * @since 0.1.0
 * @category constructors
 */
export const script = (steps: ReadonlyArray<TestConnector>, options: FaultOptions = {}): TestConnector =>
  make(steps.find((step) => step[TypeId].response !== undefined)?.[TypeId].response, [
    { _tag: "Script", steps: steps.map((step) => step[TypeId].faults.flatMap(mishapsOf)), options }
  ])

/**
 * One counterparty with the faults of both.
 *
 * @since 0.1.0
 * @category combinators
 */
export const and: {
  (that: TestConnector): (self: TestConnector) => TestConnector
  (self: TestConnector, that: TestConnector): TestConnector
} = dual(2, (self: TestConnector, that: TestConnector) =>
  make(self[TypeId].response ?? that[TypeId].response, [...self[TypeId].faults, ...that[TypeId].faults])
)

/**
 * The faults in words, in the manner of failpoints: `1*` is once, `50%` a probability, `->` what happens next in a script,
 * a tool's name stands before what is only meant for it. For titles and logs.
 *
 * - `lose_ack`, `lose_request`, `duplicate`, `sleep(<milliseconds>)`, `hang`, `fail(<error>)`, and `off`: all is well.
 * - Several faults are separated by `; `. Without any the text is `off`.
 *
 * @example
 * import { TestConnector } from "effect-tape/testing"
 *
 * // "wire_money: 50%lose_ack"
 * export const words = TestConnector.describe(TestConnector.losesAck(0.5, { tool: "wire_money" }))
 *
 * @since 0.1.0
 * @category combinators
 */
export const describe = (self: TestConnector): string => self[TypeId].faults.map(inWords).join("; ") || "off"

/**
 * Connectors that live as long as the layer, and their books. `TestTape.layer` has it built in.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <const C extends { readonly [name: string]: TestConnector }>(
  connectors: C
): Layer.Layer<Connectors.Named<keyof C & string> | Ledgers> =>
  Layer.suspend(() => {
    const counterparties = new Map<string, Counterparty>()
    const protocols = Object.entries(connectors).map(([name, { [TypeId]: given }]) => {
      const counterparty = new Counterparty(name, given.response ?? (({ id }) => ({ id })))
      counterparties.set(name, counterparty)
      return [name, faulty(counterparty.protocol, given.faults)] as const
    })
    const ledgers = Ledgers.of({
      bookings: (connector) =>
        counterparties.get(connector)?.bookings ??
        Effect.fail(new NoLedger({ connector, known: [...counterparties.keys()] }))
    })
    // One protocol for each name of the record.
    const named = Connectors.layerRecord(Object.fromEntries(protocols)) as Layer.Layer<
      Connectors.Named<keyof C & string>
    >
    return Layer.merge(named, Layer.succeed(Ledgers, ledgers))
  })

/**
 * What a counterparty has in its books, in their order.
 *
 * @since 0.1.0
 * @category ledgers
 */
export const ledger = (connector: string): Effect.Effect<ReadonlyArray<Booking>, NoLedger, Ledgers> =>
  Effect.flatMap(Ledgers, ({ bookings }) => bookings(connector))

/**
 * A fault was meant for a connector that is not there.
 *
 * @since 0.1.0
 * @category errors
 */
export class TargetMissing extends Schema.TaggedError<TargetMissing>()("TargetMissing", {
  connector: Schema.String
}) {
  override get message(): string {
    return `faults are given for the connector "${this.connector}", which is not provided here`
  }
}

/**
 * Puts faults on connectors that are provided already, whatever they are, for as long as the effect runs; what launches
 * dispatchers within sees them. Of the descriptions only the faults count.
 *
 * - With `strict` a connector that is not provided fails with `TargetMissing`; else it is logged. Defaults to `true`.
 *
 * @example
 * import { Outbox } from "effect-tape"
 * import { TestConnector } from "effect-tape/testing"
 *
 * export const shaken = Outbox.dispatchOnce({ connectors: ["bank.wire"] }).pipe(
 *   TestConnector.withFaults({ "bank.wire": TestConnector.losesAck(0.5, { seed: 7 }) })
 * )
 *
 * @since 0.1.0
 * @category combinators
 */
export const withFaults =
  (faults: { readonly [connector: string]: TestConnector }, options: { readonly strict?: boolean | undefined } = {}) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | TargetMissing, R> =>
    Effect.gen(function* () {
      let context = yield* Effect.context<R>()
      for (const [connector, description] of Object.entries(faults)) {
        const tag = Connectors.Tag(connector)
        const found = Context.getOption(context, tag)
        if (found._tag === "Some") {
          context = Context.add(context, tag, faulty(found.value, description[TypeId].faults))
        } else if (options.strict ?? true) {
          return yield* new TargetMissing({ connector })
        } else {
          yield* Effect.logInfo(new TargetMissing({ connector }).message)
        }
      }
      return yield* Effect.provide(self, context)
    })

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const make = (response: ((booking: Booking) => unknown) | undefined, faults: ReadonlyArray<Fault>): TestConnector => ({
  [TypeId]: { response, faults },
  pipe() {
    return pipeArguments(this, arguments)
  }
})

const strike = (mishap: Mishap, when: When, options: FaultOptions = {}): TestConnector =>
  make(undefined, [{ _tag: "Strike", mishap, when, options }])
