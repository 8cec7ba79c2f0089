import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { TapeClient } from "../../Client.js"
import { type Fate, mortal } from "./mortal.js"

/** What works beside the program on a test's tape, its dispatcher and its reactors: one process, which can die. */
export class Daemons extends Context.Tag("effect-tape/testing/TestTape/Daemons")<
  Daemons,
  {
    /** What kills them. They are started again at once. */
    readonly fate: Fate
  }
>() {}

type Service = TapeClient["Type"]

/** Starts them, and starts them again each time that they died. */
export const supervised = <R>(
  tape: Service,
  fate: Fate,
  start: (client: Service) => Effect.Effect<unknown, never, R | Scope.Scope>
): Effect.Effect<void, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const outer = yield* Effect.scope
    const born = Effect.gen(function* () {
      const scope = yield* Scope.fork(outer, ExecutionStrategy.sequential)
      const { client, died } = yield* mortal(tape, "daemons", fate)
      yield* Scope.extend(start(client), scope)
      return { died, scope }
    })
    const first = yield* born
    const reborn = ({ died, scope }: typeof first) =>
      // Not waited for: what they do in dying nobody hears.
      died.pipe(Effect.zipRight(Effect.forkDaemon(Scope.close(scope, Exit.void))), Effect.zipRight(born))
    yield* Effect.forkScoped(Effect.iterate(first, { while: () => true, body: reborn }))
  })
