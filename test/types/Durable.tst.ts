/**
 * What a user's hover and a user's mistakes look like: this file is checked by the ordinary `tsc` run.
 */
import { Context, Effect, Option, Schema } from "effect"
import type { TapeClient } from "../../src/Client.js"
import * as Durable from "../../src/Durable.js"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => undefined

class NoTruck extends Schema.TaggedError<NoTruck>()("NoTruck", { day: Schema.String }) {}
class Trucks extends Context.Tag("test/Trucks")<
  Trucks,
  { readonly book: (from: string, key: string) => Effect.Effect<{ readonly ref: string }, NoTruck> }
>() {}
class Fuel extends Context.Tag("test/Fuel")<Fuel, { readonly litres: Effect.Effect<number> }>() {}

const Booked = Schema.Struct({ ref: Schema.String })

const BookTruck = Durable.tool("book_truck", {
  input: Schema.Struct({ from: Schema.String }),
  output: Booked,
  error: NoTruck,
  run: ({ from }, call) => Effect.flatMap(Trucks, (trucks) => trucks.book(from, call.idempotencyKey)),
  statusCheck: (call) =>
    Effect.as(
      Effect.flatMap(Fuel, (fuel) => fuel.litres),
      Option.some({ ref: call.runId })
    )
})
same<
  ReturnType<typeof BookTruck>,
  Effect.Effect<
    { readonly ref: string },
    NoTruck | Durable.EffectFailed | Durable.EffectUnknown,
    Trucks | Fuel | Durable.CurrentRun | Durable.Uses<"book_truck">
  >
>(true)

// --- an app: five ways to write run, one inference ---

const ids = { user: "u", session: "s", invocation: "i" }
const input = Schema.Struct({ invoice: Schema.String })

const Bare = Durable.app("bare", {
  input,
  tools: [BookTruck],
  *run({ invoice }) {
    const plan = yield* Durable.decide(
      { model: "m", request: invoice, response: Schema.Struct({ from: Schema.String }) },
      Effect.succeed({ from: invoice })
    )
    const truck = yield* BookTruck({ from: plan.from })
    return truck.ref
  }
})
type Ran = Effect.Effect<
  string,
  NoTruck | Durable.EffectFailed | Durable.EffectUnknown | Durable.RunError,
  Trucks | Fuel | TapeClient
>
same<ReturnType<typeof Bare.start>, Ran>(true)

const Fn = Durable.app("fn", {
  input,
  tools: [BookTruck],
  run: Effect.fn(function* ({ invoice }) {
    return (yield* BookTruck({ from: invoice })).ref
  })
})
same<ReturnType<typeof Fn.start>, Ran>(true)

const NamedFn = Durable.app("named", {
  input,
  tools: [BookTruck],
  run: Effect.fn("named")(function* ({ invoice }) {
    return (yield* BookTruck({ from: invoice })).ref
  })
})
same<ReturnType<typeof NamedFn.start>, Ran>(true)

const Untraced = Durable.app("untraced", {
  input,
  tools: [BookTruck],
  run: Effect.fnUntraced(function* ({ invoice }) {
    return (yield* BookTruck({ from: invoice })).ref
  })
})
same<ReturnType<typeof Untraced.start>, Ran>(true)

const Arrow = Durable.app("arrow", {
  input,
  tools: [BookTruck],
  run: ({ invoice }) => Effect.map(BookTruck({ from: invoice }), (truck) => truck.ref)
})
same<ReturnType<typeof Arrow.start>, Ran>(true)

// --- an outcome that is journaled ---

const Journaled = Durable.app("journaled", {
  input,
  output: Schema.String,
  error: NoTruck,
  tools: [BookTruck],
  *run({ invoice }) {
    yield* Effect.acquireRelease(Effect.void, () => Effect.void)
    return (yield* BookTruck({ from: invoice })).ref
  }
})
same<ReturnType<typeof Journaled.start>, Ran>(true)
same<ReturnType<typeof Journaled.redrive>, Ran>(true)

const Silent = Durable.app("silent", { input, run: () => Effect.void })
same<ReturnType<typeof Silent.start>, Effect.Effect<void, Durable.RunError, TapeClient>>(true)

const sampled = Durable.sample("price", Schema.Number, Effect.fail("down" as const))
same<typeof sampled, Effect.Effect<number, "down", Durable.CurrentRun>>(true)

// --- the mistakes ---

// An unlisted tool.
Durable.app("unlisted", {
  input,
  // @ts-expect-error run calls "book_truck": add it to tools, or recovery cannot settle it
  tools: [],
  *run({ invoice }) {
    return yield* BookTruck({ from: invoice })
  }
})
Durable.app("unlisted_arrow", {
  input,
  // @ts-expect-error run calls "book_truck": add it to tools, or recovery cannot settle it
  tools: [],
  run: ({ invoice }) => BookTruck({ from: invoice })
})

// A failure that the error schema does not describe.
Durable.app("undeclared", {
  input,
  // @ts-expect-error run fails with more than the error schema describes
  error: Schema.String,
  tools: [BookTruck],
  *run({ invoice }) {
    return yield* BookTruck({ from: invoice })
  }
})

// A result that the output schema does not describe.
Durable.app("unfit", {
  input,
  output: Schema.Number,
  // @ts-expect-error Type 'string' is not assignable to type 'number'
  *run({ invoice }) {
    return yield* Effect.succeed(invoice)
  }
})

// A gate times out only when a timeout is given.
const answered: Effect.Effect<string, never, Durable.CurrentRun> = Durable.gate("cfo", { resolution: Schema.String })
const inTime: Effect.Effect<string, Durable.GateTimedOut, Durable.CurrentRun> = Durable.gate("cfo", {
  resolution: Schema.String,
  timeout: "2 days"
})
// @ts-expect-error GateTimedOut is not assignable to never
const never: Effect.Effect<string, never, Durable.CurrentRun> = Durable.gate("cfo", {
  resolution: Schema.String,
  timeout: "2 days"
})

// Compensation ends the program, and fails with nothing that it could handle.
const undone: Effect.Effect<never, never, Durable.CurrentRun> = Durable.compensate

// A gate's failure needs no place in the error schema.
Durable.app("impatient", {
  input,
  error: NoTruck,
  *run() {
    return yield* Durable.gate("cfo", { resolution: Schema.String, timeout: "2 days" })
  }
})

// A tool outside a run.
// @ts-expect-error Type 'CurrentRun' is not assignable to type 'never'
Effect.runPromise(Effect.provide(BookTruck({ from: "x" }), Context.empty() as Context.Context<Trucks | Fuel>))

// A body that fails with what the tool does not declare.
Durable.tool("loud", {
  input: Schema.Struct({}),
  output: Schema.String,
  error: NoTruck,
  // @ts-expect-error Type 'string' is not assignable to type 'NoTruck | AckLost'
  run: () => Effect.fail("no")
})

export const used = [answered, inTime, never, undone, Bare.start(ids, { invoice: "i" })]
