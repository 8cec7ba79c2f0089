/**
 * A tape for tests: an engine in memory whose time is the test's, so that two days at a gate take milliseconds.
 *
 * What is written depends on nothing but the program and the clock: the same test writes the same journal, byte for byte.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Journal } from "./tape/journal.js"
import { type State, TestTape } from "./tape/service.js"

export * from "./tape/assertions.js"
export type { Entry, Journal } from "./tape/journal.js"
export { layer, type Options, type Requirements } from "./tape/layer.js"
export { type Life, life, Survived } from "./tape/life.js"
export type { Death } from "./tape/mortal.js"
export { EffectState, ObligationState, Run, type State, TestTape } from "./tape/service.js"
export * from "./tape/waits.js"

/**
 * The journal, as it stands now.
 *
 * @since 0.1.0
 * @category looking
 */
export const journal: Effect.Effect<Journal, never, TestTape> = Effect.flatMap(TestTape, ({ state }) =>
  Effect.map(state, ({ journal }) => journal)
)

/**
 * Runs, effects, obligations and the journal, as they stand now.
 *
 * @since 0.1.0
 * @category looking
 */
export const state: Effect.Effect<State, never, TestTape> = Effect.flatMap(TestTape, ({ state }) => state)
