/**
 * What inline and outbox tools have in common as values.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { StatusQuery } from "../outbox/ToolLike.js"
import type { Row } from "./act.js"
import { EffectFailed, ToolMisconfigured } from "./errors.js"
import * as Json from "./json.js"
import type { Call } from "./types.js"

/** Throws what is wrong with a definition that compiles: the program would act on it otherwise. */
export const checked = (
  name: string,
  options: {
    readonly input: Schema.Schema.All
    readonly output: Schema.Schema.All
    readonly error?: Schema.Schema.All | undefined
  }
): void => {
  if (name === "") throw new ToolMisconfigured({ tool: name, reason: "a tool needs a name" })
  for (const part of ["input", "output", "error"] as const) {
    const schema = options[part]
    const foreign = schema === undefined ? undefined : Json.unencodable(schema)
    if (foreign !== undefined) {
      throw new ToolMisconfigured({
        tool: name,
        reason: `its ${part} cannot be journaled: ${foreign}; use a schema that encodes to JSON`
      })
    }
  }
}

/** A callable value. `name` is read-only on functions and has to be defined anew. */
export const finishTool = <const Name extends string, F extends object, P extends object>(
  name: Name,
  call: F,
  properties: P
): F & P & { readonly name: Name } =>
  Object.defineProperty(Object.assign(call, properties), "name", { value: name, enumerable: true }) as F &
    P & { readonly name: Name } // defined on the line above

/** What a FAILED row says: the declared error if it reads as one. */
export const failureOf = <E, R>(
  tool: string,
  row: Row,
  error: Json.Codec<E, R> | undefined
): Effect.Effect<never, E | EffectFailed, R> => {
  const recorded = Json.parseOrText(row.errorJson)
  const failed = new EffectFailed({ tool, idempotencyKey: row.key, error: recorded, reason: summary(recorded) })
  if (error === undefined) return Effect.fail(failed)
  return Effect.matchEffect(error.decodeValue(recorded), {
    onFailure: () => Effect.fail(failed),
    onSuccess: (typed) => Effect.fail(typed)
  })
}

/** The author's status check as reconcilers call it: from the recorded request to the encoded output. */
export const statusCheckOf = <I, A, IR, AR, RS>(
  tool: string,
  codecs: { readonly input: Json.Codec<I, IR>; readonly output: Json.Codec<A, AR> },
  check: ((call: Call, input: I) => Effect.Effect<Option.Option<A>, unknown, RS>) | undefined
): ((query: StatusQuery) => Effect.Effect<Option.Option<unknown>, unknown, IR | AR | RS>) | undefined =>
  check === undefined
    ? undefined
    : Effect.fnUntraced(function* (query: StatusQuery) {
        const input = yield* codecs.input.decodeValue(query.request)
        const { attempt, idempotencyKey, runId } = query
        const found = yield* check({ idempotencyKey, runId, tool, attempt }, input)
        return Option.isNone(found) ? Option.none() : Option.some(yield* codecs.output.encodeValue(found.value))
      })

/** The author's compensator as obligations call it: from what is recorded. A dispatcher's answer may stand under `value`. */
export const compensateOf = <I, A, IR, AR, RC>(
  codecs: { readonly input: Json.Codec<I, IR>; readonly output: Json.Codec<A, AR> },
  compensate: ((input: I, output: A, call: Call) => Effect.Effect<unknown, unknown, RC>) | undefined
): ((input: unknown, output: unknown, call: Call) => Effect.Effect<unknown, unknown, IR | AR | RC>) | undefined =>
  compensate === undefined
    ? undefined
    : Effect.fnUntraced(function* (input: unknown, output: unknown, call: Call) {
        return yield* compensate(yield* codecs.input.decodeValue(input), yield* answerOf(codecs.output, output), call)
      })

/** A connector's answer stands in the record as it is, or under `value` when it is no object. */
export const answerOf = <A, R>(output: Json.Codec<A, R>, recorded: unknown): Effect.Effect<A, Json.CodecError, R> =>
  Effect.catchAll(output.decodeValue(recorded), (error) =>
    typeof recorded === "object" && recorded !== null && "value" in recorded
      ? Effect.mapError(output.decodeValue(recorded.value), () => error)
      : Effect.fail(error)
  )

const summary = (recorded: unknown): string => {
  if (recorded === undefined) return "no reason is recorded"
  if (typeof recorded === "string") return recorded
  if (typeof recorded === "object" && recorded !== null) {
    for (const key of ["reason", "message", "error", "last"]) {
      const value: unknown = Reflect.get(recorded, key)
      if (typeof value === "string" && value !== "") return value
    }
  }
  return JSON.stringify(recorded)
}
