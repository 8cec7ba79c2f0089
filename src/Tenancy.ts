/**
 * Who shares a tape: one tenant, several apps that trust each other, or tenants that do not.
 *
 * With {@link layer} or {@link layerConfig} in the context of a program, runs that it begins carry the tenant's id,
 * connectors are told it with each effect, and every log line has a `tenant_id`.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { parsed, text } from "./internal/config.js"

/**
 * - `single`: one tenant, one tape.
 * - `trusted_multi_app`: several apps of people who trust each other; only app, user and session keep their runs apart.
 * - `hard_multi_tenant`: tenants that do not trust each other. A statement only, see {@link warnings}.
 *
 * @since 0.1.0
 * @category models
 */
export const Mode = Schema.Literal("single", "trusted_multi_app", "hard_multi_tenant")

/**
 * @since 0.1.0
 * @category models
 */
export type Mode = typeof Mode.Type

/**
 * The tenancy of a process. Encodes to JSON as `{"mode", "tenant_id"}`, each with its default when missing.
 *
 * @since 0.1.0
 * @category models
 */
export class Tenancy extends Schema.Class<Tenancy>("effect-tape/Tenancy/Tenancy")({
  /** Defaults to `"single"`. */
  mode: Schema.optionalWith(Mode, { default: () => "single" }),
  /** Defaults to `"default"`. */
  tenantId: Schema.optionalWith(Schema.NonEmptyString, { default: () => "default" }).pipe(Schema.fromKey("tenant_id"))
}) {}

/**
 * The tenancy that this program runs under, where it was said.
 *
 * @since 0.1.0
 * @category tags
 */
export class Current extends Context.Tag("effect-tape/Tenancy/Current")<Current, Tenancy>() {}

/**
 * `TAPE_TENANCY` (a {@link Mode}; any other text is an error that names them) and `TAPE_TENANT_ID`.
 *
 * @since 0.1.0
 * @category config
 */
export const config: Config.Config<Tenancy> = Config.map(
  Config.all({
    mode: parsed<Mode>("TAPE_TENANCY", "single", (said) =>
      Either.fromOption(Option.liftPredicate(said, Schema.is(Mode)), () => `a tenancy: ${Mode.literals.join(", ")}`)
    ).pipe(Config.withDescription("Who shares the tape: single, trusted_multi_app or hard_multi_tenant")),
    tenantId: Config.map(text("TAPE_TENANT_ID"), (said) => said || "default").pipe(
      Config.withDescription("The tenant that this process works for")
    )
  }),
  (said) => new Tenancy(said)
)

/**
 * What a person has to know before he relies on the tenancy: one sentence for `hard_multi_tenant`, else nothing.
 *
 * @since 0.1.0
 * @category checks
 */
export const warnings = ({ mode, tenantId }: Tenancy): ReadonlyArray<string> =>
  mode === "hard_multi_tenant"
    ? [
        `TENANTS ARE NOT ISOLATED: hard_multi_tenant (tenant ${JSON.stringify(tenantId)}) cannot be enforced. Rows of a tape ` +
          "carry no tenant that is checked, so whoever reaches a tape reads and writes all of it. Give each tenant a tape of its own."
      ]
    : []

/**
 * This tenancy, for the program that it is provided to: the {@link warnings} are logged once, log lines get a `tenant_id`.
 *
 * @example
 * import { Tenancy, TapeLive } from "effect-tape"
 * import { Layer } from "effect"
 *
 * const Main = Layer.provideMerge(TapeLive, Tenancy.layer(new Tenancy.Tenancy({ tenantId: "acme" })))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (tenancy: Tenancy): Layer.Layer<Current> =>
  Layer.scoped(
    Current,
    Effect.as(
      Effect.zipRight(
        Effect.annotateLogsScoped({ tenant_id: tenancy.tenantId }),
        Effect.forEach(warnings(tenancy), (warning) => Effect.logWarning(warning))
      ),
      tenancy
    )
  )

/**
 * {@link layer} of what the environment says; see {@link config}.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig: Layer.Layer<Current, ConfigError.ConfigError> = Layer.unwrapEffect(Effect.map(config, layer))
