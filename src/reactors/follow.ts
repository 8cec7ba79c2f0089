import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { EffectDispatchMode, EffectStatus, type EventEntry, RunStatus } from "../gen/tape/v1/tape_pb.js"
import type { UndoableTool } from "./compensators.js"

/** The namespace of the reactors' cursors. */
const namespace = "tape:reactors"

const Cursor = Schema.parseJson(Schema.Struct({ last_global_seq: Schema.BigIntFromNumber }))
const Confirmed = Schema.parseJson(Schema.Struct({ idempotency_key: Schema.String, tool: Schema.String }))

/**
 * Follows confirmed effects and registers the compensations that are missing. Registering is once per effect and kind, so
 * what was registered stays as it is, and several may follow.
 */
export const follow = (
  tape: TapeClient["Type"],
  name: string,
  tools: ReadonlyArray<UndoableTool>
): Effect.Effect<void> => {
  const kinds = new Map(
    tools.flatMap((tool) =>
      tool.connector === undefined || tool.compensation === undefined
        ? []
        : [[tool.name, tool.compensation.kind] as const]
    )
  )
  if (kinds.size === 0) return Effect.void
  let silent = false
  const heard = Effect.suspend(() => {
    if (!silent) return Effect.void
    silent = false
    return Effect.logInfo("missing compensations are looked for again")
  })
  const life = Effect.gen(function* () {
    const from = yield* position(tape, name)
    yield* tape.subscribeBySubject({ subjectPattern: "/tape/effect/confirmed/**", fromGlobalSeq: from }).pipe(
      Stream.tap((entry) => Effect.zipRight(register(tape, kinds, entry), heard)),
      // Each save is an entry of the journal: not more than one in two seconds.
      Stream.groupedWithin(1000, "2 seconds"),
      Stream.runForEach((done) =>
        save(
          tape,
          name,
          Chunk.reduce(done, 0n, (last, { globalSeq }) => max(last, globalSeq))
        )
      )
    )
  })
  return life.pipe(
    Effect.catchAllCause((cause) => {
      if (silent) return Effect.void
      silent = true
      return Effect.logWarning("missing compensations cannot be looked for now", cause)
    }),
    Effect.repeat(
      Schedule.exponential("1 second").pipe(
        Schedule.modifyDelay((_, delay) => Duration.min(delay, "30 seconds")),
        Schedule.jittered,
        // A life that lasted was no failure of the one before it.
        Schedule.resetAfter("1 minute")
      )
    ),
    Effect.asVoid
  )
}

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)

const register = Effect.fnUntraced(
  function* (tape: TapeClient["Type"], kinds: ReadonlyMap<string, string>, entry: EventEntry) {
    const confirmed = Schema.decodeOption(Confirmed)(entry.payloadJson)
    if (confirmed._tag === "None") return
    const kind = kinds.get(confirmed.value.tool)
    if (kind === undefined) return
    const { runId } = entry
    const effectKey = confirmed.value.idempotency_key
    const { effect } = yield* tape.getEffect({ runId, idempotencyKey: effectKey })
    if (effect?.status !== EffectStatus.CONFIRMED || effect.dispatchMode !== EffectDispatchMode.OUTBOX) return
    const run = yield* tape.getRun({ runId })
    // A run that succeeded is never undone, and what it owes would only keep it from being compacted.
    if (run.status === RunStatus.TERMINAL) return
    yield* tape.registerCompensation({ runId, effectKey, kind, payloadJson: effect.responseJson })
  },
  Effect.catchTags({ NotFound: () => Effect.void, PreconditionFailed: () => Effect.void })
)

const position = (tape: TapeClient["Type"], name: string): Effect.Effect<bigint, TapeError> =>
  Effect.map(tape.getValue({ namespace, key: name }), ({ value }) => positionIn(value?.valueJson))

/** From the start when there is none, or none that can be read: that only costs time. */
const positionIn = (text: string | undefined): bigint => {
  const cursor = Schema.decodeOption(Cursor)(text ?? "")
  return cursor._tag === "Some" ? cursor.value.last_global_seq : 0n
}

/** The furthest of several followers counts; whoever loses the race has nothing to add but what the next save says. */
const save = (tape: TapeClient["Type"], name: string, globalSeq: bigint): Effect.Effect<void, TapeError> =>
  Effect.flatMap(tape.getValue({ namespace, key: name }), ({ value }) =>
    positionIn(value?.valueJson) >= globalSeq
      ? Effect.void
      : tape
          .writeValue({
            namespace,
            key: name,
            valueJson: JSON.stringify({ last_global_seq: Number(globalSeq) }),
            ifVersion: value?.version ?? 0n,
            writer: "effect-tape reactors"
          })
          .pipe(
            Effect.catchTag("Conflict", () => Effect.void),
            Effect.asVoid
          )
  )
