import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { TapeClient } from "../Client.js"
import { Observed } from "../connectors/protocol.js"
import type { TapeError } from "../Errors.js"
import { EffectDispatchMode, type EffectRecord, EffectResolution, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import { belongingOf } from "../outbox/belonging.js"
import { connectorOf } from "../outbox/dispatchOne.js"
import { attempt } from "../outbox/finishing.js"
import { answerJson, parsed, requestOf, semanticsOf } from "../outbox/rows.js"
import type { ToolLike } from "../outbox/ToolLike.js"
import type { Reconciled } from "./reconciled.js"

export interface Settle<R> {
  readonly tape: TapeClient["Type"]
  readonly now: number
  readonly tools: ReadonlyMap<string, ToolLike<R>>
  /** Milliseconds after the last attempt from which a conclusive absence counts. */
  readonly absentAfter: number
  readonly timeout: Duration.DurationInput
}

/** Asks about one effect and records what is certain. */
export const settle = <R>(row: EffectRecord, settings: Settle<R>): Effect.Effect<Reconciled, never, R> =>
  Effect.gen(function* () {
    const observed = yield* look(row, settings)
    const byObservation = yield* recordObserved(row, observed, settings)
    if (byObservation !== undefined) return byObservation
    return yield* checked(row, reasonOf(observed), settings)
  }).pipe(
    Effect.catchAll((error: TapeError) =>
      Effect.succeed<Reconciled>({ ...namesOf(row), _tag: "error", error: error.message })
    )
  )

const look = Effect.fnUntraced(function* <R>(row: EffectRecord, settings: Settle<R>) {
  if (row.connector === "") return undefined
  const connector = yield* connectorOf(row.connector)
  if (Option.isNone(connector)) return cannotTell(`no connector "${row.connector}" is provided`)
  const { observe } = connector.value
  if (observe === undefined) return cannotTell("the connector cannot observe")
  const request = requestOf(row, row.dispatchAttempts, yield* belongingOf(settings.tape, row.runId))
  const call = yield* attempt(
    Effect.suspend(() => observe(request)),
    settings.timeout
  )
  if ("raised" in call) return cannotTell(call.raised)
  if (Option.isNone(call.answer)) return cannotTell("no answer in time")
  return Schema.is(Observed)(call.answer.value) ? call.answer.value : cannotTell("not an answer of an observation")
})

const cannotTell = (error: string): Observed => ({ _tag: "unknown", error })

const reasonOf = (observed: Observed | undefined): string =>
  observed === undefined ? "" : "error" in observed ? `${observed._tag}: ${observed.error}` : observed._tag

/** What the connector knows for certain; nothing when it does not. */
const recordObserved = Effect.fnUntraced(function* <R>(
  row: EffectRecord,
  observed: Observed | undefined,
  settings: Settle<R>
) {
  const named = namesOf(row)
  const kind = settings.tools.get(row.toolName)?.compensation?.kind
  switch (observed?._tag) {
    case "confirmed": {
      const after = yield* record(row, settings, EffectResolution.CONFIRMED, observed)
      yield* owe(row, after, kind, observed, settings)
      return said(after, EffectStatus.CONFIRMED, { ...named, _tag: "confirmed", by: "observe", ...reference(observed) })
    }
    case "duplicate": {
      const after = yield* record(row, settings, EffectResolution.DUPLICATE, observed, {
        compensateOnDuplicateKind: kind ?? ""
      })
      return said(after, EffectStatus.CONFIRMED, { ...named, _tag: "duplicate", by: "observe", ...reference(observed) })
    }
    case "failed": {
      const { error } = observed
      const after = yield* record(row, settings, EffectResolution.FAILED, {}, { errorJson: JSON.stringify({ error }) })
      return said(after, EffectStatus.FAILED, { ...named, _tag: "failed", by: "observe", error })
    }
    case "absent":
      return yield* recordAbsent(row, observed.conclusive, "observe", settings)
    default:
      return undefined
  }
})

/**
 * It did not happen, says `by`. An idempotent effect is opened again. Another one is settled FAILED, for good, and only
 * if the absence is conclusive and old enough that no attempt is still on its way.
 */
const recordAbsent = Effect.fnUntraced(function* <R>(
  row: EffectRecord,
  conclusive: boolean,
  by: "observe" | "status-check",
  settings: Settle<R>
) {
  const named = namesOf(row)
  const again = semanticsOf(row) === "idempotent"
  const old = settings.now - Number(row.tsMs) >= settings.absentAfter
  if (!again && !(conclusive && old)) return undefined
  // An observation takes the claim away: if another reconciler has opened the effect meanwhile, leave it alone.
  const { effect } = yield* settings.tape.getEffect(keyOf(row))
  if (effect?.status !== row.status || effect.dispatchAttempts !== row.dispatchAttempts) {
    return { ...named, _tag: "unresolved", reason: "it moved meanwhile" } satisfies Reconciled
  }
  const errorJson = again ? "" : JSON.stringify(absent)
  const after = yield* record(row, settings, EffectResolution.ABSENT, {}, { errorJson })
  return again
    ? said(after, EffectStatus.PENDING, { ...named, _tag: "reopened", by })
    : said(after, EffectStatus.FAILED, { ...named, _tag: "failed", by, error: absent.reconciled })
})

const absent = { reconciled: "absent at counterparty" }

/** The tool's own status check, after the connector could not say. */
const checked = Effect.fnUntraced(function* <R>(row: EffectRecord, before: string, settings: Settle<R>) {
  const named = namesOf(row)
  const unresolved = (reason: string) =>
    ({ ...named, _tag: "unresolved", reason: [before, reason].filter(Boolean).join("; ") }) satisfies Reconciled
  const check = settings.tools.get(row.toolName)?.statusCheck
  if (check === undefined) return unresolved("no status check is given")
  const call = yield* attempt(
    Effect.suspend(() =>
      check({
        runId: row.runId,
        idempotencyKey: row.idempotencyKey,
        businessKey: row.businessKey,
        attempt: row.dispatchAttempts,
        request: parsed(row.requestJson)
      })
    ),
    settings.timeout
  )
  if ("raised" in call) return unresolved(`the status check raised: ${call.raised}`)
  if (Option.isNone(call.answer)) return unresolved("the status check did not answer in time")
  const found = call.answer.value
  if (Option.isSome(found)) return yield* reconcileFound(row, found.value, settings)
  if (row.status !== EffectStatus.UNKNOWN || semanticsOf(row) === "non_idempotent") {
    return unresolved("the status check found nothing")
  }
  if (isOutbox(row)) {
    const reopened = yield* recordAbsent(row, false, "status-check", settings)
    return reopened ?? unresolved("the status check found nothing")
  }
  const after = yield* settings.tape.reconcileEffect({
    ...keyOf(row),
    resolvedStatus: EffectStatus.FAILED,
    errorJson: JSON.stringify(absent)
  })
  return said(after, EffectStatus.FAILED, { ...named, _tag: "failed", by: "status-check", error: absent.reconciled })
})

const reconcileFound = Effect.fnUntraced(function* <R>(row: EffectRecord, response: unknown, settings: Settle<R>) {
  const after = yield* settings.tape.reconcileEffect({
    ...keyOf(row),
    resolvedStatus: EffectStatus.CONFIRMED,
    // An inline tool reads back its own output, whatever it is; an outbox row holds an object.
    responseJson: isOutbox(row) ? answerJson({ response }) : (JSON.stringify(response) ?? "")
  })
  yield* owe(row, after, settings.tools.get(row.toolName)?.compensation?.kind, { response }, settings)
  return said(after, EffectStatus.CONFIRMED, { ...namesOf(row), _tag: "confirmed", by: "status-check" })
})

interface Answer {
  readonly externalRef?: string | undefined
  readonly response?: unknown
}

const record = <R>(
  row: EffectRecord,
  { tape }: Settle<R>,
  resolution: EffectResolution,
  answer: Answer,
  more: { readonly errorJson?: string; readonly compensateOnDuplicateKind?: string } = {}
) =>
  tape.recordExternalObservation({
    ...keyOf(row),
    resolution,
    externalRef: answer.externalRef ?? "",
    responseJson:
      resolution === EffectResolution.CONFIRMED || resolution === EffectResolution.DUPLICATE ? answerJson(answer) : "",
    ...more
  })

/**
 * An outbox effect that is confirmed here owes its compensation as if the dispatcher had confirmed it. It is settled now
 * and does not come again, so registering is repeated here.
 */
const owe = <R>(
  row: EffectRecord,
  after: EffectRecord,
  kind: string | undefined,
  answer: Answer,
  { tape }: Settle<R>
) =>
  kind === undefined || !isOutbox(row) || after.status !== EffectStatus.CONFIRMED
    ? Effect.void
    : tape
        .registerCompensation({
          runId: row.runId,
          effectKey: row.idempotencyKey,
          kind,
          payloadJson: answerJson(answer)
        })
        .pipe(Effect.retry(Schedule.intersect(Schedule.exponential("100 millis"), Schedule.recurs(6))))

/** The row that came back decides: another may have settled it first. */
const said = (after: EffectRecord, expected: EffectStatus, then: Reconciled): Reconciled =>
  after.status === expected
    ? then
    : {
        ...namesOf(after),
        _tag: "error",
        error: `${then._tag} could not be recorded: the row says ${EffectStatus[after.status] ?? after.status}`
      }

const isOutbox = (row: EffectRecord): boolean => row.dispatchMode === EffectDispatchMode.OUTBOX

const keyOf = ({ idempotencyKey, runId }: EffectRecord) => ({ runId, idempotencyKey })

const namesOf = ({ connector, idempotencyKey, runId, toolName }: EffectRecord) => ({
  runId,
  idempotencyKey,
  connector,
  tool: toolName
})

const reference = ({ externalRef }: Answer) => (externalRef === undefined ? {} : { externalRef })
