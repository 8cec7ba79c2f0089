/**
 * Reactions: which entries of the journal start something, and what.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type { DeregisterReactionRequest, ListReactionsRequest, Reaction } from "../../gen/tape/v1/tape_pb.js"
import {
  DeregisterReactionResponseSchema,
  HandlerKind,
  ListReactionsResponseSchema,
  ReactionSchema
} from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import type * as Journal from "../Journal.js"
import * as Predicate from "../Predicate.js"
import * as Subject from "../Subject.js"
import type { Reader, Transaction } from "../store/Transaction.js"
import { Counters, Journal as Entries, type ReactionRow, Reactions } from "../store/tables.js"
import type { Answer } from "./common.js"

/** Refuses what no matcher could run. Compiling takes its time, so this comes before the transaction. */
export const check = (request: Reaction): Effect.Effect<void, Refusal> => {
  const { agentApp, handlerKind, predicateCel, subjectPattern } = request
  const problem =
    Subject.patternProblem(subjectPattern) ??
    (handlerKind === HandlerKind.UNSPECIFIED || HandlerKind[handlerKind] === undefined
      ? `handler_kind ${handlerKind} is not one of 1 (AGENT), 2 (TASK), 3 (PUBLISH)`
      : handlerKind === HandlerKind.AGENT && agentApp === ""
        ? "agent_app is required: an AGENT reaction begins runs of that app"
        : undefined)
  return problem === undefined
    ? Effect.asVoid(Effect.mapError(Predicate.compile(predicateCel), Predicate.toRefusal))
    : Effect.fail(Refusal.invalid(problem))
}

/**
 * Registers a reaction or changes it; one that was deregistered comes back. A new one starts at the beginning of the
 * journal, or at its head if asked; a known one goes on where it was.
 */
export const register = Effect.fnUntraced(function* ({ tx }: Journal.Context, request: Reaction) {
  const { $typeName: _, $unknown: __, bootstrapFromHead, ...settings } = request
  const existing = request.reactionId === "" ? undefined : yield* tx.get(Reactions, request)
  const start = existing === undefined && bootstrapFromHead ? yield* headOf(tx) : 0n
  const row: ReactionRow = {
    ...settings,
    reactionId: request.reactionId === "" ? tx.newId() : request.reactionId,
    maxConcurrency: orDefault(request.maxConcurrency, 1),
    numShards: orDefault(request.numShards, 1),
    retryMax: orDefault(request.retryMax, 5),
    dlqAfterN: orDefault(request.dlqAfterN, defaults.dlqAfterN),
    retryBackoffMs: orDefault(request.retryBackoffMs, defaults.retryBackoffMs),
    createdAtMs: existing?.createdAtMs ?? (request.createdAtMs > 0n ? request.createdAtMs : tx.nowMs),
    deleted: false,
    revision: yield* nextRevision(tx),
    matchedUpTo: existing?.matchedUpTo ?? start
  }
  tx.put(Reactions, row)
  return toRecord(row)
})

/** Stops a reaction. It keeps its place in the journal, and its tasks. */
export const deregister = Effect.fnUntraced(function* (
  { tx }: Journal.Context,
  { reactionId }: DeregisterReactionRequest
) {
  const row = yield* tx.get(Reactions, { reactionId })
  if (row !== undefined && !row.deleted) {
    tx.put(Reactions, { ...row, deleted: true, revision: yield* nextRevision(tx) })
  }
  return create(DeregisterReactionResponseSchema, { deregistered: row !== undefined })
})

/** The active reactions, the oldest first; those of one pattern, as text, if it is given. */
export const list = (reader: Reader, { subjectPattern }: ListReactionsRequest, maxListed: number) =>
  Effect.map(
    reader.select(
      Reactions,
      `where deleted = 0 ${subjectPattern === "" ? "" : "and subject_pattern = ?"}
       order by created_at_ms, reaction_id limit ?`,
      [...(subjectPattern === "" ? [] : [subjectPattern]), BigInt(maxListed + 1)]
    ),
    (rows) => create(ListReactionsResponseSchema, { reactions: rows.map(toRecord) })
  )

/** Every active reaction, for the matcher. */
export const active = (reader: Reader): Answer<ReadonlyArray<ReactionRow>> =>
  reader.select(Reactions, "where deleted = 0 order by created_at_ms, reaction_id", [])

/** Changes whenever a reaction is registered or deregistered, on whichever server. */
export const revision = (reader: Reader) =>
  Effect.map(reader.get(Counters, revisionKey), (counter) => counter?.value ?? 0n)

/** What counts for a task whose reaction is unknown. */
export const defaults = { retryBackoffMs: 1000, dlqAfterN: 5 }

const revisionKey = { name: "reactions" }

const nextRevision = (tx: Transaction) =>
  Effect.map(revision(tx), (last) => {
    tx.put(Counters, { ...revisionKey, value: last + 1n })
    return last + 1n
  })

const headOf = (tx: Transaction) =>
  Effect.map(tx.select(Entries, "order by global_seq desc limit 1", []), ([last]) => last?.globalSeq ?? 0n)

const orDefault = (given: number, byDefault: number): number => (given > 0 ? given : byDefault)

const toRecord = (row: ReactionRow): Reaction => {
  const { matchedUpTo: _, revision: __, ...reaction } = row
  return create(ReactionSchema, reaction)
}
