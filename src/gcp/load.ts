/** Google's packages: loaded when a layer is built, called with their failures typed. */
import * as Effect from "effect/Effect"
import { type GoogleError, googleError, MissingDependency, SetupFailed, sentenceOf } from "./errors.js"

/** Loads an optional peer. */
export const load = <A>(name: string, load: () => Promise<A>): Effect.Effect<A, MissingDependency | SetupFailed> =>
  Effect.tryPromise({
    try: load,
    catch: (cause) => (isMissing(cause, name) ? new MissingDependency({ package: name, cause }) : unusable(name, cause))
  })

/** Sets a client up. */
export const setUp = <A>(name: string, make: () => Promise<A>): Effect.Effect<A, SetupFailed> =>
  Effect.tryPromise({ try: make, catch: (cause) => unusable(name, cause) })

export const call = <A>(name: string, resource: string, send: () => Promise<A>): Effect.Effect<A, GoogleError> =>
  Effect.tryPromise({ try: send, catch: (cause) => googleError(name, resource, cause) })

/** Closes a client at the end of a scope: what fails there fails nobody. */
export const close = (end: () => Promise<unknown>): Effect.Effect<void> => Effect.ignore(Effect.tryPromise(end))

const unusable = (name: string, cause: unknown): SetupFailed =>
  new SetupFailed({ package: name, detail: sentenceOf(cause), cause })

/** It itself, not a package that it needs in turn. */
const isMissing = (cause: unknown, name: string): boolean =>
  cause instanceof Error &&
  "code" in cause &&
  (cause.code === "ERR_MODULE_NOT_FOUND" || cause.code === "MODULE_NOT_FOUND") &&
  cause.message.includes(`'${name}'`)
