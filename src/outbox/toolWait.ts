/**
 * Waiting for an effect that somebody else carries out.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { TapeClient, tailRun } from "../Client.js"
import { find, type Row, readable } from "../durable/act.js"
import { type EffectFailed, EffectUnknown, RunFinished } from "../durable/errors.js"
import * as Json from "../durable/json.js"
import { ask, ended, isFinal, type Life, stop } from "../durable/run.js"
import { answerOf, failureOf } from "../durable/toolValue.js"
import { type EffectRecord, EffectStatus } from "../gen/tape/v1/tape_pb.js"
import * as Rest from "../internal/rest.js"

interface Codecs<A, E, AR, ER> {
  readonly output: Json.Codec<A, AR>
  readonly error: Json.Codec<E, ER> | undefined
}

/**
 * The result of an effect, as soon as it is CONFIRMED or FAILED.
 *
 * UNKNOWN is waited out: it means that nobody could tell *yet*, and a run that went on would act on a guess.
 */
export const settled = <A, E, AR, ER>(
  life: Life,
  tool: string,
  row: Row,
  codecs: Codecs<A, E, AR, ER>,
  limit: Duration.DurationInput | undefined
): Effect.Effect<A, E | EffectFailed | EffectUnknown, AR | ER> => {
  const final = Effect.suspend(
    (): Effect.Effect<Recorded> => (isSettled(row.status) ? Effect.succeed(row) : follow(life, row))
  )
  const limited =
    limit === undefined
      ? final
      : Effect.flatMap(Effect.timeoutOption(final, limit), (found) =>
          Option.isSome(found)
            ? Effect.succeed(found.value)
            : new EffectUnknown({ tool, idempotencyKey: row.key, reason: "it was not settled in time" })
        )
  return Effect.flatMap(
    limited,
    (found): Effect.Effect<A, E | EffectFailed, AR | ER> =>
      found.status === EffectStatus.FAILED
        ? failureOf(tool, { ...row, errorJson: found.errorJson }, codecs.error)
        : readable(
            life,
            row.key,
            Effect.flatMap(Json.parse(found.responseJson), (recorded) => answerOf(codecs.output, recorded))
          )
  )
}

type Recorded = Pick<Row, "status" | "responseJson" | "errorJson">

const isSettled = (status: EffectStatus): boolean => status === EffectStatus.CONFIRMED || status === EffectStatus.FAILED

/**
 * Follows the journal of the run that holds the row (another one's, when a business key led to it), and looks again at
 * each of its entries about the effect. A slow look besides is the safety net.
 */
const follow = (life: Life, row: Row): Effect.Effect<EffectRecord> =>
  Effect.flatMap(Effect.all([Rest.make("effect"), look(life, row.key)]), ([rest, found]) => {
    if (Option.isSome(found) && isSettled(found.value.status)) return Effect.succeed(found.value)
    if (life.mode === "finished") {
      return stop(life, new RunFinished({ runId: life.runId, asked: `the result of ${row.key}` }))
    }
    const entries = Option.isSome(found) ? entriesOf(life, found.value) : Stream.empty
    const looks = Stream.repeatEffect(rest(safetyNet))
    return Stream.merge(entries, looks).pipe(
      Stream.mapEffect(() => Effect.zipRight(stillOn(life), look(life, row.key))),
      Stream.filterMap(Option.filter((record) => isSettled(record.status))),
      Stream.runHead,
      // The slow look never ends, so the stream does not either.
      Effect.flatMap(Option.match({ onNone: () => Effect.never, onSome: Effect.succeed }))
    )
  })

const look = (life: Life, key: string): Effect.Effect<Option.Option<EffectRecord>> =>
  Effect.map(find(life, key), Option.fromNullable)

/** A run that was ended by somebody else has nothing to wait for. */
const stillOn = (life: Life): Effect.Effect<void> =>
  Effect.flatMap(ask(life, life.tape.getRun({ runId: life.runId })), (run) => {
    if (!isFinal(run.status)) return Effect.void
    return stop(life, ended(run) ?? new RunFinished({ runId: life.runId, asked: "an effect's result" }))
  })

const entriesOf = (life: Life, record: EffectRecord) => {
  const key = JSON.stringify(record.idempotencyKey)
  return tailRun({ runId: record.runId, fromSeq: record.seq }).pipe(
    Stream.provideService(TapeClient, life.tape),
    Stream.filter((entry) => entry.kind === "run" || (entry.kind === "effect" && entry.payloadJson.includes(key))),
    // What cannot be subscribed to can still be looked at.
    Stream.catchAll(() => Stream.empty)
  )
}

const safetyNet = "5 seconds"
