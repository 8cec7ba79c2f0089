/**
 * What became of a COMMIT that was never answered: each transaction writes its number into a row that belongs to this
 * server, so that the answer can be looked up. The number of a transaction in PostgreSQL itself does not tell: one that
 * was lost in a crash may be given again, and its new owner's fate be taken for ours.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type Failure, failureOf } from "./failure.js"
import type { Pool } from "./Pool.js"
import { type Command, command, prepare } from "./Statement.js"

export interface Mark {
  readonly command: Command
  readonly number: bigint
}

export interface Marks {
  /** The mark of the next transaction. */
  readonly next: () => Mark
  /**
   * Whether a transaction has been committed, once it certainly goes on no longer. Fails when nobody can be asked: then
   * it may have been applied or not, and must not be run again.
   */
  readonly isCommitted: (mark: Mark, transactionId: string) => Effect.Effect<boolean, Failure>
}

/** Long enough for a restart of the database, and for its end of a dead connection to be given up. */
const patience = Schedule.spaced("100 millis").pipe(Schedule.upTo("8 seconds"))

export const make = Effect.fnUntraced(function* (
  pool: Pool,
  server: string
): Effect.fn.Return<Marks, Failure, Scope.Scope> {
  const ask = (commands: ReadonlyArray<Command>) => pool.use((session) => session.run(commands))
  yield* Effect.acquireRelease(ask([command(sweep), command(enroll, [server])]), () =>
    // A row that is left behind is swept later.
    Effect.ignore(Effect.timeout(ask([command(leave, [server])]), "1 second"))
  )
  let last = 0n

  const isOver = (transactionId: string) =>
    Effect.catchIf(
      Effect.map(ask([command(status, [transactionId])]), ([rows]) => rows?.[0]?.[0] !== "in progress"),
      // The database has recovered to a point before that transaction.
      ({ code }) => code === "22023",
      () => Effect.succeed(true)
    )

  return {
    next: () => {
      last += 1n
      return { number: last, command: command(write, [server, String(last)]) }
    },
    isCommitted: (mark, transactionId) =>
      isOver(transactionId).pipe(
        Effect.filterOrFail(
          (isOver) => isOver,
          () => failureOf(new Error("the transaction is still open"))
        ),
        Effect.zipRight(ask([command(read, [server])])),
        Effect.map(([rows]) => rows?.[0]?.[0] === String(mark.number)),
        Effect.retry(patience),
        Effect.mapError(
          (failure): Failure => ({
            ...failure,
            isAmbiguous: true,
            detail: `the connection was lost during COMMIT, whose outcome is unknown: ${failure.detail}`
          })
        )
      )
  }
})

/** Also ends the transaction if its server's end of the connection has not noticed yet that ours is gone. */
const status = prepare(
  `select coalesce(pg_xact_status($1::text::xid8), 'forgotten'),
     (select count(pg_terminate_backend(pid)) from pg_stat_activity where backend_xid = $1::text::xid8::xid)`
)
const sweep = prepare("delete from tape_servers where seen_at < now() - interval '7 days'")
const enroll = prepare("insert into tape_servers (id, mark, seen_at) values ($1, 0, now())")
const leave = prepare("delete from tape_servers where id = $1")
const write = prepare("update tape_servers set mark = $2::int8, seen_at = now() where id = $1")
const read = prepare("select mark from tape_servers where id = $1")
