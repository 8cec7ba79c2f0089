/**
 * The service `tape.v1`, call by call: which ledger answers, and whether it reads or writes.
 */
import type { DescMessage, DescMethodUnary, Message, MessageShape } from "@bufbuild/protobuf"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Tape } from "../gen/tape/v1/tape_pb.js"
import { type Call, type Handlers, Refusal } from "../Handlers.js"
import * as Events from "./Events.js"
import * as Journal from "./Journal.js"
import * as Listing from "./Listing.js"
import * as Budgets from "./ledgers/Budgets.js"
import * as Compaction from "./ledgers/Compaction.js"
import type { Answer } from "./ledgers/common.js"
import * as Decisions from "./ledgers/Decisions.js"
import * as Effects from "./ledgers/Effects.js"
import * as Gates from "./ledgers/Gates.js"
import * as Obligations from "./ledgers/Obligations.js"
import * as Outbox from "./ledgers/Outbox.js"
import * as Reactions from "./ledgers/Reactions.js"
import * as Requests from "./ledgers/Requests.js"
import * as Runs from "./ledgers/Runs.js"
import * as Sessions from "./ledgers/Sessions.js"
import * as Tasks from "./ledgers/Tasks.js"
import * as Timers from "./ledgers/Timers.js"
import * as Values from "./ledgers/Values.js"
import * as WatchValue from "./ledgers/values/watch.js"
import * as Matcher from "./Matcher.js"
import * as Housekeeping from "./retention/housekeeping.js"
import type { StoreError } from "./StoreError.js"
import type { Snapshot, Store } from "./store/Store.js"
import type { Reader } from "./store/Transaction.js"
import * as Trace from "./Trace.js"
import * as Validate from "./Validate.js"

type StoreService = Context.Tag.Service<Store>

const rpcs = Tape.method

export interface Settings extends Effects.Policy {
  /** The largest request, in bytes. */
  readonly maxMessageBytes: number
  /** The most that a list answers, at least 500. */
  readonly maxListed: number
}

export const make = (
  store: StoreService,
  settings: Settings
): Effect.Effect<Handlers<typeof Tape>, never, Scope.Scope> =>
  Effect.zipWith(Housekeeping.make(store), Matcher.make(store), (housekeeping, matcher) =>
    guarded(served(store, settings, housekeeping, matcher), settings)
  )

const served = (
  store: StoreService,
  settings: Settings,
  housekeeping: Housekeeping.Housekeeping,
  matcher: Matcher.Matcher
): Handlers<typeof Tape> => {
  const write = <A>(call: Call, ledger: (context: Journal.Context) => Answer<A>): Effect.Effect<A, Refusal> => {
    const trace = Trace.fromCall(call)
    return settled(
      store.write((tx) => {
        const context = { tx, trace }
        return Effect.zipLeft(
          ledger(context),
          Effect.suspend(() => Journal.checkSize(context, settings.maxMessageBytes))
        )
      })
    )
  }
  /** A write that is not idempotent by nature: a call that names itself is applied once. */
  const once = <I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    call: Call,
    ledger: (context: Journal.Context) => Answer<MessageShape<O>>
  ): Effect.Effect<MessageShape<O>, Refusal> => {
    const answer = write(call, Requests.once(method, request, call, ledger))
    return call.metadata[Requests.header] === undefined ? answer : Effect.zipLeft(answer, housekeeping.kept)
  }
  const read = <A>(ledger: (snapshot: Snapshot, nowMs: bigint) => Answer<A>): Effect.Effect<A, Refusal> =>
    settled(Effect.flatMap(store.nowMs, (nowMs) => store.read((snapshot) => ledger(snapshot, nowMs))))
  const { maxListed, maxMessageBytes } = settings
  const list = <I extends DescMessage, O extends DescMessage>(
    { output }: DescMethodUnary<I, O>,
    ledger: (reader: Reader, nowMs: bigint) => Answer<MessageShape<O>>
  ): Effect.Effect<MessageShape<O>, Refusal> =>
    read((snapshot, nowMs) => Listing.some(snapshot, output, maxMessageBytes, (reader) => ledger(reader, nowMs)))
  const listWhole = <A>(hint: string, ledger: (reader: Reader) => Answer<A>): Effect.Effect<A, Refusal> =>
    read((snapshot) => Listing.whole(snapshot, hint, settings, ledger))

  return {
    beginRun: (request, call) =>
      write(call, (context) =>
        Runs.begin(context, request, call.metadata["tape-lease"] === "if-free", (runId) =>
          Obligations.hasCompensated(context.tx, runId)
        )
      ),
    resumeRun: (request, call) =>
      write(call, (context) =>
        Effect.flatMap(Gates.isAwaited(context.tx, request.runId), (isAwaited) =>
          Runs.resume(context, request, isAwaited)
        )
      ),
    endRun: (request, call) => once(rpcs.endRun, request, call, (context) => Runs.end(context, request)),
    getRun: (request) => read((snapshot) => Runs.get(snapshot, request.runId)),
    listRunsToRecover: (request) =>
      list(rpcs.listRunsToRecover, (reader, nowMs) => Runs.listToRecover(reader, request, nowMs)),
    subscribeRun: (request) => Events.ofRun(store, request),

    recordDecision: (request, call) => write(call, (context) => Decisions.record(context, request)),
    getDecision: (request) => read((snapshot) => Decisions.get(snapshot, request)),

    beginEffect: (request, call) => Effect.flatten(write(call, (context) => Effects.begin(context, request, settings))),
    completeEffect: (request, call) => write(call, (context) => Effects.complete(context, request)),
    getEffect: (request) => read((snapshot) => Effects.get(snapshot, request)),
    reconcileEffect: (request, call) => write(call, (context) => Effects.reconcile(context, request)),
    listPendingEffects: (request) => list(rpcs.listPendingEffects, (reader) => Effects.listPending(reader, request)),

    listEffectsToDispatch: (request) =>
      list(rpcs.listEffectsToDispatch, (reader, nowMs) => Outbox.listDue(reader, request, nowMs)),
    claimEffectDispatch: (request, call) =>
      once(rpcs.claimEffectDispatch, request, call, (context) => Outbox.claim(context, request)),
    recordDispatchAttempt: (request, call) =>
      once(rpcs.recordDispatchAttempt, request, call, (context) => Outbox.recordAttempt(context, request)),
    recordExternalObservation: (request, call) => write(call, (context) => Outbox.recordObservation(context, request)),

    registerCompensation: (request, call) => write(call, (context) => Obligations.register(context, request)),
    listObligations: (request) =>
      listWhole("ask for only_unresolved, or one status_filter after the other", (reader) =>
        Obligations.list(reader, request, maxListed)
      ),
    resolveObligation: (request, call) => write(call, (context) => Obligations.resolve(context, request)),
    listUnresolvedObligations: (request) =>
      list(rpcs.listUnresolvedObligations, (reader, nowMs) => Obligations.listUnresolved(reader, request, nowMs)),
    claimObligation: (request, call) =>
      once(rpcs.claimObligation, request, call, (context) => Obligations.claim(context, request)),
    recordObligationAttempt: (request, call) =>
      once(rpcs.recordObligationAttempt, request, call, (context) => Obligations.recordAttempt(context, request)),

    setBudget: (request, call) => write(call, (context) => Budgets.set(context, request)),
    admitBudget: (request) => read((snapshot) => Budgets.admit(snapshot, request)),
    chargeBudget: (request, call) =>
      once(rpcs.chargeBudget, request, call, (context) => Budgets.charge(context, request)),

    awaitSignal: (request, call) => write(call, (context) => Gates.await_(context, request)),
    sendSignal: (request, call) => write(call, (context) => Gates.send(context, request)),

    setTimer: (request, call) => {
      const ledger = (context: Journal.Context) => Timers.set(context, request)
      return request.timerId === "" ? once(rpcs.setTimer, request, call, ledger) : write(call, ledger)
    },
    cancelTimer: (request, call) => once(rpcs.cancelTimer, request, call, (context) => Timers.cancel(context, request)),
    listDueTimers: (request, call) =>
      request.claim
        ? once(rpcs.listDueTimers, request, call, (context) => Timers.claimDue(context, request, maxMessageBytes))
        : list(rpcs.listDueTimers, (reader, nowMs) => Timers.listDue(reader, request, nowMs)),

    writeValue: (request, call) => once(rpcs.writeValue, request, call, (context) => Values.write(context, request)),
    getValue: (request) => read((snapshot) => Values.get(snapshot, request)),
    watchValue: (request) => WatchValue.watch(store, request, maxMessageBytes),
    deleteValue: (request, call) => once(rpcs.deleteValue, request, call, (context) => Values.remove(context, request)),

    createSession: (request, call) =>
      once(rpcs.createSession, request, call, (context) => Sessions.make(context, request)),
    getSession: (request) =>
      listWhole("ask for fewer events with max_events", (reader) => Sessions.get(reader, request, maxListed)),
    listSessions: (request) => list(rpcs.listSessions, (reader) => Sessions.list(reader, request, maxListed)),
    deleteSession: (request, call) =>
      Effect.zipLeft(
        once(rpcs.deleteSession, request, call, (context) => Sessions.remove(context, request)),
        housekeeping.discarded
      ),
    appendEvent: (request, call) => {
      const ledger = (context: Journal.Context) => Sessions.append(context, request, maxMessageBytes)
      const hasId = request.event !== undefined && request.event.id !== ""
      return hasId ? write(call, ledger) : once(rpcs.appendEvent, request, call, ledger)
    },

    listCompactableRuns: (request) =>
      list(rpcs.listCompactableRuns, (reader, nowMs) => Compaction.listCompactable(reader, request, nowMs)),
    compactRun: (request, call) => write(call, (context) => Compaction.compact(context, request)),

    registerReaction: (request, call) => {
      const ledger = (context: Journal.Context) => Reactions.register(context, request)
      const registered =
        request.reactionId === "" ? once(rpcs.registerReaction, request, call, ledger) : write(call, ledger)
      return Effect.zipRight(Reactions.check(request), Effect.zipLeft(registered, matcher.changed))
    },
    deregisterReaction: (request, call) =>
      Effect.zipLeft(
        write(call, (context) => Reactions.deregister(context, request)),
        matcher.changed
      ),
    listReactions: (request) =>
      listWhole("ask for one subject_pattern after the other", (reader) => Reactions.list(reader, request, maxListed)),
    claimTasks: (request, call) =>
      once(rpcs.claimTasks, request, call, (context) => Tasks.claim(context, request, maxMessageBytes)),
    completeTask: (request, call) => write(call, (context) => Tasks.complete(context, request)),
    nackTask: (request, call) => once(rpcs.nackTask, request, call, (context) => Tasks.nack(context, request)),
    listTasks: (request) => list(rpcs.listTasks, (reader) => Tasks.list(reader, request)),

    subscribeEvents: (request) => Events.all(store, request),
    subscribeBySubject: (request) => Events.bySubject(store, request)
  }
}

const settled = <A>(answer: Effect.Effect<A, Refusal | StoreError>): Effect.Effect<A, Refusal> =>
  Effect.catchTag(answer, "StoreError", (error) => Refusal.unavailable(error.message))

type AnyHandler = (request: Message, call: Call) => Effect.Effect<Message, Refusal> | Stream.Stream<Message, Refusal>

/** All methods of the contract: requests are checked first. */
const guarded = (handlers: Handlers<typeof Tape>, settings: Settings): Handlers<typeof Tape> => {
  // Handlers are looked up by the descriptor that their types are derived from, here without their types.
  const known = handlers as unknown as { readonly [method: string]: AnyHandler }
  const all: { [method: string]: AnyHandler } = {}
  for (const { input, localName, methodKind } of Tape.methods) {
    const handler = known[localName]!
    const check = Validate.make(input, settings)
    all[localName] =
      methodKind === "server_streaming"
        ? (request, call) =>
            Stream.unwrap(
              Effect.map(check(request), (checked) => handler(checked, call) as Stream.Stream<Message, Refusal>)
            )
        : (request, call) =>
            Effect.flatMap(check(request), (checked) => handler(checked, call) as Effect.Effect<Message, Refusal>)
  }
  return all as unknown as Handlers<typeof Tape>
}
