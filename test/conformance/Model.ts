/** Random sequences of calls against a small model of what they must do. */
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Runtime from "effect/Runtime"
import type { TapeError, Unmet } from "./Expect.js"
import type { World } from "./Fixtures.js"

/** How the commands of one model are drawn, and how a sequence of them is run; the name is of this sequence alone. */
export interface Model<Command> {
  readonly command: FastCheck.Arbitrary<Command>
  readonly run: (w: World, name: string, commands: ReadonlyArray<Command>) => Effect.Effect<void, TapeError | Unmet>
}

/** Runs that many sequences; fails with the shortest one that goes wrong. */
export const check = <Command>(w: World, { command, run }: Model<Command>, sequences: number): Effect.Effect<void> =>
  Effect.flatMap(Effect.runtime(), (runtime) => {
    let nth = 0
    const property = FastCheck.asyncProperty(FastCheck.array(command, { maxLength: 20 }), (commands) =>
      Runtime.runPromise(runtime)(run(w, `sequence-${nth++}`, commands))
    )
    return Effect.promise(() => FastCheck.assert(property, { numRuns: sequences }))
  })
