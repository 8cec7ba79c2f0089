/**
 * The only way to write a journal entry.
 */
import { create, toBinary } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import { EventEntrySchema } from "../gen/tape/v1/tape_pb.js"
import { Refusal } from "../Handlers.js"
import type { StoreError } from "./StoreError.js"
import type { Transaction } from "./store/Transaction.js"
import { Counters, type Run, Runs } from "./store/tables.js"
import type { Trace } from "./Trace.js"

export type Kind = "run" | "decision" | "effect" | "obligation" | "gate" | "value" | "event" | "policy"

/** A value of a payload; keys are written in ascending order, at every level. */
export type Payload =
  | string
  | number
  | bigint
  | boolean
  | null
  | ReadonlyArray<Payload>
  | { readonly [key: string]: Payload }

export interface Event {
  readonly kind: Kind
  readonly subject: string
  readonly payload: Payload
}

/** A call at work: the open transaction, and the trace that the call belongs to. */
export interface Context {
  readonly tx: Transaction
  readonly trace: Trace
}

/**
 * Appends an entry to a run's journal and returns the run with its cursor moved on; the entry's seq is that cursor.
 * `run` is the row as the caller means to leave it: it is written here.
 */
export const append = ({ trace, tx }: Context, run: Run, event: Event): Run => {
  const moved = { ...run, seqCursor: run.seqCursor + 1n }
  tx.put(Runs, moved)
  tx.append(draft(moved.runId, moved.seqCursor, tx, trace, event))
  return moved
}

/**
 * Appends an entry that belongs to no run, and answers its seq; all of these share one counter, so that (run_id, seq)
 * is unique for them too.
 */
export const appendUnowned = ({ trace, tx }: Context, event: Event): Effect.Effect<bigint, StoreError> =>
  Effect.map(tx.get(Counters, { name: "unowned_seq" }), (counter) => {
    const value = (counter?.value ?? 0n) + 1n
    tx.put(Counters, { name: "unowned_seq", value })
    tx.append(draft("", value, tx, trace, event))
    return value
  })

const draft = (runId: string, seq: bigint, tx: Transaction, trace: Trace, event: Event) => ({
  runId,
  seq,
  kind: event.kind,
  subject: event.subject,
  payloadJson: stringify(event.payload),
  tsMs: tx.nowMs,
  schemaVersion: 1,
  ...trace
})

/** Refuses entries that no message could carry: nobody who follows the journal would get past them. */
export const checkSize = ({ tx }: Context, maxBytes: number): Effect.Effect<void, Refusal> => {
  for (const draft of tx.drafts) {
    if (3 * (draft.payloadJson.length + draft.subject.length) > maxBytes - otherBytes) {
      const size = toBinary(EventEntrySchema, create(EventEntrySchema, draft)).length + otherBytes
      if (size > maxBytes) {
        return Refusal.exhausted(
          `the journal entry would take ${size} bytes, texts written as JSON; the limit is ${maxBytes} bytes`
        )
      }
    }
  }
  return Effect.void
}

/** What a message has around an entry's texts, at most: numbers, tags, the ids of a task. */
const otherBytes = 1_000

/** Compact JSON with sorted keys; integers of 64 bits keep every digit. */
export const stringify = (value: Payload): string => {
  if (typeof value === "bigint") {
    return value.toString()
  }
  if (typeof value !== "object" || value === null) {
    return JSON.stringify(value)
  }
  if (isArray(value)) {
    return `[${value.map(stringify).join(",")}]`
  }
  const members = Object.keys(value)
    .toSorted()
    .map((key) => `${JSON.stringify(key)}:${stringify(value[key]!)}`)
  return `{${members.join(",")}}`
}

const isArray = (value: object): value is ReadonlyArray<Payload> => Array.isArray(value)
