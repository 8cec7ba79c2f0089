/**
 * A conformance scenario is data: an id, and a program that needs nothing but a {@link TapeClient}. The same list runs
 * under vitest over every way to reach a tape, and can run against any `tape.v1` server.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { YieldWrap } from "effect/Utils"
import type { TapeClient } from "../../src/Client.js"
import { type World, world } from "./Fixtures.js"

/** What a scenario may ask of the place that runs it, beyond its client. */
export class Probe extends Context.Tag("effect-tape/test/Probe")<
  Probe,
  {
    /** A client on a connection of its own; where there are no connections, the client itself. */
    readonly connect: Effect.Effect<Context.Tag.Service<typeof TapeClient>, unknown, Scope.Scope>
  }
>() {}

export interface Scenario {
  readonly id: string
  readonly priority: "P0" | "P1" | "P2"
  /** `wire`: against any server; `half`: true only until the engine's other half answers. */
  readonly level: "wire" | "half"
  readonly title: string
  readonly run: Effect.Effect<void, unknown, TapeClient | Probe>
}

type Body = (
  w: World
) => Generator<YieldWrap<Effect.Effect<unknown, unknown, TapeClient | Probe | Scope.Scope>>, void, never>

/** A scenario of the contract: it gets a world of its own, so it needs no empty store. */
export const scenario = (id: string, priority: Scenario["priority"], title: string, body: Body): Scenario => ({
  id,
  priority,
  level: "wire",
  title,
  run: Effect.scoped(Effect.flatMap(world, (w) => Effect.gen(() => body(w))))
})

/** A scenario that holds while parts of the contract are not answered yet. */
export const interim = (id: string, title: string, body: Body): Scenario => ({
  ...scenario(id, "P0", title, body),
  level: "half"
})
