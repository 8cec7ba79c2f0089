/**
 * Bearer tokens: given once, or minted when needed.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Status } from "../Errors.js"
import { clientClosed, type Reason } from "./transport.js"

/** A token that says itself how long it is good for. */
export interface Minted {
  readonly token: Redacted.Redacted
  /** When another is to be minted, in milliseconds since 1970. */
  readonly renewAt: number
}

/** A token, or how to mint one. */
export type Token = Redacted.Redacted | Effect.Effect<Redacted.Redacted | Minted, { readonly message: string }>

export interface Bearer {
  /** The value of the `authorization` header, or why a call cannot have one. */
  readonly header: Effect.Effect<string, Reason>
  /** The tape did not accept the token: mint another for the next call. */
  readonly refused: Effect.Effect<void>
}

/**
 * Mints in a fiber of the scope, which all callers wait for: one that goes away does not take the token from the others.
 * A token is kept for as long as it says, else for `keep`; a failure is not kept.
 */
export const make = (token: Token, keep: Duration.DurationInput): Effect.Effect<Bearer, never, Scope.Scope> => {
  if (Redacted.isRedacted(token)) {
    return Effect.succeed({ header: headerOf(token), refused: Effect.void })
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
        Effect.catchAllCause((cause) =>
          Effect.fail(Option.getOrElse(Cause.failureOption(cause), () => "a token could not be minted"))
        ),
        Effect.mapError((detail): Reason => ({ code: Status.Unauthenticated, detail }))
      )
    )
    return Effect.map(
      Effect.cachedInvalidateWithTTL(Effect.forkIn(mint, scope), Duration.infinity),
      ([minting, forget]) => {
        let latest: Minted | undefined
        let replaced: Minted | undefined
        const current = Effect.flatMap(minting, joined).pipe(
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
          }).pipe(Effect.flatMap(({ token }) => headerOf(token))),
          refused: forget
        }
      }
    )
  })
}

// ---- internal ----

const mintTimeout = Duration.seconds(15)

/** What the fiber mints. One that was interrupted went away with the client, not with the call that waits for it. */
const joined = (minting: Fiber.Fiber<Minted, Reason>): Effect.Effect<Minted, Reason> =>
  Effect.flatMap(Fiber.await(minting), (exit) => (Exit.isInterrupted(exit) ? Effect.fail(clientClosed) : exit))

const headerOf = (token: Redacted.Redacted): Effect.Effect<string, Reason> => {
  const text = Redacted.value(token)
  return /^[ -~]+$/.test(text)
    ? Effect.succeed(`Bearer ${text}`)
    : Effect.fail({
        code: Status.Unauthenticated,
        detail: "the token cannot be sent: it must be printable ASCII text"
      })
}
