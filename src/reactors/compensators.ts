import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { TapeClient } from "../Client.js"
import { Obligation } from "../connectors/protocol.js"
import { type Compensator, compensatorsOf } from "../durable/compensate.js"
import type { AnyApp, AnyTool, Compensable } from "../durable/types.js"
import type { TapeError } from "../Errors.js"
import type { ObligationRecord } from "../gen/tape/v1/tape_pb.js"
import { belongingOf } from "../outbox/belonging.js"
import { connectorOf } from "../outbox/dispatchOne.js"
import { parsed } from "../outbox/rows.js"
import type { ToolLike } from "../outbox/ToolLike.js"

/**
 * A tool as far as undoing its effects goes.
 *
 * @since 0.1.0
 * @category models
 */
export interface UndoableTool extends ToolLike, Compensable<unknown> {}

/**
 * Fails a compensator for good: trying again would not help, a person has to look.
 *
 * @since 0.1.0
 * @category errors
 */
export class CannotCompensate extends Data.TaggedError("CannotCompensate")<{ readonly reason: string }> {
  override get message(): string {
    return this.reason
  }
}

/** How one obligation is undone. */
export interface Undo<R> {
  readonly by: "tool" | "reference" | "connector"
  readonly run: Effect.Effect<unknown, unknown, R>
}

export interface Sources {
  readonly apps?: ReadonlyArray<AnyApp> | undefined
  readonly tools?: ReadonlyArray<UndoableTool> | undefined
  readonly compensators?: { readonly [kind: string]: Compensator<unknown> } | undefined
  readonly modules?: ReadonlyArray<string> | undefined
}

export type Find<R> = (
  tape: TapeClient["Type"],
  obligation: ObligationRecord
) => Effect.Effect<Undo<R> | string, TapeError>

/** By kind, else by the reference that was registered with it, else by its effect's connector; else why there is none. */
export const finder = <R>({ apps = [], compensators = {}, modules = [], tools = [] }: Sources): Find<R> => {
  // Of a tool only its data is read here; that it can also be called is of no use to a drainer.
  const byKind = compensatorsOf([...(tools as ReadonlyArray<AnyTool>), ...apps])
  const allowed = new Set(modules)
  return Effect.fnUntraced(function* (tape, obligation) {
    const { kind } = obligation
    // R is what the caller's own compensators and tools need, read off their types where they are listed.
    const known = (Object.hasOwn(compensators, kind) ? compensators[kind] : byKind(kind)) as Compensator<R> | undefined
    const payload = parsed(obligation.payloadJson)
    if (known !== undefined) return { by: "tool", run: Effect.suspend(() => known(payload, obligation)) }
    const named = referenceOf(obligation.compensatorRef)
    if (named !== undefined && allowed.has(named.module)) {
      return { by: "reference", run: imported(named, payload, obligation) }
    }
    const refused = obligation.compensatorRef === "" ? "" : `, ${obligation.compensatorRef} is not allowed`
    const { effect } = yield* tape.getEffect({ runId: obligation.runId, idempotencyKey: obligation.effectKey })
    const name = effect?.connector ?? ""
    const connector = name === "" ? Option.none() : yield* connectorOf(name)
    const compensate = Option.getOrUndefined(connector)?.compensate
    if (compensate === undefined) {
      const missing =
        name === "" ? "" : Option.isNone(connector) ? `, no connector "${name}" is provided` : `, "${name}" cannot undo`
      return `no-compensator: nothing undoes the kind ${JSON.stringify(kind)}${refused}${missing}`
    }
    const request = new Obligation({
      ...(yield* belongingOf(tape, obligation.runId)),
      runId: obligation.runId,
      effectKey: obligation.effectKey,
      kind,
      attempt: obligation.attempts + 1,
      payload
    })
    return { by: "connector", run: Effect.suspend(() => compensate(request)) }
  })
}

/** `module:name`, as other languages register it. A module may itself hold colons (`node:`, `file:`). */
const referenceOf = (text: string): { readonly module: string; readonly name: string } | undefined => {
  const at = text.lastIndexOf(":")
  return at <= 0 || at === text.length - 1 ? undefined : { module: text.slice(0, at), name: text.slice(at + 1) }
}

const imported = (
  { module, name }: { readonly module: string; readonly name: string },
  payload: unknown,
  obligation: ObligationRecord
): Effect.Effect<unknown, unknown> =>
  Effect.gen(function* () {
    const loaded: unknown = yield* Effect.tryPromise({ try: () => import(module), catch: foreign })
    const found: unknown = typeof loaded === "object" && loaded !== null ? Reflect.get(loaded, name) : undefined
    if (typeof found !== "function") {
      return yield* new CannotCompensate({ reason: `${module} exports no function ${JSON.stringify(name)}` })
    }
    const answer: unknown = yield* Effect.try({
      try: (): unknown => found(payload, obligation),
      catch: foreign
    })
    // What a foreign module's Effect needs cannot be known; one that needs a service dies here and counts as failed.
    if (Effect.isEffect(answer)) return yield* answer as Effect.Effect<unknown, unknown>
    return yield* Effect.tryPromise({ try: () => Promise.resolve(answer), catch: foreign })
  })

const foreign = (error: unknown): Cause.UnknownException =>
  new Cause.UnknownException(error, error instanceof Error ? error.message : String(error))
