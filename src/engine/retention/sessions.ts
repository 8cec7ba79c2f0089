/**
 * Sessions that nobody has touched for a while, handed to somebody who keeps them elsewhere.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Session } from "../../gen/tape/v1/tape_pb.js"
import { discard, toRecord, toSession } from "../ledgers/Sessions.js"
import type { StoreError } from "../StoreError.js"
import { type Page, pageBytes } from "../store/Room.js"
import type { Store } from "../store/Store.js"
import type { Reader } from "../store/Transaction.js"
import { type SessionEvent, SessionEvents, type SessionRow, Sessions } from "../store/tables.js"

type StoreService = Context.Tag.Service<Store>

const pageSize = 50
const eventsPage = 500

/** Archives every session that was last updated before a time, the one that has rested longest first. */
export const archiveIdle = Effect.fnUntraced(function* <E, R>(
  store: StoreService,
  before: bigint,
  archive: (session: Session) => Effect.Effect<void, E, R>
) {
  const report = { archived: 0, events: 0, changed: 0 }
  let last: SessionRow | undefined
  while (true) {
    const { isAll, rows }: Page<SessionRow> = yield* store.read((snapshot) => idle(snapshot, before, last))
    for (const row of rows) {
      const session = yield* wholeOf(store, row)
      yield* archive(session)
      if (yield* discardUnchanged(store, row)) {
        report.archived += 1
        report.events += session.events.length
      } else {
        report.changed += 1
      }
    }
    last = rows.at(-1)
    if (isAll && rows.length < pageSize) {
      return report
    }
  }
})

const idle = (reader: Reader, before: bigint, last: SessionRow | undefined) =>
  reader.selectWithin(
    Sessions,
    `where last_update_time_ms < ? ${last === undefined ? "" : "and (last_update_time_ms, events_id) > (?, ?)"}
     order by last_update_time_ms, events_id limit ?`,
    [before, ...(last === undefined ? [] : [last.lastUpdateTimeMs, last.eventsId]), BigInt(pageSize)],
    { bytes: pageBytes }
  )

const wholeOf = Effect.fnUntraced(function* (
  store: StoreService,
  row: SessionRow
): Effect.fn.Return<Session, StoreError> {
  const events: Array<SessionEvent> = []
  while (events.length < row.eventCount) {
    const { rows } = yield* store.read((snapshot) =>
      snapshot.selectWithin(
        SessionEvents,
        "where events_id = ? and ord >= ? order by ord limit ?",
        [row.eventsId, BigInt(events.length), BigInt(eventsPage)],
        { bytes: pageBytes }
      )
    )
    events.push(...rows)
    if (rows.length === 0) {
      break
    }
  }
  return { ...toSession(row), events: events.map(toRecord) }
})

/** A session that went on while it was being archived stays. */
const discardUnchanged = (store: StoreService, row: SessionRow) =>
  store.write((tx) =>
    Effect.map(tx.get(Sessions, row), (now) => {
      const isUnchanged =
        now !== undefined &&
        now.eventsId === row.eventsId &&
        now.eventCount === row.eventCount &&
        now.stateJson === row.stateJson
      if (isUnchanged) {
        discard(tx, now)
      }
      return isUnchanged
    })
  )
