import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { TapeClient } from "../Client.js"
import * as Connectors from "../Connectors.js"
import { Dispatched, Observed, type Protocol } from "../connectors/protocol.js"
import type { TapeError } from "../Errors.js"
import { type EffectRecord, EffectResolution, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { inSpanOf } from "../observability/tracing.js"
import type { Belonging } from "./belonging.js"
import { attempt as bounded, finishing } from "./finishing.js"
import type { Outcome } from "./outcome.js"
import * as Record from "./record.js"
import {
  beforeClaim,
  excerptOf,
  failuresOf,
  isExpiredClaim,
  isVanished,
  noteOf,
  requestOf,
  semanticsOf
} from "./rows.js"
import { backOff, type Settings } from "./settings.js"

/** The names by which a tape knows an effect. */
export interface EffectKey {
  readonly runId: string
  readonly idempotencyKey: string
}

/**
 * One effect, one turn: read it, claim it, find out what a vanished predecessor did, send it, record the answer.
 * From the claim on it runs to its end, interrupted or not.
 */
export const dispatchOne = (key: EffectKey, settings: Settings): Effect.Effect<Outcome, never, TapeClient> =>
  turn(key, settings).pipe(
    Effect.catchAll((error: TapeError) =>
      Effect.succeed<Outcome>({ ...unread(key), _tag: "error", error: error.message })
    ),
    // A bug of ours must not end the loop; what it left is a claim that runs out.
    Effect.catchAllDefect((defect) =>
      Effect.succeed<Outcome>({ ...unread(key), _tag: "error", error: `unexpected: ${String(defect)}` })
    ),
    Effect.tap((outcome) =>
      Effect.catchAllCause(settings.onOutcome(outcome), (cause) => Effect.logError("onOutcome raised", cause))
    ),
    finishing(settings.grace)
  )

const turn = Effect.fnUntraced(function* (key: EffectKey, settings: Settings) {
  const tape = yield* TapeClient
  const { idempotencyKey, runId } = key
  const [{ effect: read }, belonging] = yield* Effect.zip(
    tape.getEffect({ runId, idempotencyKey }),
    settings.belongings.of(tape, runId),
    { concurrent: true }
  )
  if (read === undefined) return skipped(unread(key), "gone", "no such effect")
  const named = namesOf(read)
  if (read.status !== EffectStatus.PENDING) return skipped(named, "settled", `it is ${EffectStatus[read.status]}`)
  const connector = yield* connectorOf(read.connector)
  if (Option.isNone(connector)) return skipped(named, "no-connector", `no connector "${read.connector}" is provided`)
  const since = yield* Record.now
  const { acquired, effect: row } = yield* tape.claimEffectDispatch({
    runId,
    idempotencyKey,
    claimer: settings.claimer,
    leaseTtlMs: BigInt(Math.round(settings.ttl))
  })
  if (!acquired || row === undefined) {
    const holder = row?.dispatchClaimedBy ?? ""
    return skipped(named, "contended", holder === "" ? "it is not due" : `${holder} has the claim`)
  }
  const claim: Record.Claim = { tape, row, claimer: settings.claimer, since, ttl: settings.ttl }
  return yield* spanned({
    claim,
    before: beforeClaim(read, row),
    belonging,
    connector: connector.value,
    settings,
    named
  })
})

const spanned = (turn: Turn): Effect.Effect<Outcome, TapeError> => {
  const { connector, idempotencyKey, runId, tool } = turn.named
  return Effect.annotateLogs(
    inSpanOf(
      claimed(turn),
      "tape.dispatch_effect",
      () => ({
        "tape.run_id": runId,
        "tape.effect_key": idempotencyKey,
        "tape.connector": connector,
        "tape.tool": tool
      }),
      (outcome) => ("error" in outcome ? outcome.error : undefined)
    ),
    { run_id: runId, effect_key: idempotencyKey }
  )
}

interface Turn {
  readonly claim: Record.Claim
  /** The row as it was right before the claim. */
  readonly before: EffectRecord
  readonly belonging: Belonging
  readonly connector: Protocol
  readonly settings: Settings
  readonly named: Names
}

const claimed = (turn: Turn): Effect.Effect<Outcome, TapeError> => {
  const { before, claim } = turn
  if (noteOf(before).accepted !== undefined) return recheck(turn)
  // Sent again without asking, a non-idempotent effect could happen twice.
  if (isVanished(before, claim.row) && semanticsOf(before) === "non_idempotent") return afterVanished(turn)
  return send(turn)
}

/** A predecessor may have sent it. Only a conclusive absence lets it be sent, here, under our claim. */
const afterVanished = Effect.fnUntraced(function* (turn: Turn) {
  const observed = yield* look(turn)
  if (observed._tag === "absent" && observed.conclusive) {
    // Two claims ran out in a row: the first note, of an attempt that may have been accepted, is overwritten.
    const noteLost = turn.before.dispatchAttempts > 0 && isExpiredClaim(turn.before.lastDispatchError)
    if (!noteLost) return yield* send(turn)
  }
  const settled = yield* settle(turn, observed)
  if (settled !== undefined) return settled
  const reason = `an earlier attempt vanished; observed: ${observed._tag}`
  return yield* unknown(turn, "error" in observed ? `${reason}: ${observed.error}` : reason)
})

/** Accepted earlier, not done then. It is never sent again from here, however long it takes. */
const recheck = Effect.fnUntraced(function* (turn: Turn) {
  const observed = yield* look(turn)
  const settled = yield* settle(turn, observed)
  return settled ?? (yield* accepted(turn, noteOf(turn.before).accepted?.external_ref))
})

const accepted = Effect.fnUntraced(function* (turn: Turn, externalRef: string | undefined) {
  const { claim, settings } = turn
  const checks = (noteOf(turn.before).accepted?.checks ?? -1) + 1
  if (checks >= settings.maxChecks) return yield* unknown(turn, `accepted, not done after ${checks} checks`)
  const wait = yield* backOff(checks + 1, settings.jitter)
  const failures = failuresOf(turn.before)
  const row = yield* Record.attempt(claim, { accepted: { checks, external_ref: externalRef }, failures }, wait)
  return outcome(turn, row, EffectStatus.PENDING, { ...turn.named, _tag: "pending", checks, nextAt: nextOf(row) })
})

const send = Effect.fnUntraced(function* (turn: Turn) {
  const { before, belonging, claim, connector, settings } = turn
  const elapsed = yield* Record.age(claim)
  if (elapsed >= claim.ttl / 2) {
    // The claim took long to come: what is left is not enough to send and record.
    return { ...turn.named, _tag: "error", error: "the claim is too old to begin" } satisfies Outcome
  }
  const own = settings.tools.get(before.toolName)?.dispatchTimeout ?? Duration.infinity
  const limit = Duration.min(Duration.millis(claim.ttl / 2 - elapsed), own)
  const request = requestOf(before, before.dispatchAttempts + 1, belonging)
  const call = yield* bounded(
    Effect.suspend(() => connector.dispatch(request)),
    limit
  )
  if ("raised" in call) return yield* raised(turn, call.raised)
  if (Option.isNone(call.answer)) return yield* unanswered(turn, "no answer in time")
  const answer = call.answer.value
  if (!Schema.is(Dispatched)(answer)) return yield* raised(turn, "not an answer of a dispatch")
  switch (answer._tag) {
    case "confirmed":
      return yield* confirmed(turn, answer, false)
    case "pending":
      return yield* accepted(turn, answer.externalRef)
    case "unknown":
      return yield* unanswered(turn, answer.error)
    case "failed":
      return yield* failed(turn, answer.error, answer.final ?? false, answer.retryAfter)
  }
})

/** A connector that fails or dies says nothing about what it did before. */
const raised = (turn: Turn, error: string) =>
  semanticsOf(turn.before) === "non_idempotent"
    ? unknown(turn, error, "connector raised")
    : failed(turn, `connector raised: ${error}`, false)

const unanswered = (turn: Turn, error: string) => {
  const again = turn.settings.retryUnknown && semanticsOf(turn.before) !== "non_idempotent"
  return again && failuresOf(turn.before) + 1 < limitOf(turn) ? failed(turn, error, false) : unknown(turn, error)
}

const unknown = Effect.fnUntraced(function* (turn: Turn, said: string, reason = "ack lost") {
  const error = excerptOf(said)
  const failures = failuresOf(turn.before)
  const row = yield* Record.attempt(turn.claim, { reason, error, failures })
  return outcome(turn, row, EffectStatus.UNKNOWN, { ...turn.named, _tag: "unknown", error })
})

const failed = Effect.fnUntraced(function* (turn: Turn, said: string, final: boolean, retryAfter?: Duration.Duration) {
  const { claim, named, settings } = turn
  const error = excerptOf(said)
  const attempts = failuresOf(turn.before) + 1
  if (final || attempts >= limitOf(turn)) {
    const errorJson = JSON.stringify({ final: true, attempts, last: error })
    const row = yield* Record.fail(claim, errorJson)
    return outcome(turn, row, EffectStatus.FAILED, { ...named, _tag: "failed", attempts, error })
  }
  const wait =
    retryAfter === undefined
      ? yield* backOff(attempts, settings.jitter)
      : Duration.toMillis(Duration.min(retryAfter, longestAsked))
  const row = yield* Record.attempt(claim, { error, failures: attempts }, wait)
  return outcome(turn, row, EffectStatus.PENDING, {
    ...named,
    _tag: "retry-scheduled",
    attempts,
    error,
    nextAt: nextOf(row)
  })
})

const confirmed = Effect.fnUntraced(function* (turn: Turn, answer: Record.Answer, observed: boolean) {
  const { claim, named } = turn
  const row = yield* observed
    ? Record.observe(claim, EffectResolution.CONFIRMED, answer)
    : Record.confirm(claim, answer)
  const said = outcome(turn, row, EffectStatus.CONFIRMED, {
    ...named,
    _tag: "confirmed",
    ...reference(answer),
    observed
  })
  if (said._tag === "confirmed") yield* owe(turn, answer)
  return said
})

/** What a usable observation settles; nothing for the others. */
const settle = Effect.fnUntraced(function* (turn: Turn, observed: Observed) {
  const { claim, named, settings } = turn
  switch (observed._tag) {
    case "confirmed":
      return yield* confirmed(turn, observed, true)
    case "duplicate": {
      const compensateOnDuplicateKind = settings.tools.get(turn.before.toolName)?.compensation?.kind ?? ""
      const row = yield* Record.observe(claim, EffectResolution.DUPLICATE, observed, { compensateOnDuplicateKind })
      return outcome(turn, row, EffectStatus.CONFIRMED, { ...named, _tag: "duplicate", ...reference(observed) })
    }
    case "failed":
      return yield* failed(turn, observed.error, true)
    default:
      return undefined
  }
})

/** Asks the counterparty; at most a quarter of the claim's time, so that as much is left to send. */
const look = Effect.fnUntraced(function* ({ before, belonging, claim, connector }: Turn) {
  const { observe } = connector
  if (observe === undefined) return cannotTell("the connector cannot observe")
  const request = requestOf(before, before.dispatchAttempts, belonging)
  const call = yield* bounded(
    Effect.suspend(() => observe(request)),
    Duration.millis(claim.ttl / 4)
  )
  if ("raised" in call) return cannotTell(call.raised)
  if (Option.isNone(call.answer)) return cannotTell("no answer in time")
  return Schema.is(Observed)(call.answer.value) ? call.answer.value : cannotTell("not an answer of an observation")
})

const cannotTell = (error: string): Observed => ({ _tag: "unknown", error })

/** The effect is confirmed whatever comes of this; registering is repeated as long as the claim's time lasts. */
const owe = (turn: Turn, answer: Record.Answer) => {
  const kind = turn.settings.tools.get(turn.before.toolName)?.compensation?.kind
  if (kind === undefined) return Effect.void
  return Effect.catchAll(Record.compensation(turn.claim, kind, answer), (error) =>
    Effect.logError(`the compensation "${kind}" of a confirmed effect is not registered: ${error.message}`)
  )
}

/** The row that came back decides: another may have settled it first, and a settled row does not move. */
const outcome = (turn: Turn, row: EffectRecord, expected: EffectStatus, then: Outcome): Outcome =>
  row.status === expected
    ? then
    : {
        ...turn.named,
        _tag: "error",
        error: `${then._tag} could not be recorded: the row says ${EffectStatus[row.status] ?? row.status}`
      }

/** A counterparty that asks for more is asked again all the same. */
const longestAsked = Duration.days(1)

interface Names extends EffectKey {
  readonly connector: string
  readonly tool: string
}

const namesOf = ({ connector, idempotencyKey, runId, toolName }: EffectRecord): Names => ({
  runId,
  idempotencyKey,
  connector,
  tool: toolName
})

const unread = ({ idempotencyKey, runId }: EffectKey): Names => ({ runId, idempotencyKey, connector: "", tool: "" })

const skipped = (named: Names, reason: "no-connector" | "contended" | "settled" | "gone", detail: string): Outcome => ({
  ...named,
  _tag: "skipped",
  reason,
  detail
})

const limitOf = ({ before, settings }: Turn): number =>
  settings.tools.get(before.toolName)?.maxAttempts ?? settings.maxAttempts

const nextOf = (row: EffectRecord): DateTime.Utc => DateTime.unsafeMake(Number(row.nextDispatchAtMs))

const reference = ({ externalRef }: Record.Answer) => (externalRef === undefined ? {} : { externalRef })

/** Whatever connector of that name the context holds; rows of other programs name connectors no type here knows. */
export const connectorOf = (name: string): Effect.Effect<Option.Option<Protocol>> =>
  Effect.contextWith((context: Context.Context<never>) => Context.getOption(context, Connectors.Tag(name)))
