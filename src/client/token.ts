/**
 * Bearer tokens: given once, or minted when needed.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"

/** A token that says itself how long it is good for. */
export interface Minted {
  readonly token: Redacted.Redacted
  /** When another is to be minted, in milliseconds since 1970. */
  readonly renewAt: number
}

/** A token, or how to mint one. */
export type Token = Redacted.Redacted | Effect.Effect<Redacted.Redacted | Minted, { readonly message: string }>

export interface Bearer {
  /** The value of the `authorization` header, or the sentence that says why there is none. */
  readonly header: Effect.Effect<string, string>
  /** The tape did not accept the token: mint another for the next call. */
  readonly refused: Effect.Effect<void>
}

/**
 * Mints in a fiber of the scope, which all callers wait for: one that goes away does not take the token from the others.
 * A token is kept for as long as it says, else for `keep`; a failure is not kept.
 */
export const make = (token: Token, keep: Duration.DurationInput): Effect.Effect<Bearer, never, Scope.Scope> => {
  if (Redacted.isRedacted(token)) {
    return Effect.succeed({ header: Effect.succeed(`Bearer ${Redacted.value(token)}`), refused: Effect.void })
  }
  return Effect.scopeWith((scope) => {
    const keepMs = Duration.toMillis(keep)
    const mint = Effect.flatMap(Clock.currentTimeMillis, (now) =>
      token.pipe(
        Effect.mapError((error) => `a token could not be minted: ${error.message}`),
        Effect.timeoutFail({ duration: mintTimeout, onTimeout: () => "a token could not be minted in time" }),
        Effect.map(
          (minted): Minted => (Redacted.isRedacted(minted) ? { token: minted, renewAt: now + keepMs } : minted)
        ),
        Effect.catchAllDefect(() => Effect.fail("a token could not be minted"))
      )
    )
    return Effect.map(
      Effect.cachedInvalidateWithTTL(Effect.forkIn(mint, scope), Duration.infinity),
      ([minting, forget]) => {
        let latest: Minted | undefined
        let replaced: Minted | undefined
        const current = Effect.flatMap(minting, Fiber.join).pipe(
          Effect.tapBoth({
            onFailure: () => forget,
            onSuccess: (minted) =>
              Effect.sync(() => {
                latest = minted
              })
          })
        )
        return {
          header: Effect.flatMap(Clock.currentTimeMillis, (now) => {
            if (latest === undefined || latest === replaced || now < latest.renewAt) return current
            // Once for all that find it so.
            replaced = latest
            return Effect.zipRight(forget, current)
          }).pipe(Effect.map(({ token }) => `Bearer ${Redacted.value(token)}`)),
          refused: forget
        }
      }
    )
  })
}

// ---- internal ----

const mintTimeout = Duration.seconds(15)
