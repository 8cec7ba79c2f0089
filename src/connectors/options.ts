import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"

/**
 * Options of which each may also be read from the configuration.
 *
 * @since 0.1.0
 * @category models
 */
export type ConfigOr<A> = { readonly [K in keyof A]: A[K] | Config.Config<Exclude<A[K], undefined>> }

/** Reads those options that are a `Config`. */
export const resolve = <A extends object>(options: ConfigOr<A>): Effect.Effect<A, ConfigError.ConfigError> =>
  Effect.map(
    Effect.forEach(Object.entries(options), ([key, value]) =>
      Effect.map(Config.isConfig(value) ? value : Effect.succeed(value), (value) => [key, value] as const)
    ),
    // Key by key what ConfigOr<A> promises; Object.entries forgets the keys.
    (entries) => Object.fromEntries(entries) as A
  )
