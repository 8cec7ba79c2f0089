/**
 * The types of sinks and relays, checked by the ordinary `tsc` run.
 */
import { Config, type ConfigError, Context, Effect, type Layer, Schema } from "effect"
import type { TapeClient } from "../../src/Client.js"
import type { TapeError } from "../../src/Errors.js"
import type { EventEntry } from "../../src/gen/tape/v1/tape_pb.js"
import * as Sinks from "../../src/Sinks.js"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const same = <A, B>(_equal: Equals<A, B>): void => undefined

class Books extends Context.Tag("Books")<Books, { readonly enter: (text: string) => Effect.Effect<void> }>() {}
class NoFile extends Schema.TaggedError<NoFile>()("NoFile", {}) {}

// A journal entry is what a sink takes.
export const taken = (entry: EventEntry): Sinks.Entry => entry

const books = Sinks.fromFunction((entry) => Effect.flatMap(Books, ({ enter }) => enter(entry.subject)))
same<typeof books, Sinks.Sink<never, Books>>(true)

const opened = Sinks.make(
  Effect.as(
    Effect.acquireRelease(Effect.fail(new NoFile()), () => Effect.void),
    (_entries: ReadonlyArray<Sinks.Entry>) => Effect.void
  )
)
const hook = Sinks.webhook({ url: Config.string("AUDIT_URL"), secret: Config.redacted("AUDIT_SECRET"), maxAttempts: 5 })
// @ts-expect-error -- the address is not optional
Sinks.webhook({ maxAttempts: 5 })

type Trouble = Sinks.CursorError | TapeError

// What a sink needs stays in the layer's requirements, without its scope; what opening can fail with, in its errors.
const toBooks = Sinks.layerRelay({ name: "books" }, books)
same<typeof toBooks, Layer.Layer<never, Trouble, TapeClient | Books>>(true)
const toFile = Sinks.layerRelay({ name: "file", pattern: "/tape/**", where: "true" }, opened)
same<typeof toFile, Layer.Layer<never, NoFile | Trouble, TapeClient>>(true)
const toHook = Sinks.layerRelay({ name: "hook", cursor: Sinks.cursorFile({ path: Config.string("CURSOR") }) }, hook)
same<typeof toHook, Layer.Layer<never, ConfigError.ConfigError | Trouble, TapeClient>>(true)
const toAll = Sinks.layerFanOut({ name: "all" }, { books, opened, hook })
same<typeof toAll, Layer.Layer<never, ConfigError.ConfigError | NoFile | Trouble, TapeClient | Books>>(true)

const tick = Sinks.relayOnce({ name: "tick" }, books)
same<typeof tick, Effect.Effect<Sinks.Relayed, Sinks.SinkError | Trouble, TapeClient | Books>>(true)

// @ts-expect-error -- a relay has a name
Sinks.layerRelay({ pattern: "/tape/**" }, books)
// @ts-expect-error -- what to do with poison is one of two
Sinks.layerRelay({ name: "x", onPoison: "drop" }, books)
