import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { StoreError } from "../../engine/StoreError.js"
import type { Store } from "../../engine/store/Store.js"
import type { Reader } from "../../engine/store/Transaction.js"
import { Effects, Journal as Entries, Obligations, Runs } from "../../engine/store/tables.js"
import { EffectStatus, ObligationStatus, RunStatus } from "../../gen/tape/v1/tape_pb.js"
import type { TapeClock } from "./clock.js"
import { Journal } from "./journal.js"
import type { News } from "./news.js"

/**
 * A run, as a test looks at it.
 *
 * @since 0.1.0
 * @category models
 */
export class Run extends Schema.Class<Run>("effect-tape/testing/TestTape/Run")({
  runId: Schema.String,
  app: Schema.String,
  invocation: Schema.String,
  /** `RUNNING`, `WAITING`, `TERMINAL` and so on. */
  status: Schema.String,
  /** The gate at which it waits; empty when it does not. */
  gate: Schema.String
}) {}

/**
 * An effect, as a test looks at it.
 *
 * @since 0.1.0
 * @category models
 */
export class EffectState extends Schema.Class<EffectState>("effect-tape/testing/TestTape/EffectState")({
  runId: Schema.String,
  idempotencyKey: Schema.String,
  businessKey: Schema.String,
  tool: Schema.String,
  /** Empty for an inline effect. */
  connector: Schema.String,
  /** `PENDING`, `CONFIRMED`, `FAILED`, `UNKNOWN`. */
  status: Schema.String,
  /** How many dispatches of it are recorded that came to nothing or to nobody knows what. */
  attempts: Schema.Int
}) {}

/**
 * An obligation, as a test looks at it.
 *
 * @since 0.1.0
 * @category models
 */
export class ObligationState extends Schema.Class<ObligationState>("effect-tape/testing/TestTape/ObligationState")({
  runId: Schema.String,
  effectKey: Schema.String,
  kind: Schema.String,
  /** `PENDING`, `COMMITTED`, `COMPENSATED`, `STUCK`. */
  status: Schema.String,
  lastError: Schema.String
}) {}

/**
 * What stands on the tape at one moment.
 *
 * @since 0.1.0
 * @category models
 */
export interface State {
  readonly journal: Journal
  readonly runs: ReadonlyArray<Run>
  /** Those of tools; what runs record for themselves (input, outcome, timers) is left out. */
  readonly effects: ReadonlyArray<EffectState>
  readonly obligations: ReadonlyArray<ObligationState>
}

/**
 * The tape of a test, as {@link layer} makes it.
 *
 * @since 0.1.0
 * @category tags
 */
export class TestTape extends Context.Tag("effect-tape/testing/TestTape")<
  TestTape,
  {
    readonly state: Effect.Effect<State>
    /** Those of the state, which cost less than all of it. */
    readonly runs: Effect.Effect<State["runs"]>
    /** Those of the state, which cost less than all of it. */
    readonly effects: Effect.Effect<State["effects"]>
    /** Waits for the next write, whatever it is, after the state that was looked at last. */
    readonly changed: (since: number) => Effect.Effect<void>
    /** Goes up with every write. */
    readonly version: Effect.Effect<number>
    /** When the next fiber wakes up that sleeps, in milliseconds since the epoch. */
    readonly nextWake: Effect.Effect<number | undefined>
  }
>() {}

export const make = (store: Context.Tag.Service<Store>, news: News, clock: TapeClock): TestTape["Type"] => ({
  // The test's own file: that it cannot be read is nothing that a test could answer.
  state: Effect.orDie(store.read(stateOf)),
  runs: Effect.orDie(store.read(runsOf)),
  effects: Effect.orDie(store.read(effectsOf)),
  changed: news.after,
  version: Effect.sync(() => news.version),
  nextWake: Effect.sync(() => clock.next)
})

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const stateOf = (reader: Reader) =>
  Effect.all({
    journal: Effect.map(reader.select(Entries, "order by global_seq", []), (entries) => new Journal(entries)),
    runs: runsOf(reader),
    effects: effectsOf(reader),
    obligations: obligationsOf(reader)
  }) satisfies Effect.Effect<State, StoreError>

const runsOf = ({ select }: Reader) =>
  Effect.map(select(Runs, "order by started_at_ms, run_id", []), (rows) =>
    rows.map(
      (row) =>
        new Run({
          runId: row.runId,
          app: row.appName,
          invocation: row.invocationId,
          status: RunStatus[row.status],
          gate: row.waitingOnGate
        })
    )
  )

const effectsOf = ({ select }: Reader) =>
  Effect.map(select(Effects, "order by ts_ms, run_id, seq", []), (rows) =>
    rows
      .filter(({ toolName }) => !toolName.startsWith("run."))
      .map(
        (row) =>
          new EffectState({
            runId: row.runId,
            idempotencyKey: row.idempotencyKey,
            businessKey: row.businessKey,
            tool: row.toolName,
            connector: row.connector,
            status: EffectStatus[row.status],
            attempts: row.dispatchAttempts
          })
      )
  )

const obligationsOf = ({ select }: Reader) =>
  Effect.map(select(Obligations, "order by ts_ms, run_id, seq", []), (rows) =>
    rows.map(
      (row) =>
        new ObligationState({
          runId: row.runId,
          effectKey: row.effectKey,
          kind: row.kind,
          status: ObligationStatus[row.status],
          lastError: row.lastError
        })
    )
  )
