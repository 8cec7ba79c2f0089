import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Booking, Ledgers, type NoLedger } from "../connector/ledger.js"
import { EffectState, ObligationState, Run, TestTape } from "./service.js"

/** An effect, and what the counterparty has of it. */
const Suspect = Schema.Struct({
  /** `missing`: confirmed, and not booked. `repeated`: booked more than once. `unwanted`: failed or unheard of, and booked. */
  reason: Schema.Literal("missing", "repeated", "unwanted"),
  idempotencyKey: Schema.String,
  businessKey: Schema.String,
  /** The effect's; empty when there is none. */
  status: Schema.String,
  /** The ids of the bookings that stand. */
  bookings: Schema.Array(Schema.String)
})
type Suspect = typeof Suspect.Type

/**
 * What the tape says of a connector's effects is not what the counterparty has in its books.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotExactlyOnce extends Schema.TaggedError<NotExactlyOnce>()("NotExactlyOnce", {
  connector: Schema.String,
  suspects: Schema.Array(Suspect)
}) {
  override get message(): string {
    const lines = this.suspects.map(
      ({ bookings, idempotencyKey, reason, status }) =>
        `  ${reason}: ${idempotencyKey} ${status || "not on the tape"}, booked ${bookings.length === 0 ? "never" : bookings.join(", ")}`
    )
    return `${this.connector}: ${lines.length} effects did not happen exactly once\n${lines.join("\n")}`
  }
}

/**
 * Runs or obligations wait for a person.
 *
 * @since 0.1.0
 * @category errors
 */
export class SomethingStuck extends Schema.TaggedError<SomethingStuck>()("SomethingStuck", {
  runs: Schema.Array(Run),
  obligations: Schema.Array(ObligationState)
}) {
  override get message(): string {
    const lines = [
      ...this.runs.map(({ app, runId }) => `  run ${runId} of ${app}`),
      ...this.obligations.map(({ effectKey, kind, lastError }) => `  obligation ${kind} of ${effectKey}: ${lastError}`)
    ]
    return `STUCK:\n${lines.join("\n")}`
  }
}

/**
 * Of some effects nobody knows what became of them.
 *
 * @since 0.1.0
 * @category errors
 */
export class SomethingUnknown extends Schema.TaggedError<SomethingUnknown>()("SomethingUnknown", {
  effects: Schema.Array(EffectState)
}) {
  override get message(): string {
    return `UNKNOWN:\n${this.effects.map(({ idempotencyKey, tool }) => `  ${tool} ${idempotencyKey}`).join("\n")}`
  }
}

/**
 * The journal has a gap, or something twice.
 *
 * @since 0.1.0
 * @category errors
 */
export class NotContiguous extends Schema.TaggedError<NotContiguous>()("NotContiguous", {
  /** The run; empty for the journal as a whole. */
  runId: Schema.String,
  expected: Schema.Number,
  found: Schema.Number,
  subject: Schema.String
}) {
  override get message(): string {
    const where = this.runId === "" ? "the journal" : `the journal of run ${this.runId}`
    return `${where} has ${this.found} where ${this.expected} is due: ${this.subject}`
  }
}

/**
 * Holds if each effect of a test connector that the tape says is CONFIRMED is in the books exactly once (or was, before
 * it was compensated), each that is FAILED is not, and nothing else is.
 *
 * @since 0.1.0
 * @category assertions
 */
export const exactlyOnce = (connector: string): Effect.Effect<void, NotExactlyOnce | NoLedger, TestTape | Ledgers> =>
  Effect.gen(function* () {
    const bookings = yield* Effect.flatMap(Ledgers, (ledgers) => ledgers.bookings(connector))
    const effects = (yield* Effect.flatMap(TestTape, ({ state }) => state)).effects.filter(
      (effect) => effect.connector === connector
    )
    const suspects = effects.flatMap((effect) =>
      judged(
        effect,
        bookings.filter(({ idempotencyKey }) => idempotencyKey === effect.idempotencyKey)
      )
    )
    const known = new Set(effects.map(({ idempotencyKey }) => idempotencyKey))
    const strangers = bookings
      .filter(({ idempotencyKey, isUndone }) => !isUndone && !known.has(idempotencyKey))
      .map((booking) => suspect("unwanted", { ...booking, status: "" }, [booking]))
    if (suspects.length + strangers.length > 0) {
      return yield* new NotExactlyOnce({ connector, suspects: [...suspects, ...strangers] })
    }
  })

/**
 * Holds if no run and no obligation is STUCK.
 *
 * @since 0.1.0
 * @category assertions
 */
export const noStuck: Effect.Effect<void, SomethingStuck, TestTape> = Effect.gen(function* () {
  const state = yield* Effect.flatMap(TestTape, ({ state }) => state)
  const runs = state.runs.filter(({ status }) => status === "STUCK")
  const obligations = state.obligations.filter(({ status }) => status === "STUCK")
  if (runs.length + obligations.length > 0) return yield* new SomethingStuck({ runs, obligations })
})

/**
 * Holds if no effect is UNKNOWN.
 *
 * @since 0.1.0
 * @category assertions
 */
export const noUnknown: Effect.Effect<void, SomethingUnknown, TestTape> = Effect.gen(function* () {
  const state = yield* Effect.flatMap(TestTape, ({ state }) => state)
  const effects = state.effects.filter(({ status }) => status === "UNKNOWN")
  if (effects.length > 0) return yield* new SomethingUnknown({ effects })
})

/**
 * Holds if the journal and each run's part of it count from 1 on, without a gap.
 *
 * @since 0.1.0
 * @category assertions
 */
export const contiguous: Effect.Effect<void, NotContiguous, TestTape> = Effect.gen(function* () {
  const { journal } = yield* Effect.flatMap(TestTape, ({ state }) => state)
  const seqs = new Map<string, number>()
  for (const [index, { globalSeq, runId, seq, subject }] of journal.entries.entries()) {
    if (globalSeq !== index + 1) {
      return yield* new NotContiguous({ runId: "", expected: index + 1, found: globalSeq, subject })
    }
    const expected = (seqs.get(runId) ?? 0) + 1
    if (seq !== expected) return yield* new NotContiguous({ runId, expected, found: seq, subject })
    seqs.set(runId, seq)
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const judged = (effect: EffectState, bookings: ReadonlyArray<Booking>): ReadonlyArray<Suspect> => {
  const standing = bookings.filter(({ isUndone }) => !isUndone)
  if (standing.length > 1) return [suspect("repeated", effect, standing)]
  if (effect.status === "CONFIRMED" && bookings.length === 0) return [suspect("missing", effect, [])]
  if (effect.status === "FAILED" && standing.length > 0) return [suspect("unwanted", effect, standing)]
  return []
}

const suspect = (
  reason: Suspect["reason"],
  { businessKey, idempotencyKey, status }: Pick<EffectState, "businessKey" | "idempotencyKey" | "status">,
  bookings: ReadonlyArray<Booking>
): Suspect => ({ reason, idempotencyKey, businessKey, status, bookings: bookings.map(({ id }) => id) })
