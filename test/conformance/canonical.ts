/** The journal of a scenario without what differs from run to run: ids, times, positions. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { EventEntry } from "effect-tape/proto"
import { collect, type Tape } from "./Fixtures.js"

/** Runs the scenario and gives what it journaled: the entries of each run in order, the runs in the order of their text. */
export const journaledBy = <E, R>(tape: Tape, run: Effect.Effect<void, E, R>) =>
  Effect.gen(function* () {
    const before = yield* mark(tape)
    yield* run
    const entries = yield* between(tape, before, yield* mark(tape))
    const byRun = Arr.groupBy(entries, (entry) => entry.runId)
    return Object.values(byRun).map(canonical).toSorted()
  })

const mark = (tape: Tape) =>
  Effect.gen(function* () {
    const { runId } = yield* tape.beginRun({ appName: "mark", invocationId: crypto.randomUUID() })
    const [entry] = yield* collect(tape.subscribeEvents({ runId }), () => true)
    return { runId, globalSeq: entry?.globalSeq ?? 0n }
  })

type Mark = Effect.Effect.Success<ReturnType<typeof mark>>

const between = (tape: Tape, before: Mark, after: Mark) =>
  Effect.map(
    collect(
      tape.subscribeBySubject({ subjectPattern: "/tape/**", fromGlobalSeq: before.globalSeq }),
      (entry) => entry.runId === after.runId
    ),
    (entries) => entries.filter((entry) => entry.runId !== after.runId)
  )

const canonical = (entries: ReadonlyArray<EventEntry>): string =>
  entries
    .map(({ kind, payloadJson, runId, schemaVersion, seq, spanId, subject, traceId }) =>
      // entries without a run share one seq in the store
      [runId === "" ? "-" : seq, kind, subject, payloadJson, schemaVersion, traceId, spanId].join(" ")
    )
    .join("\n")
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "<uuid>")
    .replaceAll(/(?<![0-9a-f])[0-9a-f]{8}(?![0-9a-f])/g, "<world>")
    .replaceAll(/(_ms"?:)-?\d+/g, "$1<ms>")
    .replaceAll(/(seq"?:|react-<uuid>-)\d+/g, "$1<seq>")
