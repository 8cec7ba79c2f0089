import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Dispatched, Observed, Protocol, Request } from "../../connectors/protocol.js"

/**
 * What a counterparty has in its books: one row for each time that something happened there.
 *
 * @since 0.1.0
 * @category models
 */
export class Booking extends Schema.Class<Booking>("effect-tape/testing/TestConnector/Booking")({
  /** The counterparty's own name for it: the connector's name, and a number from 1 on. */
  id: Schema.String,
  tool: Schema.String,
  runId: Schema.String,
  idempotencyKey: Schema.String,
  /** Empty when the effect has none. */
  businessKey: Schema.String,
  payload: Schema.Unknown,
  /** Which attempt of the dispatcher it was, from 1 on. */
  attempt: Schema.Int,
  /** In milliseconds since the epoch, by the test's clock. */
  atMs: Schema.Number,
  /** Whether it was compensated. */
  isUndone: Schema.Boolean
}) {}

/**
 * There is no test connector of this name.
 *
 * @since 0.1.0
 * @category errors
 */
export class NoLedger extends Schema.TaggedError<NoLedger>()("NoLedger", {
  connector: Schema.String,
  known: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const known = this.known.length === 0 ? "there are none" : `there are: ${this.known.join(", ")}`
    return `no test connector is called "${this.connector}"; ${known}`
  }
}

/**
 * The books of all test connectors of a layer.
 *
 * @since 0.1.0
 * @category tags
 */
export class Ledgers extends Context.Tag("effect-tape/testing/TestConnector/Ledgers")<
  Ledgers,
  { readonly bookings: (connector: string) => Effect.Effect<ReadonlyArray<Booking>, NoLedger> }
>() {}

/** A counterparty that books whatever it is sent, the same thing twice if need be. */
export class Counterparty {
  private rows: ReadonlyArray<Booking> = []

  constructor(
    private readonly name: string,
    private readonly response: (booking: Booking) => unknown
  ) {}

  readonly bookings = Effect.sync(() => this.rows)

  readonly protocol: Required<Protocol> = {
    dispatch: (request) =>
      Effect.map(this.book(request), (booking): Dispatched => ({ _tag: "confirmed", ...this.answer(booking) })),
    observe: ({ idempotencyKey }) =>
      Effect.sync((): Observed => {
        const found = this.rows.filter((row) => row.idempotencyKey === idempotencyKey)
        const [first, ...more] = found
        if (first === undefined) return { _tag: "absent", conclusive: true }
        const last = more.at(-1)
        return last === undefined
          ? { _tag: "confirmed", ...this.answer(first) }
          : { _tag: "duplicate", response: this.response(first), externalRef: last.id }
      }),
    compensate: ({ effectKey }) =>
      Effect.sync(() => {
        // The one too many is the last one.
        const last = this.rows.findLast((row) => row.idempotencyKey === effectKey && !row.isUndone)
        this.rows = this.rows.map((row) => (row === last ? new Booking({ ...row, isUndone: true }) : row))
        return { _tag: "compensated" } as const
      })
  }

  private book(request: Request): Effect.Effect<Booking> {
    const { attempt, businessKey, idempotencyKey, payload, runId, tool } = request
    return Effect.map(Clock.currentTimeMillis, (atMs) => {
      const id = `${this.name}-${this.rows.length + 1}`
      const row = { id, tool, runId, idempotencyKey, businessKey, payload, attempt, atMs, isUndone: false }
      const booking = new Booking(row)
      this.rows = [...this.rows, booking]
      return booking
    })
  }

  private answer(booking: Booking) {
    return { externalRef: booking.id, response: this.response(booking) }
  }
}
