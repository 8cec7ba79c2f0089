/**
 * The types of reactions, checked by the ordinary `tsc` run.
 */
import { Context, Effect, type Layer, Schema } from "effect"
import type { TapeClient } from "../../src/Client.js"
import type { TapeError } from "../../src/Errors.js"
import * as Reactions from "../../src/Reactions.js"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => undefined

class Book extends Context.Tag("Book")<Book, { readonly reprice: (rate: number) => Effect.Effect<void> }>() {}
class Pager extends Context.Tag("Pager")<Pager, { readonly call: (text: string) => Effect.Effect<void> }>() {}
class Broker extends Context.Tag("Broker")<Broker, { readonly send: (text: string) => Effect.Effect<void> }>() {}

const Repricing = Reactions.onValueChanged("reprice", {
  namespace: "treasury",
  key: "fx",
  value: Schema.NumberFromString,
  where: "double(payload.value.value_json) > 1.1",
  maxConcurrency: 8,
  debounce: "500 millis",
  run: ({ task, value, version }) => {
    same<typeof value, number>(true)
    same<typeof version, bigint>(true)
    same<typeof task.attempts, number>(true)
    return Effect.flatMap(Book, (book) => book.reprice(value))
  }
})
same<typeof Repricing, Reactions.Reaction<Book>>(true)

const Raw = Reactions.onValueChanged("raw", {
  namespace: "treasury",
  run: ({ value }) => {
    same<typeof value, unknown>(true)
    return Effect.void
  }
})
same<typeof Raw, Reactions.Reaction>(true)

const Paging = Reactions.onEffectUnknown("page", {
  run: ({ tool }) => Effect.flatMap(Pager, (pager) => pager.call(tool))
})
const Followup = Reactions.onRun("followup", { status: "failed", agent: "followup" })
same<typeof Followup, Reactions.Reaction>(true)
const Announced = Reactions.on("announced", { pattern: "/tape/policy", publish: "topic" })

const Reacting = Reactions.layer([Repricing, Raw, Paging, Followup, Announced], { app: "test" })
same<typeof Reacting, Layer.Layer<never, TapeError | Reactions.ReactionMisconfigured, TapeClient | Book | Pager>>(true)

const Publishing = Reactions.layer([Raw, Announced], {
  app: "test",
  publish: ({ task }) => Effect.flatMap(Broker, (broker) => broker.send(task.payloadJson))
})
same<Layer.Layer.Context<typeof Publishing>, TapeClient | Broker>(true)

const pass = Reactions.dispatchOnce([Repricing], { app: "test" })
same<Effect.Effect.Context<typeof pass>, TapeClient | Book>(true)

// --- the mistakes ---

// @ts-expect-error ids are made of the app
Reactions.layer([Repricing], {})

// @ts-expect-error both
Reactions.onRun("both", { agent: "a", publish: "p" })
// @ts-expect-error nothing to do
Reactions.onRun("none", { status: "failed" })
// @ts-expect-error no namespace
Reactions.onValueChanged("bare", { run: () => Effect.void })
// @ts-expect-error a gate has no such verb
Reactions.onGate("odd", { verb: "opened", run: () => Effect.void })
