/**
 * Sessions: a state that events change, and the events.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type {
  AppendEventRequest,
  CreateSessionRequest,
  DeleteSessionRequest,
  EventRecord,
  GetSessionRequest,
  ListSessionsRequest
} from "../../gen/tape/v1/tape_pb.js"
import {
  AppendEventResponseSchema,
  DeleteSessionResponseSchema,
  EventRecordSchema,
  GetSessionResponseSchema,
  ListSessionsResponseSchema,
  SessionSchema
} from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import * as JsonText from "../internal/jsonText.js"
import * as Journal from "../Journal.js"
import * as Subject from "../Subject.js"
import type { Reader, Transaction } from "../store/Transaction.js"
import { DiscardedEvents, type SessionEvent, SessionEvents, type SessionRow, Sessions } from "../store/tables.js"
import { limitOf } from "./common.js"

/** Makes a session. Of one that exists the state is replaced, unless none is given; its events stay. */
export const make = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: CreateSessionRequest) {
  const { appName, stateJson, userId } = request
  const sessionId = request.sessionId === "" ? tx.newId() : request.sessionId
  const held = yield* tx.get(Sessions, { appName, userId, sessionId })
  const row = { ...(held ?? empty(tx, { appName, userId, sessionId })), lastUpdateTimeMs: tx.nowMs }
  const session = stateJson === "" ? row : { ...row, stateJson }
  tx.put(Sessions, session)
  return toSession(session)
})

/** A session with its last events, in the order in which they were appended. */
export const get = Effect.fnUntraced(function* (reader: Reader, request: GetSessionRequest, maxListed: number) {
  const { appName, maxEvents, sessionId, userId } = request
  const row = yield* reader.get(Sessions, { appName, userId, sessionId })
  if (row === undefined) {
    return create(GetSessionResponseSchema, { found: false })
  }
  const newestFirst = yield* reader.select(SessionEvents, "where events_id = ? order by ord desc limit ?", [
    row.eventsId,
    limitOf(maxEvents, maxListed)
  ])
  const events = newestFirst.toReversed().map(toRecord)
  return create(GetSessionResponseSchema, { found: true, session: { ...toSession(row), events } })
})

/** The sessions of exactly this app and user, without their events, the one that changed last first. */
export const list = Effect.fnUntraced(function* (
  reader: Reader,
  { appName, userId }: ListSessionsRequest,
  maxListed: number
) {
  const rows = yield* reader.select(
    Sessions,
    "where app_name = ? and user_id = ? order by last_update_time_ms desc limit ?",
    [appName, userId, BigInt(maxListed)]
  )
  return create(ListSessionsResponseSchema, { sessions: rows.map(toSession) })
})

/** Removes a session at once; its events are out of reach from then on, and removed bit by bit. */
export const remove = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: DeleteSessionRequest) {
  const { appName, sessionId, userId } = request
  const row = yield* tx.get(Sessions, { appName, userId, sessionId })
  if (row !== undefined) {
    discard(tx, row)
  }
  return create(DeleteSessionResponseSchema, { deleted: row !== undefined })
})

export const discard = (tx: Transaction, { appName, eventCount, eventsId, sessionId, userId }: SessionRow): void => {
  tx.remove(Sessions, { appName, userId, sessionId })
  if (eventCount > 0n) {
    tx.put(DiscardedEvents, { eventsId, discardedAtMs: tx.nowMs })
  }
}

/** Appends an event and merges its delta into the state; an event that is stored already is answered as it is. */
export const append = Effect.fnUntraced(function* (
  context: Journal.Context,
  request: AppendEventRequest,
  maxBytes: number
) {
  const { tx } = context
  const { appName, event, sessionId, stateDeltaJson, userId } = request
  if (event === undefined) {
    return yield* Refusal.invalid("event is missing")
  }
  const session = (yield* tx.get(Sessions, { appName, userId, sessionId })) ?? empty(tx, { appName, userId, sessionId })
  const stored =
    event.id === "" || session.eventCount === 0n
      ? undefined
      : yield* tx.find(SessionEvents, "event", [session.eventsId, event.id])
  if (stored !== undefined) {
    return toResponse(stored, session)
  }
  const stateJson = yield* merge(session.stateJson, stateDeltaJson)
  const size = Buffer.byteLength(stateJson) + otherBytes
  if (size > maxBytes && stateJson.length > session.stateJson.length) {
    return yield* Refusal.exhausted(
      `the session's state would take ${size} bytes, and nobody could read it; the limit is ${maxBytes} bytes`
    )
  }
  const row = toRow(event, session, tx.nowMs)
  const changed = {
    ...session,
    stateJson,
    lastUpdateTimeMs: row.timestampMs,
    eventCount: session.eventCount + 1n
  }
  yield* Journal.appendUnowned(context, {
    kind: "event",
    subject: Subject.make("event", "appended", appName, userId, sessionId),
    payload: { author: event.author, event_id: event.id, invocation_id: event.invocationId }
  })
  tx.put(Sessions, changed)
  tx.put(SessionEvents, row)
  return toResponse(row, changed)
})

/**
 * The members of the delta replace those of the state, null removes; what is no object changes nothing. Written with
 * sorted keys and without space, whether or not anything changed.
 */
const merge = (stateJson: string, deltaJson: string): Effect.Effect<string, Refusal> => {
  if (deltaJson !== "" && !JsonText.isJson(deltaJson)) {
    return Refusal.invalid("state_delta_json is not JSON")
  }
  if (!JsonText.isJson(stateJson)) {
    return deltaJson === ""
      ? Effect.succeed(stateJson)
      : Refusal.invalid("the session's state_json is not JSON: nothing can be merged into it")
  }
  const state = JsonText.members(stateJson)
  if (state === undefined) {
    return Effect.succeed(JsonText.withoutSpace(stateJson))
  }
  const merged = new Map(state)
  const delta = deltaJson === "" ? undefined : JsonText.members(deltaJson)
  delta?.forEach((value, name) => {
    if (value === "null") {
      merged.delete(name)
    } else {
      merged.set(name, value)
    }
  })
  return Effect.succeed(JsonText.object(merged))
}

/** What a message has around a session's state, at most: its key, numbers and tags. */
const otherBytes = 3_000

const empty = (tx: Transaction, key: Pick<SessionRow, "appName" | "userId" | "sessionId">): SessionRow => ({
  ...key,
  stateJson: "{}",
  lastUpdateTimeMs: tx.nowMs,
  eventsId: tx.newId(),
  eventCount: 0n
})

const toRow = (event: EventRecord, { eventCount, eventsId }: SessionRow, nowMs: bigint): SessionEvent => ({
  eventsId,
  ord: eventCount,
  id: event.id,
  invocationId: event.invocationId,
  author: event.author,
  branch: event.branch,
  contentJson: event.contentJson,
  actionsJson: event.actionsJson,
  timestampMs: event.timestampMs > 0n ? event.timestampMs : nowMs
})

export const toSession = ({ eventCount: _, eventsId: __, ...session }: SessionRow) => create(SessionSchema, session)

export const toRecord = (row: SessionEvent): EventRecord => {
  const { eventsId: _, ord: __, ...record } = row
  return create(EventRecordSchema, record)
}

const toResponse = (row: SessionEvent, { lastUpdateTimeMs }: SessionRow) =>
  create(AppendEventResponseSchema, { event: toRecord(row), lastUpdateTimeMs })
