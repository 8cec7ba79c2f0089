/** What a reaction does about an entry: create a task, or begin a run. */
import { create } from "@bufbuild/protobuf"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { BeginRunRequestSchema, HandlerKind, RunStatus, TaskStatus } from "../../gen/tape/v1/tape_pb.js"
import type { Answer } from "../ledgers/common.js"
import * as Ledger from "../ledgers/Runs.js"
import type { StoreError } from "../StoreError.js"
import type { Store } from "../store/Store.js"
import type { Transaction } from "../store/Transaction.js"
import { type Entry, type ReactionRow, type Run, Runs, type TaskRow, Tasks } from "../store/tables.js"
import { shardOf } from "./shard.js"

/** Acts on entries, in order. */
export const act = (tx: Transaction, reaction: ReactionRow, entries: ReadonlyArray<Entry>): Answer<void> =>
  entries.length === 0
    ? Effect.void
    : reaction.handlerKind === HandlerKind.AGENT
      ? Effect.forEach(entries, (entry) => beginRun(tx, reaction, entry), { discard: true })
      : createTasks(tx, reaction, entries)

/**
 * Leaves out the entries of runs that the reaction itself has begun: it would never come to an end. That a run is such
 * a one never changes, so it is looked up once.
 */
export const withoutOwnRuns = (store: Context.Tag.Service<Store>, reaction: ReactionRow) => {
  const known = new Map<string, boolean>()
  const lookUp = (runId: string): Effect.Effect<boolean, StoreError> =>
    Effect.map(
      store.read((snapshot) => snapshot.get(Runs, { runId })),
      (run) => {
        const isOwn = run !== undefined && isBegunBy(run, reaction.reactionId)
        if (known.size >= mostKnown) {
          known.clear()
        }
        known.set(runId, isOwn)
        return isOwn
      }
    )
  return (entries: ReadonlyArray<Entry>): Effect.Effect<ReadonlyArray<Entry>, StoreError> =>
    reaction.handlerKind === HandlerKind.AGENT
      ? Effect.filter(entries, ({ runId }) => {
          const isOwn = runId === "" ? false : known.get(runId)
          return isOwn === undefined ? Effect.map(lookUp(runId), (isOwn) => !isOwn) : Effect.succeed(!isOwn)
        })
      : Effect.succeed(entries)
}

const mostKnown = 4_096

const label = { reaction: "tape.reaction_id", source: "tape.source_global_seq" }

const invocationOf = (reactionId: string, globalSeq: bigint | string): string => `react-${reactionId}-${globalSeq}`

/** A label alone can be anybody's; together with the invocation it is ours. */
const isBegunBy = (run: Run, reactionId: string): boolean => {
  const labels: { readonly [name: string]: string | undefined } = JSON.parse(run.labelsJson)
  return (
    labels[label.reaction] === reactionId && run.invocationId === invocationOf(reactionId, labels[label.source] ?? "")
  )
}

/** Begins the run of an entry, for whoever recovers runs; one that exists is left alone. */
const beginRun = Effect.fnUntraced(function* (tx: Transaction, reaction: ReactionRow, entry: Entry) {
  const appName = reaction.agentApp
  const invocationId = invocationOf(reaction.reactionId, entry.globalSeq)
  if ((yield* tx.find(Runs, "invocation", [appName, "", "", invocationId])) !== undefined) {
    return
  }
  const request = create(BeginRunRequestSchema, {
    appName,
    invocationId,
    labels: { [label.reaction]: reaction.reactionId, [label.source]: String(entry.globalSeq) }
  })
  const trace = { traceId: entry.traceId, spanId: "", parentSpanId: entry.spanId }
  const { runId } = yield* Ledger.begin({ tx, trace }, request, true, () => Effect.succeed(false))
  const run = yield* tx.get(Runs, { runId })
  if (run !== undefined) {
    tx.put(Runs, { ...run, status: RunStatus.RUNNABLE, leaseExpiresAtMs: tx.nowMs })
  }
})

const createTasks = Effect.fnUntraced(function* (
  tx: Transaction,
  reaction: ReactionRow,
  entries: ReadonlyArray<Entry>
): Effect.fn.Return<void, StoreError> {
  const windowMs = BigInt(Math.max(0, reaction.debounceMs))
  const open = new Map<string, TaskRow>()
  if (windowMs > 0n) {
    for (const row of yield* pending(tx, reaction, entries, tx.nowMs - windowMs)) {
      open.set(row.subject, row)
    }
  }
  for (const entry of entries) {
    const waiting = open.get(entry.subject)
    const row = waiting === undefined ? taskOf(tx, reaction, entry) : { ...waiting, ...sourceOf(entry) }
    tx.put(Tasks, row)
    if (windowMs > 0n) {
      open.set(entry.subject, row)
    }
  }
})

/** The tasks of the same subjects that nobody has claimed and that are younger than the window, the newest last. */
const pending = (tx: Transaction, reaction: ReactionRow, entries: ReadonlyArray<Entry>, sinceMs: bigint) => {
  const subjects = [...new Set(entries.map(({ subject }) => subject))]
  // Statements are prepared by their text: few lengths make few of them.
  const padded = Array.from({ length: 2 ** Math.ceil(Math.log2(subjects.length)) }, (_, index) => subjects[index] ?? "")
  const any = padded.map(() => "?").join(", ")
  return tx.select(
    Tasks,
    `where reaction_id = ? and status = ${TaskStatus.PENDING} and created_at_ms > ?
       and substr(subject, 1, ${indexed}) in (${any}) and subject in (${any}) order by created_at_ms, first_global_seq`,
    [reaction.reactionId, sinceMs, ...padded.map(beginningOf), ...padded]
  )
}

/** A subject may be longer than an index has room for: its beginning is looked up, in characters as SQL counts them. */
const indexed = 256
const beginningOf = (subject: string): string => Array.from(subject).slice(0, indexed).join("")

const taskOf = (tx: Transaction, reaction: ReactionRow, entry: Entry): TaskRow => ({
  taskId: tx.newId(),
  reactionId: reaction.reactionId,
  shard: shardOf(entry.runId, reaction.numShards),
  firstGlobalSeq: entry.globalSeq,
  ...sourceOf(entry),
  status: TaskStatus.PENDING,
  attempts: 0,
  nextAttemptAtMs: 0n,
  leaseOwner: "",
  leaseExpiresAtMs: 0n,
  lastError: "",
  createdAtMs: tx.nowMs,
  finishedBy: "",
  finishedAtMs: 0n
})

const sourceOf = (entry: Entry) => ({
  sourceRunId: entry.runId,
  sourceGlobalSeq: entry.globalSeq,
  subject: entry.subject,
  payloadJson: entry.payloadJson,
  traceId: entry.traceId,
  parentSpanId: entry.spanId
})
