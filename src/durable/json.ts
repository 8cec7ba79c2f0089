/**
 * Between typed values and the JSON text of the journal.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"

/** Why a value could not be written, or a text not be read. */
export class CodecError extends Data.TaggedError("CodecError")<{ readonly reason: string }> {
  override get message(): string {
    return this.reason
  }
}

export interface Codec<in out A, out R> {
  readonly encode: (value: A) => Effect.Effect<string, CodecError, R>
  readonly decode: (text: string) => Effect.Effect<A, CodecError, R>
  readonly decodeValue: (value: unknown) => Effect.Effect<A, CodecError, R>
  readonly encodeValue: (value: A) => Effect.Effect<unknown, CodecError, R>
}

/** `undefined` is written as no text at all: JSON has no word for it. */
export const codec = <A, I, R>(schema: Schema.Schema<A, I, R>): Codec<A, R> => {
  const encode = Schema.encode(schema)
  const decode = Schema.decodeUnknown(schema)
  const decodeValue = (value: unknown) => Effect.mapError(decode(value), unfit)
  const encodeValue = (value: A) => Effect.mapError(encode(value), unfit)
  return {
    decodeValue,
    encodeValue,
    encode: (value) => Effect.flatMap(encodeValue(value), write),
    decode: (text) => Effect.flatMap(parse(text), decodeValue)
  }
}

/** A plain value as JSON text. */
export const write = (value: unknown): Effect.Effect<string, CodecError> =>
  Effect.try({
    try: () => JSON.stringify(value) ?? "",
    catch: (cause) => new CodecError({ reason: `not JSON: ${cause instanceof Error ? cause.message : String(cause)}` })
  })

/** JSON text as a plain value; no text is `undefined`. */
export const parse = (text: string): Effect.Effect<unknown, CodecError> =>
  text === ""
    ? Effect.void
    : Effect.try({
        try: (): unknown => JSON.parse(text),
        catch: () => new CodecError({ reason: `not JSON: ${shorten(text)}` })
      })

/** As {@link parse}, for reports: text that is not JSON stands for itself. */
export const parseOrText = (text: string): unknown => {
  if (text === "") return undefined
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Why values of this schema cannot be journaled, or `undefined` when they can. */
export const unencodable = (schema: Schema.Schema.All): string | undefined =>
  firstForeign(Schema.encodedSchema(Schema.make(schema.ast)).ast, "", new Set())

/**
 * How two JSON texts differ, by path: `amount: 100 is recorded, 120 is asked`. Empty when they mean the same; the order of
 * keys means nothing.
 */
export const differences = (recorded: string, asked: string): ReadonlyArray<string> => {
  if (recorded === asked) return []
  const found: Array<string> = []
  compare(parseOrText(recorded), parseOrText(asked), "", found)
  return found
}

const maxDifferences = 5

const compare = (recorded: unknown, asked: unknown, path: string, found: Array<string>): void => {
  if (found.length >= maxDifferences || Object.is(recorded, asked)) return
  if (isObject(recorded) && isObject(asked) && Array.isArray(recorded) === Array.isArray(asked)) {
    for (const key of new Set([...Object.keys(recorded), ...Object.keys(asked)])) {
      compare(recorded[key], asked[key], path === "" ? key : `${path}.${key}`, found)
    }
    return
  }
  found.push(`${path === "" ? "it" : path}: ${show(recorded)} is recorded, ${show(asked)} is asked`)
}

const isObject = (value: unknown): value is { readonly [key: string]: unknown } =>
  typeof value === "object" && value !== null

const show = (value: unknown): string => (value === undefined ? "nothing" : shorten(JSON.stringify(value)))

const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 77)}...` : text)

const unfit = (error: ParseResult.ParseError): CodecError =>
  new CodecError({ reason: ParseResult.TreeFormatter.formatErrorSync(error) })

const firstForeign = (ast: AST.AST, path: string, seen: Set<AST.AST>): string | undefined => {
  if (seen.has(ast)) return undefined
  seen.add(ast)
  const inside = (parts: Iterable<readonly [ast: AST.AST, path: string]>): string | undefined => {
    for (const [part, where] of parts) {
      const foreign = firstForeign(part, where, seen)
      if (foreign !== undefined) return foreign
    }
    return undefined
  }
  const below = (name: PropertyKey) => (path === "" ? String(name) : `${path}.${String(name)}`)
  switch (ast._tag) {
    case "Declaration":
    case "BigIntKeyword":
    case "SymbolKeyword":
    case "UniqueSymbol":
      return `${path === "" ? "it" : path} is ${String(ast)}, which has no form in JSON`
    case "TypeLiteral":
      return inside([
        ...ast.propertySignatures.map((field) => [field.type, below(field.name)] as const),
        ...ast.indexSignatures.map((field) => [field.type, below("*")] as const)
      ])
    case "TupleType":
      return inside([...ast.elements, ...ast.rest].map((element, index) => [element.type, below(index)] as const))
    case "Union":
      return inside(ast.types.map((type) => [type, path] as const))
    case "Refinement":
      return inside([[ast.from, path]])
    case "Suspend":
      return inside([[ast.f(), path]])
    default:
      return undefined
  }
}
