/**
 * Kills a program at each place where it may hurt, and looks whether it comes to its end all the same.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { TapeClient } from "../Client.js"
import { goodRun, type Subject, trial } from "./crashes/trial.js"
import * as Lineage from "./Lineage.js"
import { contiguous, noStuck, noUnknown } from "./tape/assertions.js"
import type { TestTape } from "./tape/service.js"

/**
 * What is held against a program, where, and how.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<Provided, LE, LR, CR, BR> extends Lineage.CutOptions {
  /**
   * What each scenario begins with: `TestTape.layer`, and beside it whatever of the world keeps something. It is built anew
   * for each, at time 0, whatever a `TestClock` around it says.
   */
  readonly tape: Layer.Layer<Provided, LE, LR>
  /**
   * What must hold in the end: an effect that fails says what does not. Beside `TestTape.noStuck`, `noUnknown` and
   * `contiguous`, which always must. Defaults to none.
   */
  readonly checks?: ReadonlyArray<Effect.Effect<unknown, unknown, CR>> | undefined
  /** What goes on meanwhile and does not die: people who open gates. It has no say in whether the program ends. */
  readonly beside?: Effect.Effect<unknown, unknown, BR> | undefined
  /**
   * Who goes on with a program that died. `program` (the default): it is started again at once. `reactors`: nobody but the
   * recovery of the tape's own reactors; only where it died before its run had an input, it is started again all the same,
   * because nobody else knows what it was to do.
   */
  readonly again?: "program" | "reactors" | undefined
  /** How long the program may take when all is well, by the test's clock. Defaults to 7 days. */
  readonly limit?: Duration.DurationInput | undefined
  /** How much longer it may take when it dies. Defaults to 1 hour. */
  readonly patience?: Duration.DurationInput | undefined
}

/**
 * The program does not come to its end, or to no good one, even when nothing happens to it.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoGoodRun extends Schema.TaggedError<NoGoodRun>()("NoGoodRun", {
  reasons: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `nothing was tried, because all is not well without a crash:\n${this.reasons.map((reason) => `  ${reason}`).join("\n")}`
  }
}

/**
 * What became of one scenario.
 *
 * @since 0.1.0
 * @category models
 */
export class Report extends Schema.Class<Report>("effect-tape/testing/Crashes/Report")({
  /** In words: `dies before decision 0 is recorded`. */
  scenario: Schema.String,
  /** Who died at each of its deaths: the program, or what works beside it. Shorter when it did not come to all of them. */
  deaths: Schema.Array(Schema.Literal("program", "daemons")),
  /** Whether every death of the scenario was died. */
  died: Schema.Boolean,
  /** Whether the program came to its end all the same. */
  recovered: Schema.Boolean,
  /** Why it did not; empty when it did. */
  reason: Schema.String,
  /** What did not hold in the end, a sentence for each. */
  failures: Schema.Array(Schema.String)
}) {
  /** Whether it died, recovered, and all held. */
  get isGood(): boolean {
    return this.died && this.recovered && this.failures.length === 0
  }

  override toString(): string {
    const troubles = [
      this.died ? [] : [`it died ${this.deaths.length} times only`],
      this.recovered ? [] : [`it did not recover: ${this.reason}`],
      this.failures
    ].flat()
    return [`${troubles.length === 0 ? "ok" : "NOT OK"}: ${this.scenario}`, ...troubles]
      .join("\n")
      .replaceAll("\n", "\n  ")
  }
}

/**
 * Runs a program once when all is well, and cuts its lineage; then, on a fresh tape for each cut, lets it die there, lets
 * it go on, and looks at what came of it. One scenario after another, each when it is asked for.
 *
 * - A scenario is over when the program is (or, left to the reactors, its runs are as when all was well), its runs are
 *   final or wait at a gate, and its effects are settled; or when its time is up.
 * - Time goes by itself, by the test's clock; real input and output is not waited for.
 * - The program begins the same runs in the same order each time, else it does not come to its deaths (`died`).
 * - Over a `TestTape` whose dispatcher and reactors are built in, these die at the calls that they make, and are started
 *   again at once. Where they are part of the program, they die with it.
 *
 * @example
 * import { Durable, Outbox } from "effect-tape"
 * import { Crashes, Reliability, TestConnector, TestTape } from "effect-tape/testing"
 * import { Effect, Schema, Stream } from "effect"
 *
 * const SendMail = Outbox.tool("send_mail", {
 *   connector: "mail",
 *   semantics: "non_idempotent",
 *   input: Schema.String,
 *   output: Schema.Struct({ id: Schema.String }),
 *   businessKey: (to) => to,
 *   waitForResult: true
 * })
 *
 * const Remind = Durable.app("remind", {
 *   input: Schema.String,
 *   output: Schema.Struct({ id: Schema.String }),
 *   tools: [SendMail],
 *   run: (to) => SendMail(to)
 * })
 *
 * export const test = Effect.gen(function* () {
 *   const reports = yield* Stream.runCollect(
 *     Crashes.explore(Remind.start({ user: "u", session: "s", invocation: "i" }, "ann@example.org"), {
 *       tape: TestTape.layer({ connectors: { mail: TestConnector.confirms() }, apps: [Remind] }),
 *       checks: [TestTape.exactlyOnce("mail")]
 *     })
 *   )
 *   return `${Reliability.surface(reports)}` // "k 2, ε 0, λ 1"
 * })
 *
 * @since 0.1.0
 * @category exploring
 */
export const explore = <A, E, R, Provided, LE = never, LR = never, CR = never, BR = never>(
  program: Effect.Effect<A, E, R>,
  options: Options<Provided, LE, LR, CR, BR>
): Stream.Stream<Report, NoGoodRun | LE, LR | Exclude<R | CR | BR | TestTape | TapeClient, Provided>> => {
  const { again = "program", beside = Effect.void, checks = [], limit = "7 days", patience = "1 hour", tape } = options
  const subject: Subject<R | CR | BR> = {
    program,
    beside,
    checks: [...checks, noStuck, noUnknown, contiguous] as Subject<R | CR | BR>["checks"],
    again
  }
  const apart = <B, BE, BR>(self: Effect.Effect<B, BE, BR>) =>
    // A fiber of its own, with which all that is started in it ends; and a time of its own.
    Effect.acquireUseRelease(
      Effect.fork(Effect.interruptible(Effect.withClock(Effect.provide(self, tape), live))),
      Fiber.join,
      Fiber.interrupt
    )
  const good = Effect.flatMap(apart(goodRun(subject, Duration.toMillis(limit))), ({ reasons, ...found }) =>
    reasons.length === 0 ? Effect.succeed(found) : new NoGoodRun({ reasons })
  )
  return Stream.unwrap(
    Effect.map(good, ({ journal, runs, tookMs }) =>
      Stream.mapEffect(Stream.fromIterable(Lineage.cuts(Lineage.make(journal), options)), (scenario) =>
        Effect.map(
          apart(trial(subject, scenario, runs, tookMs + Duration.toMillis(patience))),
          (outcome) => new Report({ scenario: scenario.label, ...outcome })
        )
      )
    )
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const live = Clock.make()
