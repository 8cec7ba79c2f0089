/**
 * Who drives a run, for how long, and how it is seen when that ends.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { type RunState, RunStatus } from "../gen/tape/v1/tape_pb.js"
import { parsed } from "../internal/config.js"
import { processName, unique } from "../internal/processName.js"
import * as Rest from "../internal/rest.js"
import { within } from "../internal/within.js"
import { LeaseLost, type RunError, RunFinished, RunRefused } from "./errors.js"
import { ended, isFinal, type Life, lost } from "./run.js"

/**
 * How runs are driven.
 *
 * @since 0.1.0
 * @category settings
 */
export interface RunSettings {
  /** Names this process in the lease. Defaults to `TAPE_LEASE_OWNER`, else `host:pid`. Each drive adds a random part. */
  readonly owner?: string | undefined
  /**
   * How long a run stays ours after the last sign of life. Renewed every third of it. Defaults to `TAPE_LEASE_MS`
   * (milliseconds), else 2 minutes.
   */
  readonly leaseTtl?: Duration.DurationInput | undefined
  /** How long a durable call waits for a tape that is away, before the run stops. Defaults to 1 minute. */
  readonly patience?: Duration.DurationInput | undefined
}

/**
 * How runs are driven; without a layer, the defaults.
 *
 * @since 0.1.0
 * @category settings
 */
export class Settings extends Context.Reference<Settings>()("effect-tape/Durable/Settings", {
  defaultValue: (): RunSettings => ({})
}) {}

/**
 * @since 0.1.0
 * @category settings
 */
export const layerSettings = (settings: RunSettings): Layer.Layer<never> => Layer.succeed(Settings, settings)

/**
 * {@link layerSettings}, with what is left out read from the environment now: a `TAPE_LEASE_MS` that is no number fails
 * here, when the program starts, and not with its first run.
 *
 * @since 0.1.0
 * @category settings
 */
export const layerSettingsConfig = (settings: RunSettings = {}): Layer.Layer<never, ConfigError.ConfigError> =>
  Layer.effect(
    Settings,
    settings.leaseTtl === undefined
      ? Effect.map(configuredTtl, (leaseTtl): RunSettings => ({ ...settings, leaseTtl }))
      : Effect.succeed(settings)
  )

/** Settings as one drive uses them. The owner is new each time: two drives in one process are two owners. */
export interface Lease {
  readonly owner: string
  readonly ttl: Duration.Duration
  readonly patience: Duration.Duration
}

export const take = (app: string): Effect.Effect<Lease, RunRefused> =>
  Effect.gen(function* () {
    const settings = yield* Settings
    const ttl =
      settings.leaseTtl === undefined
        ? yield* Effect.mapError(configuredTtl, (error) => new RunRefused({ app, reason: String(error) }))
        : Duration.decode(settings.leaseTtl)
    if (!Duration.isFinite(ttl) || Duration.toMillis(ttl) < 1) {
      return yield* new RunRefused({ app, reason: `a lease cannot last ${Duration.format(ttl)}` })
    }
    return {
      owner: settings.owner === undefined ? yield* processName("TAPE_LEASE_OWNER") : unique(settings.owner),
      ttl,
      patience: Duration.decode(settings.patience ?? "1 minute")
    }
  })

export const ttlMillis = (lease: Lease): bigint => BigInt(Math.ceil(Duration.toMillis(lease.ttl)))

/** Whether somebody drives the run, by our clock. Only ever a reason to wait: the tape itself judges leases. */
export const isHeld = (run: RunState, now: number): boolean =>
  isDriven(run) && run.leaseOwner !== "" && Number(run.leaseExpiresAtMs) > now

const isDriven = ({ status }: RunState): boolean => status === RunStatus.RUNNING || status === RunStatus.COMPENSATING

/**
 * Renews the lease until it is lost or the run is ended by somebody else; fails with why the run must stop.
 *
 * The row is read before each renewal: a tape that renews blindly would bring a cancelled run back to life. A lease that
 * could not be renewed for its whole length counts as lost, because another process may have it by now.
 */
export const keep = (life: Life, lease: Lease): Effect.Effect<never, RunError> =>
  Effect.gen(function* () {
    const ttl = Duration.toMillis(lease.ttl)
    let validUntil = (yield* Clock.currentTimeMillis) + ttl
    let pause = Math.ceil(ttl / 3)
    const rest = yield* Rest.make("run")
    while (true) {
      // At a gate there is nothing to renew.
      const isParked = life.state.waiting > 0
      yield* rest(pause, isParked ? undefined : 0)
      const startedAt = yield* Clock.currentTimeMillis
      // Behind it the lease is taken anew, however long the rest was.
      if (isParked) validUntil = Math.max(validUntil, startedAt - pause + ttl)
      const renewed = yield* renew(life, lease).pipe(
        Effect.timeoutFail({ duration: Math.max(validUntil - startedAt, 1), onTimeout: () => undefined }),
        Effect.either
      )
      if (renewed._tag === "Right") {
        if (renewed.right !== undefined) return yield* remember(life, renewed.right)
        validUntil = startedAt + ttl
        pause = Math.ceil(ttl / 3)
        continue
      }
      const left = validUntil - (yield* Clock.currentTimeMillis)
      if (left <= 0) {
        const reason = `it could not be renewed for ${Duration.format(lease.ttl)}`
        return yield* remember(life, new LeaseLost({ runId: life.runId, owner: "", reason }))
      }
      pause = Math.min(Math.ceil(ttl / 12), left)
    }
  })

/**
 * Ends the lease at once: after an orderly interruption nobody has to wait for it to run out. Best effort, for a second
 * at most. There is no call for it: the lease is renewed for the shortest time there is.
 */
export const giveBack = (life: Life, lease: Lease): Effect.Effect<void> => {
  const { runId, tape } = life
  const shortened = Effect.flatMap(tape.getRun({ runId }), (run) =>
    isDriven(run) && run.leaseOwner === lease.owner
      ? Effect.asVoid(tape.resumeRun({ runId, leaseOwner: lease.owner, leaseTtlMs: 1n }))
      : Effect.void
  )
  return Effect.catchAll(Effect.asVoid(within(shortened, "1 second")), (error) =>
    Effect.logDebug(`the lease of run ${runId} is left to run out: ${error.message}`)
  )
}

const remember = (life: Life, error: RunError): Effect.Effect<never, RunError> =>
  Effect.suspend(() => {
    life.state.stopped ??= error
    return Effect.fail(life.state.stopped)
  })

/** `undefined`: ours for another while. Fails when the tape could not be asked. */
const renew = (life: Life, lease: Lease) =>
  Effect.gen(function* () {
    // Whoever waits at the gate sees what becomes of the run.
    if (life.state.waiting > 0) return undefined
    const run = yield* life.tape.getRun({ runId: life.runId })
    if (isFinal(run.status)) return ended(run) ?? new RunFinished({ runId: life.runId, asked: "its lease" })
    // A run that is parked has no owner, and its lease rests until the call at the gate takes it again.
    const isFree = run.status === RunStatus.RUNNABLE
    if (run.status === RunStatus.WAITING || (isFree && life.state.parked !== undefined)) return undefined
    if (!isFree && run.leaseOwner !== lease.owner) return lost(life, run)
    return yield* life.tape
      .resumeRun({ runId: life.runId, leaseOwner: lease.owner, leaseTtlMs: ttlMillis(lease) })
      .pipe(
        Effect.as(undefined),
        Effect.catchTag("PreconditionFailed", () =>
          Effect.map(life.tape.getRun({ runId: life.runId }), (now) => ended(now) ?? lost(life, now))
        )
      )
  })

/** Only a positive number counts; zero and less stand for the default, as with the other SDKs. */
const configuredTtl: Config.Config<Duration.Duration> = parsed("TAPE_LEASE_MS", Duration.minutes(2), (said) => {
  const millis = /^[-+]?[0-9]+(\.[0-9]+)?$/.test(said) ? Number(said) : Number.NaN
  if (!(millis <= Number.MAX_SAFE_INTEGER)) return Either.left("a number of milliseconds")
  return Either.right(millis > 0 ? Duration.millis(millis) : Duration.minutes(2))
})
