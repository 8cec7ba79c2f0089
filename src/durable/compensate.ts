/**
 * How obligations find the tool that undoes them.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { TapeClient } from "../Client.js"
import type { ObligationRecord } from "../gen/tape/v1/tape_pb.js"
import type { ToolLike } from "../outbox/ToolLike.js"
import * as Json from "./json.js"
import type { AnyApp, AnyTool, App } from "./types.js"

/**
 * Undoes what one obligation stands for. `payload` is the obligation's payload as parsed JSON, `{input, output}`; what it
 * lacks is read from the effect's record.
 *
 * @since 0.1.0
 * @category models
 */
export type Compensator<R> = (payload: unknown, obligation: ObligationRecord) => Effect.Effect<unknown, unknown, R>

/**
 * The services that the tools of these need, directly or as an app's.
 *
 * @since 0.1.0
 * @category type-level
 */
export type CompensationContext<T> =
  T extends App<string, never, unknown, unknown, infer R> ? R : T extends ToolLike<infer R> ? R : never

/** What an obligation stands for cannot be read. */
export class NothingToUndo extends Data.TaggedError("NothingToUndo")<{ readonly reason: string }> {
  override get message(): string {
    return this.reason
  }
}

/**
 * The compensators of tools, and of the tools of apps, by the kind of their obligations. Of two tools of one kind the
 * first counts. `undefined`: none of them undoes this kind.
 *
 * @since 0.1.0
 * @category compensation
 */
export const compensatorsOf = <const Sources extends ReadonlyArray<AnyTool | AnyApp>>(
  sources: Sources
): ((kind: string) => Compensator<CompensationContext<Sources[number]> | TapeClient> | undefined) => {
  type R = CompensationContext<Sources[number]> | TapeClient
  const byKind = new Map<string, Compensator<R>>()
  for (const tool of sources.flatMap(
    (source): ReadonlyArray<AnyTool> => ("tools" in source ? source.tools : [source])
  )) {
    const { compensate, compensation } = tool
    if (compensate === undefined || compensation === undefined || byKind.has(compensation.kind)) continue
    const undo = Effect.fnUntraced(function* (payload: unknown, obligation: ObligationRecord) {
      const { effectKey: idempotencyKey, runId } = obligation
      const { input, output } = bodiesOf(payload) ?? (yield* recorded(obligation))
      return yield* compensate(input, output, {
        idempotencyKey,
        runId,
        tool: tool.name,
        attempt: obligation.attempts + 1
      })
    })
    // A list of tools widens what each needs to unknown; the context above is read off their own types.
    byKind.set(compensation.kind, undo as Compensator<R>)
  }
  return (kind) => byKind.get(kind)
}

interface Bodies {
  readonly input?: unknown
  readonly output?: unknown
}

/** Only ours: a dispatcher's obligation carries the counterparty's answer, which may have an `output` of its own. */
const bodiesOf = (payload: unknown): Bodies | undefined =>
  typeof payload === "object" && payload !== null && "input" in payload ? payload : undefined

/** Also what has no input, which has no form in JSON. */
const recorded = (obligation: ObligationRecord): Effect.Effect<Bodies, unknown, TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { effectKey: idempotencyKey, runId } = obligation
    const { effect, found } = yield* tape.getEffect({ runId, idempotencyKey })
    if (!found || effect === undefined) {
      return yield* new NothingToUndo({ reason: `${idempotencyKey} is not recorded: what it did is unknown` })
    }
    return { input: yield* Json.parse(effect.requestJson), output: yield* Json.parse(effect.responseJson) }
  })
