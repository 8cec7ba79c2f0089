/**
 * Effects in the journal, for whatever acts in a run: where a call stands, its row, and how the row is settled.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { EffectDispatchMode, type EffectRecord, type EffectSemantics, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { RecordUnreadable, RunFinished, ScopeDenied } from "./errors.js"
import type { CodecError } from "./json.js"
import { ask, compare, type Life, stop } from "./run.js"

/** Where a call stands in its run, and with it the call's key. */
export interface Place {
  readonly key: string
  /** Sent only when the key is not the tape's own by position. */
  readonly customKey: string
  readonly decision: number
  readonly index: number
  /** One call at a time under an explicit key; positions are used once. */
  readonly lock: Effect.Semaphore | undefined
  /** A life that has used the key before finds a row of its own there. */
  readonly repeated: boolean
  /** Gives an unused position back, so that a retry does not move the calls after it. */
  readonly release: Effect.Effect<void>
}

/** Takes the next position, or the place that an explicit key names. */
export const place = (life: Life, tool: string, key: string | undefined): Place => {
  const { decision, keyed, positions } = life.state
  if (key !== undefined) {
    // Under the run's id, because counterparties dedupe on it: two runs may choose the same key.
    const customKey = `${life.runId}/key/${tool}/${key}`
    const known = keyed.get(customKey)
    const lock = known ?? Effect.unsafeMakeSemaphore(1)
    keyed.set(customKey, lock)
    return { key: customKey, customKey, decision, index: 0, lock, repeated: known !== undefined, release: Effect.void }
  }
  const position = `${decision < 0 ? "no-decision" : `decision-${decision}`}/${tool}`
  const index = positions.get(position) ?? 0
  positions.set(position, index + 1)
  return {
    key: `${life.runId}/${position}/${index}`,
    customKey: "",
    decision,
    index,
    lock: undefined,
    repeated: false,
    release: Effect.sync(() => {
      if (positions.get(position) === index + 1) positions.set(position, index)
    })
  }
}

/** One of the run's own records, beside its program: `input`, `outcome`, timers of gates, charges. */
export const reserved = (life: Life, name: string): Place => ({
  key: `${life.runId}/${name}`,
  customKey: `${life.runId}/${name}`,
  decision: -1,
  index: 0,
  lock: undefined,
  repeated: false,
  release: Effect.void
})

/** What is to be begun. */
export interface Intent {
  readonly place: Place
  readonly tool: string
  readonly requestJson: string
  readonly semantics: EffectSemantics
  readonly outbox?: { readonly connector: string; readonly businessKey: string } | undefined
  /** What the run must have been granted. */
  readonly scope?: string | undefined
}

/** The state of an effect, as far as a call needs it. */
export interface Row {
  readonly tool: string
  readonly key: string
  readonly seq: bigint
  readonly status: EffectStatus
  readonly requestJson: string
  readonly responseJson: string
  readonly errorJson: string
  /** Begun before this call: somebody may have acted on it already. */
  readonly former: boolean
}

/** A record of the tape as a row; `former`: it was there before. */
export const rowOf = (record: EffectRecord, former: boolean): Row => ({
  tool: record.toolName,
  key: record.idempotencyKey,
  seq: record.seq,
  status: record.status,
  requestJson: record.requestJson,
  responseJson: record.responseJson,
  errorJson: record.errorJson,
  former
})

/** The row under a key, if there is one. */
export const find = (life: Life, key: string): Effect.Effect<EffectRecord | undefined> =>
  Effect.map(ask(life, life.tape.getEffect({ runId: life.runId, idempotencyKey: key })), ({ effect, found }) =>
    found ? effect : undefined
  )

/** Commits the intent, or finds what is recorded in its place. */
export const begin = (life: Life, intent: Intent): Effect.Effect<Row> =>
  life.mode === "first" && !intent.place.repeated
    ? insert(life, intent)
    : Effect.flatMap(find(life, intent.place.key), (record) => {
        if (record !== undefined) {
          return Effect.as(
            Effect.zipRight(
              compare(life, `${record.idempotencyKey} (tool)`, toJson(record.toolName), toJson(intent.tool)),
              compare(life, record.idempotencyKey, record.requestJson, intent.requestJson)
            ),
            rowOf(record, true)
          )
        }
        return life.mode === "finished"
          ? stop(life, new RunFinished({ runId: life.runId, asked: intent.place.key }))
          : insert(life, intent)
      })

const toJson = (text: string): string => JSON.stringify(text)

const insert = (life: Life, intent: Intent): Effect.Effect<Row> => {
  const { outbox, place, scope = "" } = intent
  const call = life.tape.beginEffect({
    runId: life.runId,
    decisionIndex: BigInt(place.decision),
    toolName: intent.tool,
    callIndex: place.index,
    requestJson: intent.requestJson,
    customKey: place.customKey,
    semantics: intent.semantics,
    dispatchMode: outbox === undefined ? EffectDispatchMode.INLINE : EffectDispatchMode.OUTBOX,
    connector: outbox?.connector ?? "",
    businessKey: outbox?.businessKey ?? "",
    scope
  })
  const allowed = Effect.catchTag(call, "PermissionDenied", ({ detail }) =>
    stop(life, new ScopeDenied({ runId: life.runId, tool: intent.tool, scope, detail }))
  )
  return Effect.map(
    ask(life, allowed),
    ({ errorJson, idempotencyKey, responseJson, seq, status }): Row => ({
      tool: intent.tool,
      key: idempotencyKey,
      seq,
      status,
      requestJson: intent.requestJson,
      responseJson,
      errorJson,
      former: status !== EffectStatus.PENDING || idempotencyKey !== place.key
    })
  )
}

/** Settles as UNKNOWN what the program left in its middle: a run that has ended leaves no intent open that is its own. */
export const settleOpen = (life: Life): Effect.Effect<void> =>
  Effect.forEach(
    life.state.open,
    ([key, tool]) =>
      Effect.flatMap(find(life, key), (record) =>
        record?.status === EffectStatus.PENDING
          ? settle(life, rowOf(record, true), {
              status: EffectStatus.UNKNOWN,
              errorJson: JSON.stringify({ reason: `the call of ${tool} was interrupted` })
            })
          : Effect.void
      ),
    { discard: true }
  )

/** How an effect turned out. */
export interface Verdict {
  readonly status: EffectStatus.CONFIRMED | EffectStatus.FAILED | EffectStatus.UNKNOWN
  readonly responseJson?: string | undefined
  readonly errorJson?: string | undefined
}

/**
 * Records how the effect turned out. What comes back is what counts: somebody else may have settled it first.
 *
 * One call to the tape is never cut in half by an interruption; the pauses between its repeats are.
 */
export const settle = (life: Life, row: Row, verdict: Verdict): Effect.Effect<Row> => {
  const { errorJson = "", responseJson = "", status } = verdict
  const ids = { runId: life.runId, idempotencyKey: row.key, responseJson, errorJson }
  const reconcile = ask(life, Effect.uninterruptible(life.tape.reconcileEffect({ ...ids, resolvedStatus: status })))
  const written =
    row.status === EffectStatus.UNKNOWN
      ? reconcile
      : Effect.flatMap(ask(life, Effect.uninterruptible(life.tape.completeEffect({ ...ids, status }))), (record) =>
          // Declared UNKNOWN meanwhile, by somebody who knows less than we do.
          record.status === EffectStatus.UNKNOWN && status !== EffectStatus.UNKNOWN ? reconcile : Effect.succeed(record)
        )
  return Effect.map(written, (record) => {
    life.state.open.delete(row.key)
    return rowOf(record, true)
  })
}

/** Reads a record by its schema; one that cannot be read stops the run. */
export const readable = <A, R>(
  life: Life,
  record: string,
  read: Effect.Effect<A, CodecError, R>
): Effect.Effect<A, never, R> =>
  Effect.catchAll(read, ({ reason }) => stop(life, new RecordUnreadable({ runId: life.runId, record, reason })))

/** Writes a value that the program gave; one that has no JSON stops the run. */
export const writable = <A, R>(
  life: Life,
  what: string,
  written: Effect.Effect<A, CodecError, R>
): Effect.Effect<A, never, R> =>
  Effect.catchAll(written, ({ reason }) =>
    stop(life, new RecordUnreadable({ runId: life.runId, record: what, reason: `it cannot be written: ${reason}` }))
  )
