/**
 * On whose behalf a process acts: what the runs that it begins keep about it, and what they may do.
 *
 * Nothing by default. {@link layerConfig} takes it from the environment; an app's `identity` goes before that, and what
 * `start` is given before both.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { parsed, text } from "./internal/config.js"

const said = Schema.optionalWith(Schema.String, { default: () => "" })

/**
 * An identity. Each part is empty unless given.
 *
 * @since 0.1.0
 * @category models
 */
export class Identity extends Schema.Class<Identity>("effect-tape/Identity/Identity")({
  tenantId: said,
  /** Who acts: a person, or a service. */
  actor: said,
  /** Whom it is about, when that is somebody else. */
  subject: said,
  agentId: said,
  /** The installation that the agent is part of. */
  instance: said,
  /** The way that the request came in by. */
  route: said,
  /** What a run may ask for. */
  scopes: Schema.optionalWith(Schema.Array(Schema.String), { default: () => [] }),
  labels: Schema.optionalWith(Schema.Record({ key: Schema.String, value: Schema.String }), { default: () => ({}) })
}) {}

/**
 * The identity of nobody in particular.
 *
 * @since 0.1.0
 * @category constructors
 */
export const empty: Identity = new Identity()

/**
 * The identity that this program acts under; {@link empty} without a layer.
 *
 * @since 0.1.0
 * @category settings
 */
export class Current extends Context.Reference<Current>()("effect-tape/Identity/Current", {
  defaultValue: (): Identity => empty
}) {}

/**
 * An identity is insisted on, and the environment does not tell it.
 *
 * @since 0.1.0
 * @category errors
 */
export class IdentityMissing extends Schema.TaggedError<IdentityMissing>("effect-tape/Identity/IdentityMissing")(
  "IdentityMissing",
  {
    /** The variables that have to be set and are not. */
    variables: Schema.NonEmptyArray(Schema.String)
  }
) {
  override get message(): string {
    return `this process has to say on whose behalf it acts: ${this.variables.join(", ")} ${this.variables.length === 1 ? "is" : "are"} not set`
  }
}

/**
 * Eight variables of the environment, each empty when unset: `AIPLEX_TENANT_ID`, `AIPLEX_ACTOR`, `AIPLEX_SUBJECT`,
 * `AIPLEX_AGENT_ID`, `AIPLEX_INSTANCE_ID`, `AIPLEX_ROUTE`, `AIPLEX_SCOPES` (between commas or blanks) and `AIPLEX_LABELS`
 * (`name=value`, between commas; what has no `=` or no name is left out).
 *
 * @since 0.1.0
 * @category config
 */
export const config: Config.Config<Identity> = Config.map(
  Config.all({
    tenantId: text("AIPLEX_TENANT_ID"),
    actor: text("AIPLEX_ACTOR"),
    subject: text("AIPLEX_SUBJECT"),
    agentId: text("AIPLEX_AGENT_ID"),
    instance: text("AIPLEX_INSTANCE_ID"),
    route: text("AIPLEX_ROUTE"),
    scopes: Config.map(text("AIPLEX_SCOPES"), (list) => list.split(/[\s,]+/).filter((scope) => scope !== "")),
    labels: Config.map(text("AIPLEX_LABELS"), labelsOf)
  }),
  (said) => new Identity(said)
)

/**
 * `AIPLEX_REQUIRE_IDENTITY`: whether a process without an identity must not start. `1` or `true`, `0` or `false`; anything
 * else is an error. Defaults to `false`.
 *
 * @since 0.1.0
 * @category config
 */
export const required: Config.Config<boolean> = parsed("AIPLEX_REQUIRE_IDENTITY", false, (said) =>
  /^(1|true)$/i.test(said)
    ? Either.right(true)
    : /^(0|false)$/i.test(said)
      ? Either.right(false)
      : Either.left("0 or 1")
)

/**
 * How an identity is taken from the environment.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoadOptions {
  /** Whether tenant, actor and agent id have to be there. Defaults to what {@link required} says. */
  readonly strict?: boolean | undefined
}

/**
 * The identity that the environment tells; see {@link config}.
 *
 * @since 0.1.0
 * @category constructors
 */
export const load = (options: LoadOptions = {}): Effect.Effect<Identity, ConfigError.ConfigError | IdentityMissing> =>
  Effect.gen(function* () {
    const identity = yield* config
    if (!(options.strict ?? (yield* required))) return identity
    const [first, ...others] = needed.flatMap(([variable, part]) => (identity[part] === "" ? [variable] : []))
    return first === undefined ? identity : yield* new IdentityMissing({ variables: [first, ...others] })
  })

/**
 * This identity, for the program that it is provided to.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (identity: Identity): Layer.Layer<never> => Layer.succeed(Current, identity)

/**
 * {@link layer} of what the environment tells; see {@link load}.
 *
 * @example
 * import { Identity, TapeLive } from "effect-tape"
 * import { Layer } from "effect"
 *
 * const Main = Layer.provideMerge(TapeLive, Identity.layerConfig({ strict: true }))
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (options?: LoadOptions): Layer.Layer<never, ConfigError.ConfigError | IdentityMissing> =>
  Layer.effect(Current, load(options))

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const needed = [
  ["AIPLEX_TENANT_ID", "tenantId"],
  ["AIPLEX_ACTOR", "actor"],
  ["AIPLEX_AGENT_ID", "agentId"]
] as const

function labelsOf(list: string): { readonly [name: string]: string } {
  const pairs = list.split(",").flatMap((pair) => {
    const at = pair.indexOf("=")
    const name = pair.slice(0, Math.max(0, at)).trim()
    return name === "" ? [] : [[name, pair.slice(at + 1).trim()] as const]
  })
  return Object.fromEntries(pairs)
}
