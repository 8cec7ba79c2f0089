/** What handlers receive, decoded. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { codec } from "../durable/json.js"
import type { Task } from "../gen/tape/v1/tape_pb.js"

/** A task that no handler of this reaction will ever be able to read. */
export class Unreadable extends Data.TaggedError("Unreadable")<{ readonly reason: string }> {
  override get message(): string {
    return this.reason
  }
}

/**
 * What every handler receives: the task, and the entry of the journal that it is about.
 *
 * @since 0.1.0
 * @category events
 */
export interface Event {
  /** The subject of the entry, its dimensions encoded: see {@link encodeSegment}. */
  readonly subject: string
  /** The run of the entry; empty for values, which belong to none. */
  readonly runId: string
  /** The place of the entry in the journal; under debouncing that of the last one. */
  readonly globalSeq: bigint
  /** Which attempt this is, from 1. */
  readonly attempt: number
  /** The task as it is on the wire. */
  readonly task: Task
}

/**
 * @since 0.1.0
 * @category events
 */
export interface ValueChanged<out A> extends Event {
  readonly namespace: string
  readonly key: string
  readonly value: A
  readonly version: bigint
  readonly writer: string
}

/**
 * @since 0.1.0
 * @category events
 */
export interface ValueDeleted extends Event {
  readonly namespace: string
  readonly key: string
  /** The version of the deletion. */
  readonly version: bigint
}

/**
 * @since 0.1.0
 * @category events
 */
export interface EffectChanged extends Event {
  readonly tool: string
  readonly idempotencyKey: string
  readonly status: string
  /** What a dispatcher said of an attempt; empty otherwise. */
  readonly error: string
}

/**
 * @since 0.1.0
 * @category events
 */
export interface DecisionRecorded extends Event {
  readonly decisionIndex: number
  readonly model: string
  readonly policyVersion: string
  readonly rationale: string
}

/**
 * @since 0.1.0
 * @category events
 */
export interface GateChanged extends Event {
  readonly gate: string
  readonly status: string
}

/**
 * @since 0.1.0
 * @category events
 */
export interface RunChanged extends Event {
  readonly status: string
  readonly app: string
  readonly user: string
  readonly session: string
}

/**
 * @since 0.1.0
 * @category events
 */
export interface Matched<out A> extends Event {
  readonly payload: A
}

const eventOf = (task: Task): Event => ({
  subject: task.subject,
  runId: task.sourceRunId,
  globalSeq: task.sourceGlobalSeq,
  attempt: task.attempts,
  task
})

const named = (snake: string) => Schema.propertySignature(Schema.String).pipe(Schema.fromKey(snake))
const textOrEmpty = Schema.optionalWith(Schema.String, { default: () => "" })

const Changed = Schema.Struct({
  namespace: Schema.String,
  key: Schema.String,
  value: Schema.Struct({ value_json: Schema.String }),
  version: Schema.BigIntFromNumber,
  writer: textOrEmpty
})
const Deleted = Schema.Struct({ namespace: Schema.String, key: Schema.String, version: Schema.BigIntFromNumber })
const Effected = Schema.Struct({
  tool: Schema.String,
  idempotencyKey: named("idempotency_key"),
  status: Schema.String,
  error: textOrEmpty
})
const Decided = Schema.Struct({
  decisionIndex: Schema.propertySignature(Schema.Number).pipe(Schema.fromKey("decision_index")),
  model: Schema.String,
  policyVersion: named("policy_version"),
  rationale: Schema.String
})
const Gated = Schema.Struct({ gate: Schema.String, status: Schema.String })
const Ran = Schema.Struct({
  // A run that was compacted says only its id.
  status: textOrEmpty,
  app: textOrEmpty,
  user: textOrEmpty,
  session: textOrEmpty
})

const decoding = <A, I, R>(what: string, schema: Schema.Schema<A, I, R>) => {
  const { decode } = codec(schema)
  return (text: string): Effect.Effect<A, Unreadable, R> =>
    Effect.mapError(decode(text), ({ reason }) => new Unreadable({ reason: `the ${what} cannot be read: ${reason}` }))
}

const reading = <A extends object, I, R>(schema: Schema.Schema<A, I, R>) => {
  const decode = decoding("payload", schema)
  return (task: Task): Effect.Effect<Event & A, Unreadable, R> =>
    Effect.map(decode(task.payloadJson), (fields) => ({ ...fields, ...eventOf(task) }))
}

export const valueDeleted: (task: Task) => Effect.Effect<ValueDeleted, Unreadable> = reading(Deleted)
export const effectChanged: (task: Task) => Effect.Effect<EffectChanged, Unreadable> = reading(Effected)
export const decisionRecorded: (task: Task) => Effect.Effect<DecisionRecorded, Unreadable> = reading(Decided)
export const gateChanged: (task: Task) => Effect.Effect<GateChanged, Unreadable> = reading(Gated)
export const runChanged: (task: Task) => Effect.Effect<RunChanged, Unreadable> = reading(Ran)

export const valueChanged = <A, I, R>(schema: Schema.Schema<A, I, R>) => {
  const change = reading(Changed)
  const decode = decoding("value", schema)
  return (task: Task): Effect.Effect<ValueChanged<A>, Unreadable, R> =>
    Effect.flatMap(change(task), (event) =>
      Effect.map(decode(event.value.value_json), (value) => ({ ...event, value }))
    )
}

export const matched = <A, I, R>(schema: Schema.Schema<A, I, R>) => {
  const decode = decoding("payload", schema)
  return (task: Task): Effect.Effect<Matched<A>, Unreadable, R> =>
    Effect.map(decode(task.payloadJson), (payload) => ({ ...eventOf(task), payload }))
}
