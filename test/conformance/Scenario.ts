/**
 * A conformance scenario is data: an id, and a program that needs nothing but a {@link TapeClient}. The same list runs
 * under vitest over every way to reach a tape, and can run against any `tape.v1` server.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { YieldWrap } from "effect/Utils"
import type { TapeClient } from "effect-tape"
import { type World, world } from "./Fixtures.js"

/** What a scenario may ask of the place that runs it, beyond its client. */
export class Probe extends Context.Tag("effect-tape/test/Probe")<
  Probe,
  {
    /** A client on a connection of its own; where there are no connections, the client itself. */
    readonly connect: Effect.Effect<Context.Tag.Service<typeof TapeClient>, unknown, Scope.Scope>
    /** A client for unary calls that adds no request id of its own, and sends those that it is given. */
    readonly asIs: Effect.Effect<Context.Tag.Service<typeof TapeClient>, unknown, Scope.Scope>
  }
>() {}

export interface Scenario {
  readonly id: string
  readonly priority: "P0" | "P1" | "P2"
  /** `wire`: against any server; `scope`: against one that requires scopes. */
  readonly level: "wire" | "scope"
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

/** A scenario of a server with `requireScope`. */
export const requiringScope = (id: string, priority: Scenario["priority"], title: string, body: Body): Scenario => ({
  ...scenario(id, priority, title, body),
  level: "scope"
})
