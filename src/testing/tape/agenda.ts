import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Row, Table } from "../../engine/store/Table.js"
import {
  type EffectRow,
  Effects,
  type Obligation,
  Obligations,
  type Run,
  Runs,
  type TaskRow,
  Tasks,
  type Timer,
  Timers
} from "../../engine/store/tables.js"
import { EffectDispatchMode, EffectStatus, ObligationStatus, RunStatus, TaskStatus } from "../../gen/tape/v1/tape_pb.js"
import type { Looks } from "../../internal/rest.js"

/** What looks of one kind would find: whether that is other than before, and when time alone makes it so. */
class Topic {
  /** Goes up when looks find something else than before. */
  version = 0
  /** From when on looks find a row, by the row's key. */
  private readonly rows = new Map<string, number>()
  private next = Deferred.unsafeMake<void>(FiberId.none)

  get isEmpty(): boolean {
    return this.rows.size === 0
  }

  /** The first time after `since` from which on something more is found. */
  due(since: number): number {
    let first = Number.POSITIVE_INFINITY
    for (const from of this.rows.values()) if (from > since && from < first) first = from
    return first
  }

  /** As soon as something else is found, or will be found, than when this is asked. */
  readonly changed: Effect.Effect<void> = Effect.suspend(() => Deferred.await(this.next))

  /** A row that is found from a time on, or never. */
  put(key: string, from: number, now: number): void {
    const before = this.rows.get(key) ?? never
    if (from === never) this.rows.delete(key)
    else this.rows.set(key, from)
    if (before <= now || from <= now) this.tell()
    else if (before !== from) this.wake()
  }

  tell(): void {
    this.version += 1
    this.wake()
  }

  private wake(): void {
    const told = this.next
    this.next = Deferred.unsafeMake(FiberId.none)
    Deferred.unsafeDone(told, Effect.void)
  }
}

/** What every kind of looks would find, by what is written: to know it costs no look. */
export class Agenda {
  private readonly topics = {
    dispatch: new Topic(),
    recover: new Topic(),
    reconcile: new Topic(),
    timers: new Topic(),
    obligations: new Topic(),
    tasks: new Topic(),
    run: new Topic(),
    effect: new Topic()
  } satisfies { readonly [K in Looks]: Topic }
  private readonly runs = new Map<string, Pick<Run, "status" | "leaseExpiresAtMs">>()

  of(looks: Looks): Topic {
    return this.topics[looks]
  }

  /** A row that was written, or `undefined` when it was removed. */
  note(table: Table, key: string, row: Row<Table> | undefined, now: number): void {
    const { dispatch, effect, obligations, reconcile, tasks, timers } = this.topics
    // A row is of the table that it is written into.
    switch (table) {
      case Runs:
        return this.noteRun(key, row as Run | undefined, now)
      case Effects:
        dispatch.put(key, dispatchedFrom(row as EffectRow | undefined), now)
        reconcile.put(key, reconciledFrom(row as EffectRow | undefined), now)
        return effect.tell()
      case Obligations:
        return obligations.put(key, undoneFrom(row as Obligation | undefined), now)
      case Timers:
        return timers.put(key, firedFrom(row as Timer | undefined), now)
      case Tasks:
        tasks.put(key, startedFrom(row as TaskRow | undefined), now)
        // One that is done makes room for another.
        return tasks.tell()
    }
  }

  private noteRun(key: string, row: Run | undefined, now: number): void {
    const { effect, obligations, recover, run } = this.topics
    const before = this.runs.get(key)
    if (row === undefined) this.runs.delete(key)
    else this.runs.set(key, { status: row.status, leaseExpiresAtMs: row.leaseExpiresAtMs })
    recover.put(key, recoveredFrom(row), now)
    if (row !== undefined && isRenewed(before, row)) return
    run.tell()
    effect.tell()
    // What is owed depends on what becomes of the run.
    if (!obligations.isEmpty || before?.status === COMPENSATING || row?.status === COMPENSATING) obligations.tell()
  }
}

/** That a lease lasts longer than before is no news. */
export const isRenewed = (before: Pick<Run, "status" | "leaseExpiresAtMs"> | undefined, run: Run): boolean =>
  before?.status === run.status && before.leaseExpiresAtMs <= run.leaseExpiresAtMs

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const { COMPENSATING } = RunStatus
const always = 0
const never = Number.POSITIVE_INFINITY

// From when on the engine's lists have a row.

const dispatchedFrom = (row: EffectRow | undefined): number =>
  row?.status === EffectStatus.PENDING && row.dispatchMode === EffectDispatchMode.OUTBOX
    ? Math.max(
        Number(row.nextDispatchAtMs),
        row.dispatchClaimedBy === "" ? always : Number(row.dispatchClaimExpiresAtMs)
      )
    : never

const reconciledFrom = (row: EffectRow | undefined): number => (row?.status === EffectStatus.UNKNOWN ? always : never)

const recoveredFrom = (row: Run | undefined): number => {
  switch (row?.status) {
    case RunStatus.RUNNABLE:
      return always
    case RunStatus.RUNNING:
      return Number(row.leaseExpiresAtMs) + 1
    default:
      return never
  }
}

const undoneFrom = (row: Obligation | undefined): number => {
  switch (row?.status) {
    case ObligationStatus.PENDING:
      return Number(row.nextAttemptAtMs)
    case ObligationStatus.COMMITTED:
      return row.claimExpiresAtMs > 0n ? Number(row.claimExpiresAtMs) : never
    default:
      return never
  }
}

const firedFrom = (row: Timer | undefined): number => (row === undefined || row.fired ? never : Number(row.fireAtMs))

const startedFrom = (row: TaskRow | undefined): number => {
  switch (row?.status) {
    case TaskStatus.PENDING:
      return Number(row.nextAttemptAtMs)
    case TaskStatus.CLAIMED:
      return Number(row.leaseExpiresAtMs)
    default:
      return never
  }
}
