import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Client from "../../Client.js"
import type * as Connectors from "../../Connectors.js"
import * as Lease from "../../durable/lease.js"
import type { AnyApp } from "../../durable/types.js"
import * as Engine from "../../engine/Engine.js"
import * as Ids from "../../engine/Ids.js"
import { Store } from "../../engine/store/Store.js"
import * as SqliteStore from "../../engine/store/sqlite/SqliteStore.js"
import { Rests } from "../../internal/rest.js"
import * as Outbox from "../../Outbox.js"
import * as Reactors from "../../Reactors.js"
import * as Failpoint from "../Failpoint.js"
import type * as TestConnector from "../TestConnector.js"
import { layer as counterparties } from "../TestConnector.js"
import { outer, TapeClock } from "./clock.js"
import { Daemons, supervised } from "./daemons.js"
import { Fate } from "./mortal.js"
import { News, rests } from "./news.js"
import { Pulse } from "./pulse.js"
import { make, TestTape } from "./service.js"

/**
 * What a test's tape is made of.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<
  C extends { readonly [name: string]: TestConnector.TestConnector },
  Apps extends ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<Reactors.UndoableTool>
> {
  /** The counterparties, by the names that tools have for them. With any of them a dispatcher runs. Defaults to none. */
  readonly connectors?: C | undefined
  /** The apps whose runs are recovered, redriven and undone; their tools are known to the dispatcher. Defaults to none. */
  readonly apps?: Apps | undefined
  /** Tools that no app lists. Defaults to none. */
  readonly tools?: Tools | undefined
  /** Settings of the dispatcher; `false`: none runs. Defaults to no jitter, and no grace for what is in flight at the end. */
  readonly dispatcher?: Omit<Outbox.LoopOptions, "tools" | "connectors"> | false | undefined
  /** Settings of the reactors; `false`: none run. Defaults to all of them, without compaction. */
  readonly reactors?:
    | Omit<Reactors.Options, "apps" | "tools" | "connectors" | "compensators" | "onTimer">
    | false
    | undefined
  /** Settings of the engine. */
  readonly engine?: Engine.EngineOptions | undefined
  /**
   * Where the engine fails, sleeps or dies, for all processes alike. What `Failpoint.layer` would refuse is a defect here.
   * Defaults to nowhere.
   */
  readonly failpoints?: Failpoint.Points | undefined
  /** Ids count from it, and random numbers are drawn from it. Defaults to 1. */
  readonly seed?: number | undefined
}

/**
 * What apps and tools need besides the tape and the connectors that are given.
 *
 * @since 0.1.0
 * @category type-level
 */
export type Requirements<
  C,
  Apps extends ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<Reactors.UndoableTool>
> = Exclude<
  Reactors.Requirements<Apps, Tools, never, never, never>,
  Client.TapeClient | Connectors.Named<keyof C & string>
>

/**
 * A tape in memory, on a `TestClock` of its own, with seeded ids and random numbers, and what makes it go: a dispatcher for
 * the connectors, and all reactors. The same layers as in production can stand over it instead of the built-in ones.
 *
 * - `TestClock.adjust` and the like move this clock (and the test's, if there is one). It begins where the test's stands,
 *   else at 0. Between two moments everything settles first; looks at the tape that would find nothing are left out, so
 *   that a day costs what happens in it.
 * - The clock does not know of real input and output: what goes over a socket or to a disk meanwhile is not waited for.
 * - The dispatcher and the drainer begin with the layer; whatever is stored is gone with its scope.
 *
 * @example
 * import { Durable, Outbox } from "effect-tape"
 * import { TestConnector, TestTape } from "effect-tape/testing"
 * import { Effect, Schema, TestClock } from "effect"
 *
 * const SendMail = Outbox.tool("send_mail", {
 *   connector: "mail",
 *   semantics: "non_idempotent",
 *   input: Schema.Struct({ to: Schema.String }),
 *   output: Schema.Struct({ id: Schema.String }),
 *   businessKey: ({ to }) => to,
 *   waitForResult: true
 * })
 *
 * const Remind = Durable.app("remind", {
 *   input: Schema.String,
 *   output: Schema.Struct({ id: Schema.String }),
 *   tools: [SendMail],
 *   *run(to) {
 *     yield* Durable.sleep("7 days")
 *     return yield* SendMail({ to })
 *   }
 * })
 *
 * export const test = Effect.gen(function* () {
 *   const fiber = yield* Effect.fork(Remind.start({ user: "u", session: "s", invocation: "i" }, "ann@example.org"))
 *   yield* TestTape.awaitGate("sleep/0")
 *   yield* TestClock.adjust("7 days")
 *   yield* fiber
 *   yield* TestTape.exactlyOnce("mail")
 * }).pipe(Effect.provide(TestTape.layer({ connectors: { mail: TestConnector.confirms() } })))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <
  const C extends { readonly [name: string]: TestConnector.TestConnector } = Record<never, never>,
  const Apps extends ReadonlyArray<AnyApp> = readonly [],
  const Tools extends ReadonlyArray<Reactors.UndoableTool> = readonly []
>(
  options: Options<C, Apps, Tools> = {}
): Layer.Layer<
  Client.TapeClient | TestTape | TestConnector.Ledgers | Connectors.Named<keyof C & string>,
  never,
  Requirements<C, Apps, Tools>
> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const seed = options.seed ?? 1
      const pulse = new Pulse()
      const outside = yield* outer
      const clock = new TapeClock(pulse, outside?.unsafeCurrentTimeMillis() ?? 0, outside)
      const news = new News()
      // From here on, for as long as the scope lasts, everything that is started lives by these.
      yield* Effect.locallyScoped(FiberRef.currentScheduler, pulse)
      yield* Effect.withClockScoped(clock)
      yield* Effect.withRandomScoped(Random.make(seed))
      yield* Effect.addFinalizer(() => clock.close)

      const stored = Layer.effect(Store, Effect.map(Store, news.of)).pipe(
        Layer.provide(SqliteStore.layer({ url: "memory:" })),
        Layer.provide(Ids.layerSeeded(seed))
      )
      const served = Layer.provideMerge(
        Client.layerHandlers(
          // A failpoint that cannot be is a mistake in the test's own text.
          Effect.flatMap(Engine.Engine, (engine) =>
            Effect.orDie(Failpoint.handlers(engine, options.failpoints ?? {}, { seed }))
          ),
          // What is away here is closed.
          { retry: Schedule.stop }
        ),
        Engine.layer(options.engine)
      )
      const context = yield* Layer.build(Layer.provideMerge(served, stored)).pipe(
        // A temporary file of the test's own: that it cannot be made is nothing that a test could answer.
        Effect.orDie
      )
      const store = Context.get(context, Store)
      // Without connectors there is no name to be provided.
      const connected = yield* Layer.build(counterparties(options.connectors ?? ({} as C)))
      const fate = new Fate()
      const tape = Context.pick(Client.TapeClient)(context).pipe(
        Context.add(TestTape, make(store, news, clock)),
        Context.add(Rests, rests(clock, news)),
        Context.add(Lease.Settings, { owner: "test" }),
        Context.add(Daemons, { fate }),
        Context.merge(connected)
      )
      yield* supervised(Context.get(tape, Client.TapeClient), fate, (client) =>
        Effect.mapInputContext(
          Layer.build(loops(options)),
          (outside: Context.Context<Outside<C, Apps, Tools>>) =>
            // What is not of this tape is what the caller provides.
            Context.merge(outside, Context.add(tape, Client.TapeClient, client)) as Context.Context<
              Inside<C, Apps, Tools>
            >
        )
      )
      return tape
    })
  )

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

type Inside<C, Apps extends ReadonlyArray<AnyApp>, Tools extends ReadonlyArray<Reactors.UndoableTool>> =
  | Reactors.Requirements<Apps, Tools, keyof C & string, never, never>
  | Scope.Scope

type Outside<C, Apps extends ReadonlyArray<AnyApp>, Tools extends ReadonlyArray<Reactors.UndoableTool>> =
  | Requirements<C, Apps, Tools>
  | Scope.Scope

const loops = <
  C extends { readonly [name: string]: TestConnector.TestConnector },
  Apps extends ReadonlyArray<AnyApp>,
  Tools extends ReadonlyArray<Reactors.UndoableTool>
>({
  apps,
  connectors,
  dispatcher,
  reactors,
  tools
}: Options<C, Apps, Tools>) => {
  const known = [...(tools ?? []), ...(apps ?? []).flatMap((app) => app.tools)]
  const names = Object.keys(connectors ?? {})
  const dispatching =
    names.length === 0 || dispatcher === false
      ? Layer.empty
      : Outbox.layer({ jitter: false, grace: 0, ...dispatcher, tools: known, connectors: names })
  const reacting =
    reactors === false
      ? Layer.empty
      : Reactors.layer({
          ...reactors,
          obligations: reactors?.obligations === false ? false : { jitter: false, grace: 0, ...reactors?.obligations },
          apps: apps ?? [],
          tools: tools ?? [],
          connectors: names
        })
  // What these apps and tools need is read off their own types; a list of them widens it to unknown.
  return Layer.merge(dispatching, reacting) as Layer.Layer<
    never,
    never,
    Reactors.Requirements<Apps, Tools, keyof C & string, never, never>
  >
}
