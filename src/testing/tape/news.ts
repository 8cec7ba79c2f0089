import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { Store } from "../../engine/store/Store.js"
import { type Key, keyText, type Row, type Table } from "../../engine/store/Table.js"
import type { Transaction } from "../../engine/store/Transaction.js"
import type { Looks, Rest } from "../../internal/rest.js"
import { Agenda } from "./agenda.js"
import type { TapeClock } from "./clock.js"

type StoreService = Context.Tag.Service<Store>

/** Tells when something was written. */
export class News {
  private next = Deferred.unsafeMake<void>(FiberId.none)
  version = 0
  readonly agenda = new Agenda()

  readonly tell = (): void => {
    const told = this.next
    this.version += 1
    this.next = Deferred.unsafeMake(FiberId.none)
    Deferred.unsafeDone(told, Effect.void)
  }

  /** As soon as there is more than this version. */
  readonly after = (version: number): Effect.Effect<void> =>
    Effect.suspend(() => (this.version > version ? Effect.void : Deferred.await(this.next)))

  /** A store whose writes are told of. Readers come after the batch that a call is part of: it is one slice of time. */
  readonly of = (store: StoreService): StoreService => ({
    ...store,
    write: (call) =>
      store.write((tx) => {
        const changes: Array<() => void> = []
        const note = (table: Table, key: Key<Table>, row: Row<Table> | undefined) => {
          changes.push(() => this.agenda.note(table, keyText(table.key, key), row, Number(tx.nowMs)))
        }
        const watched: Transaction = Object.create(tx, {
          put: {
            value: (table: Table, row: Row<Table>) => {
              note(table, row, row)
              tx.put(table, row)
            }
          },
          remove: {
            value: (table: Table, key: Key<Table>) => {
              note(table, key, undefined)
              tx.remove(table, key)
            }
          }
        })
        return Effect.tap(call(watched), () =>
          Effect.sync(() => {
            for (const change of changes) change()
            if (changes.length > 0 || tx.drafts.length > 0) this.tell()
          })
        )
      })
  })
}

/**
 * Rests that last until there is something to be found, and no less than their interval: looks that would find nothing
 * are left out. In two days of a test's time this is the difference between minutes and milliseconds.
 */
export const rests = (clock: TapeClock, { agenda }: News): { readonly make: (looks: Looks) => Rest } => ({
  make: (looks) => {
    const topic = agenda.of(looks)
    let version = topic.version
    let lookedAt = clock.unsafeCurrentTimeMillis()
    return (duration, until = Number.POSITIVE_INFINITY) =>
      Effect.gen(function* () {
        const interval = Math.max(1, Duration.toMillis(duration))
        const end = clock.unsafeCurrentTimeMillis() + interval
        let next: number | undefined
        for (;;) {
          const now = clock.unsafeCurrentTimeMillis()
          // What is written is found by the next of the looks, of which all before have been left out.
          if (topic.version !== version) next ??= end + Math.max(0, Math.floor((now - end) / interval) + 1) * interval
          // Whole milliseconds: a sleep is rounded, and what is left of one could be shorter than any.
          const pause = Math.ceil((next ?? Math.max(end, Math.min(until, topic.due(lookedAt)))) - now)
          if (pause <= 0) return
          yield* Effect.raceFirst(Effect.sleep(pause), topic.changed)
        }
      }).pipe(
        // Whatever ends the rest, the look comes after it.
        Effect.ensuring(
          Effect.sync(() => {
            version = topic.version
            lookedAt = clock.unsafeCurrentTimeMillis()
          })
        )
      )
  }
})
