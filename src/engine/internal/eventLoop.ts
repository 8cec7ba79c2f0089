import * as Effect from "effect/Effect"

/**
 * Lets Node handle the input that is ready before going on. A microtask (`Effect.yieldNow`) would run before it: a
 * batch would close after the first of many calls that have already arrived.
 */
export const yieldToEventLoop: Effect.Effect<void> = Effect.async((resume) => {
  const handle = setImmediate(() => resume(Effect.void))
  return Effect.sync(() => clearImmediate(handle))
})
