/**
 * The types of reactors, checked by the ordinary `tsc` run.
 */
import { Context, Effect, type Layer, Schema } from "effect"
import type { TapeClient } from "../../src/Client.js"
import type { Connector } from "../../src/Connectors.js"
import * as Durable from "../../src/Durable.js"
import type { TapeError } from "../../src/Errors.js"
import * as Reactors from "../../src/Reactors.js"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => undefined

class Trucks extends Context.Tag("Trucks")<Trucks, { readonly cancel: Effect.Effect<void> }>() {}
class Mail extends Context.Tag("Mail")<Mail, { readonly send: Effect.Effect<void> }>() {}

const Book = Durable.tool("book", {
  input: Schema.String,
  output: Schema.String,
  run: (what) => Effect.succeed(what),
  compensate: () => Effect.flatMap(Trucks, ({ cancel }) => cancel)
})
const Bare = Durable.app("bare", { input: Schema.String, run: (what) => Effect.succeed(what) })
const Booking = Durable.app("booking", { input: Schema.String, tools: [Book], run: (what) => Book(what) })
const Wire = { name: "wire", connector: "bank.wire", compensation: { kind: "reverse" } } as const
const onTimer = () => Effect.flatMap(Mail, ({ send }) => send)
const undo = () => Effect.flatMap(Trucks, ({ cancel }) => cancel)

const bare = Reactors.layer({ apps: [Bare] })
same<typeof bare, Layer.Layer<never, never, TapeClient>>(true)

const all = Reactors.layer({ apps: [Bare, Booking], tools: [Wire], onTimer })
same<Layer.Layer.Context<typeof all>, TapeClient | Trucks | Mail | Connector<"bank.wire">>(true)

const once = Reactors.once({ apps: [Booking], connectors: ["slack"], compaction: { olderThan: "30 days" } })
same<typeof once, Effect.Effect<Reactors.Once, never, TapeClient | Trucks | Connector<"slack">>>(true)

const drained = Reactors.drainOnce({ compensators: { undo } })
same<typeof drained, Effect.Effect<ReadonlyArray<Reactors.Drained>, TapeError, TapeClient | Trucks>>(true)

const fired = Reactors.timersOnce({ onTimer, exclusive: true })
same<typeof fired, Effect.Effect<ReadonlyArray<Reactors.Fired>, TapeError, TapeClient | Mail>>(true)

// Compacting cannot be undone: how old is never guessed.
// @ts-expect-error Property 'olderThan' is missing
Reactors.layerCompaction({})
