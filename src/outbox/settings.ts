import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { processName } from "../internal/processName.js"
import { Belongings } from "./belonging.js"
import type { Outcome } from "./outcome.js"
import type { ToolLike } from "./ToolLike.js"

/**
 * How effects are dispatched.
 *
 * @since 0.1.0
 * @category models
 */
export interface DispatchOptions<
  Tools extends ReadonlyArray<ToolLike> = ReadonlyArray<ToolLike>,
  Names extends string = string
> {
  /** The tools of this program: their connectors are required, their compensations and limits honoured. */
  readonly tools?: Tools | undefined
  /** More connectors to require, for effects that other programs recorded. */
  readonly connectors?: ReadonlyArray<Names> | undefined
  /** The name claims are made under. Defaults to `TAPE_DISPATCH_CLAIMER`, else `host:pid`, with a random part. */
  readonly claimer?: string | undefined
  /** How long a claim lasts. Defaults to 60 seconds; less than 5 seconds counts as 5. */
  readonly claimTtl?: Duration.DurationInput | undefined
  /** For tests: allows a `claimTtl` below 5 seconds. Defaults to `false`. */
  readonly allowShortClaims?: boolean | undefined
  /** How many effects of one connector are dispatched at a time. Defaults to 8. */
  readonly parallelism?: number | undefined
  /** After how many failed attempts an effect is FAILED. A tool's own limit goes first. Defaults to 5. */
  readonly maxAttempts?: number | undefined
  /** How often an accepted effect is observed before it is UNKNOWN. Defaults to 60: about an hour. */
  readonly maxChecks?: number | undefined
  /** Spreads back-off by ±20 %. Defaults to `true`. */
  readonly jitter?: boolean | undefined
  /**
   * Whether an *idempotent* effect with an unknown outcome is sent again with its key, and UNKNOWN only after
   * `maxAttempts`. Defaults to `false`: it waits, UNKNOWN, for the reconciler.
   */
  readonly retryUnknown?: boolean | undefined
  /** How long an interruption waits for effects in flight to be recorded. Defaults to 10 seconds. */
  readonly grace?: Duration.DurationInput | undefined
  /** Told of every outcome. It cannot fail, and is waited for. */
  readonly onOutcome?: ((outcome: Outcome) => Effect.Effect<unknown>) | undefined
}

/** {@link DispatchOptions} with nothing left open. */
export interface Settings {
  readonly tools: ReadonlyMap<string, ToolLike>
  readonly names: ReadonlySet<string>
  readonly claimer: string
  readonly belongings: Belongings
  readonly ttl: number
  readonly parallelism: number
  readonly maxAttempts: number
  readonly maxChecks: number
  readonly jitter: boolean
  readonly retryUnknown: boolean
  readonly grace: Duration.DurationInput
  readonly onOutcome: (outcome: Outcome) => Effect.Effect<unknown>
}

export const resolve = (options: DispatchOptions): Effect.Effect<Settings> =>
  Effect.map(claimerOf(options), (claimer) => {
    const ttl = Duration.toMillis(options.claimTtl ?? "60 seconds")
    const tools = options.tools ?? []
    return {
      tools: new Map(tools.map((tool) => [tool.name, tool])),
      names: new Set([
        ...tools.flatMap((tool) => (tool.connector === undefined ? [] : [tool.connector])),
        ...(options.connectors ?? [])
      ]),
      claimer,
      belongings: new Belongings(),
      ttl: Math.max(ttl, options.allowShortClaims === true ? 1 : 5000),
      parallelism: Math.max(1, options.parallelism ?? 8),
      maxAttempts: Math.max(1, options.maxAttempts ?? 5),
      maxChecks: Math.max(1, options.maxChecks ?? 60),
      jitter: options.jitter ?? true,
      retryUnknown: options.retryUnknown ?? false,
      grace: options.grace ?? "10 seconds",
      onOutcome: options.onOutcome ?? (() => Effect.void)
    }
  })

const claimerOf = ({ claimer }: DispatchOptions): Effect.Effect<string> =>
  claimer === undefined ? processName("TAPE_DISPATCH_CLAIMER") : Effect.succeed(claimer)

/** The wait after the nth failure: 1, 2, 4 … 60 seconds, in milliseconds. */
export const backOff = (failures: number, jitter: boolean): Effect.Effect<number> => {
  const wait = Math.min(1000 * 2 ** Math.max(0, failures - 1), 60_000)
  return jitter ? Effect.map(Random.nextRange(0.8, 1.2), (factor) => Math.round(wait * factor)) : Effect.succeed(wait)
}
