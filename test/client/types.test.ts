import { type Context, Effect, type Stream } from "effect"
import { describe, expectTypeOf, it } from "vitest"
import type * as Client from "../../src/Client.js"
import type { NotFound, TapeError } from "../../src/Errors.js"
import type { BeginRunResponse, EventEntry, Tape } from "../../src/gen/tape/v1/tape_pb.js"

declare const tape: Context.Tag.Service<Client.TapeClient>

// none of these functions is run: the compiler is the test
describe("the types of the client", () => {
  it("are those of the contract", () => {
    expectTypeOf<keyof typeof tape>().toEqualTypeOf<keyof (typeof Tape)["method"]>()
    expectTypeOf<ReturnType<typeof tape.beginRun>>().toEqualTypeOf<Effect.Effect<BeginRunResponse, TapeError>>()
    expectTypeOf<ReturnType<typeof tape.subscribeBySubject>>().toEqualTypeOf<Stream.Stream<EventEntry, TapeError>>()
    expectTypeOf<ReturnType<typeof Client.tailBySubject>>().toEqualTypeOf<
      Stream.Stream<EventEntry, TapeError, Client.TapeClient>
    >()
  })

  it("refuse unknown fields, wrong types and unknown methods, and narrow errors", () => {
    const unused = () => {
      // @ts-expect-error: no such field
      void tape.getRun({ runid: "r" })
      // @ts-expect-error: a number is not an int64
      void tape.subscribeRun({ fromSeq: 1 })
      // @ts-expect-error: no such method
      void tape.beginRuns({})
      return tape.getRun({ runId: "r" }).pipe(
        Effect.catchTag("NotFound", (error) => {
          expectTypeOf(error).toEqualTypeOf<NotFound>()
          return Effect.void
        })
      )
    }
    expectTypeOf<Effect.Effect.Error<ReturnType<typeof unused>>>().toEqualTypeOf<Exclude<TapeError, NotFound>>()
  })
})
