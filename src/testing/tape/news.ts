import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Store } from "../../engine/store/Store.js"
import type { Key, Row, Table } from "../../engine/store/Table.js"
import type { Transaction } from "../../engine/store/Transaction.js"
import { Effects, Obligations, type Run, Runs, Tasks, Timers } from "../../engine/store/tables.js"
import { EffectStatus, ObligationStatus, RunStatus, TaskStatus } from "../../gen/tape/v1/tape_pb.js"
import type { Rest } from "../../internal/rest.js"
import type { TapeClock } from "./clock.js"

type StoreService = Context.Tag.Service<Store>

/** Tells when something was written. */
export class News {
  private next = Deferred.unsafeMake<void>(FiberId.none)
  version = 0

  readonly tell = (): void => {
    const told = this.next
    this.version += 1
    this.next = Deferred.unsafeMake(FiberId.none)
    Deferred.unsafeDone(told, Effect.void)
  }

  /** As soon as there is more than this version. */
  readonly after = (version: number): Effect.Effect<void> =>
    Effect.suspend(() => (this.version > version ? Effect.void : Deferred.await(this.next)))

  /**
   * A store whose writes are told of. Readers come after the batch that a call is part of: it is one slice of time. That a
   * lease lasts longer than before is no news.
   */
  readonly of = (store: StoreService): StoreService => {
    const leases = new Map<string, Run>()
    return {
      ...store,
      write: (call) =>
        store.write((tx) => {
          let isNews = false
          const watched: Transaction = Object.create(tx, {
            put: {
              value: (table: Table, row: Row<Table>) => {
                isNews ||= !(table === Runs && isRenewed(leases, row as Run))
                tx.put(table, row)
              }
            },
            remove: {
              value: (table: Table, key: Key<Table>) => {
                isNews = true
                tx.remove(table, key)
              }
            }
          })
          return Effect.tap(call(watched), () =>
            Effect.sync(() => {
              if (isNews || tx.drafts.length > 0) this.tell()
            })
          )
        })
    }
  }
}

/**
 * Rests that last until something was written or something stored is due, and no less than their interval: looks that
 * would find nothing are left out. In two days of a test's time this is the difference between minutes and milliseconds.
 */
export const rests = (clock: TapeClock, news: News, store: StoreService): { readonly make: () => Rest } => ({
  make: () => {
    let version = -1
    let lookedAt = 0
    return (interval, until = Number.POSITIVE_INFINITY) =>
      Effect.gen(function* () {
        const end = clock.unsafeCurrentTimeMillis() + Duration.toMillis(interval)
        // Whole milliseconds: a sleep is rounded, and what is left of one could be shorter than any.
        const left = (time: number) => Math.ceil(time - clock.unsafeCurrentTimeMillis())
        const known = version
        while (news.version === known) {
          // From the last look on: what was due since then nobody has seen yet. And anew each time: leases are renewed.
          const pause = left(Math.max(end, Math.min(until, yield* due(store, lookedAt))))
          if (pause <= 0) break
          yield* Effect.raceFirst(Effect.sleep(pause), news.after(known))
        }
        yield* Effect.sleep(Math.max(0, left(end)))
        version = news.version
        lookedAt = clock.unsafeCurrentTimeMillis()
      })
  }
})

const isRenewed = (leases: Map<string, Run>, run: Run): boolean => {
  const before = leases.get(run.runId)
  leases.set(run.runId, run)
  return before?.status === run.status && before.leaseExpiresAtMs <= run.leaseExpiresAtMs
}

/** When, from a time on, the first thing stored is due: lists that are read by the clock then answer otherwise. */
const due = (store: StoreService, from: number): Effect.Effect<number> =>
  store
    .read((snapshot) => {
      const since = [BigInt(Math.floor(from))]
      const first = (column: string, where: string) => `where ${where} and ${column} >= ? order by ${column} limit 1`
      const { select } = snapshot
      return Effect.all([
        Effect.map(select(Timers, first("fire_at_ms", "fired = 0"), since), ([row]) => row?.fireAtMs),
        Effect.map(
          select(
            Runs,
            first("lease_expires_at_ms", `status in (${RunStatus.RUNNING}, ${RunStatus.COMPENSATING})`),
            since
          ),
          ([row]) => row?.leaseExpiresAtMs
        ),
        Effect.map(
          select(Effects, first("next_dispatch_at_ms", `status = ${EffectStatus.PENDING}`), since),
          ([row]) => row?.nextDispatchAtMs
        ),
        Effect.map(
          select(Effects, first("dispatch_claim_expires_at_ms", `status = ${EffectStatus.PENDING}`), since),
          ([row]) => row?.dispatchClaimExpiresAtMs
        ),
        Effect.map(
          select(Obligations, first("next_attempt_at_ms", `status = ${ObligationStatus.PENDING}`), since),
          ([row]) => row?.nextAttemptAtMs
        ),
        Effect.map(
          select(Obligations, first("claim_expires_at_ms", `status = ${ObligationStatus.COMMITTED}`), since),
          ([row]) => row?.claimExpiresAtMs
        ),
        Effect.map(
          select(Tasks, first("next_attempt_at_ms", `status = ${TaskStatus.PENDING}`), since),
          ([row]) => row?.nextAttemptAtMs
        ),
        Effect.map(
          select(Tasks, first("lease_expires_at_ms", `status = ${TaskStatus.CLAIMED}`), since),
          ([row]) => row?.leaseExpiresAtMs
        )
      ])
    })
    .pipe(
      Effect.map((times) =>
        Math.min(...times.map((time) => (time === undefined ? Number.POSITIVE_INFINITY : Number(time))))
      ),
      // A store that is closed has nothing that will be due.
      Effect.orElseSucceed(() => Number.POSITIVE_INFINITY)
    )
