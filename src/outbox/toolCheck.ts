/**
 * What the compiler cannot see of an outbox tool's definition.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"
import { ToolMisconfigured } from "../durable/errors.js"
import * as Value from "../durable/toolValue.js"
import { Semantics } from "./envelope.js"

/** Throws what is wrong with a definition that compiles. */
export const checked = (
  tool: string,
  semantics: string,
  options: {
    readonly connector: string
    readonly input: Schema.Schema.All
    readonly output: Schema.Schema.All
    readonly error?: Schema.Schema.All | undefined
    readonly businessKey?: unknown
    readonly statusCheck?: unknown
    readonly compensate?: unknown
    readonly humanGate?: boolean | undefined
  }
): void => {
  const refuse = (reason: string): never => {
    throw new ToolMisconfigured({ tool, reason })
  }
  Value.checked(tool, options)
  if (typeof options.connector !== "string" || options.connector === "") {
    refuse("an outbox tool needs a connector: there is nobody to send its effects through")
  }
  if (!Schema.is(Semantics)(semantics)) {
    refuse(`unknown semantics ${JSON.stringify(semantics)}: use ${Semantics.literals.join(", ")}`)
  }
  const netted = [options.businessKey, options.statusCheck, options.compensate].some((net) => net !== undefined)
  if (semantics === "non_idempotent" && !netted && options.humanGate !== true) {
    refuse("non_idempotent needs a safety net: add businessKey, statusCheck, compensate or humanGate")
  }
  if (!isObject(Schema.encodedSchema(Schema.make(options.input.ast)).ast)) {
    refuse("its input must encode to a JSON object: put it into a Schema.Struct")
  }
}

const isObject = (ast: AST.AST): boolean => {
  switch (ast._tag) {
    case "TypeLiteral":
    case "ObjectKeyword":
    case "UnknownKeyword":
    case "AnyKeyword":
      return true
    case "Union":
      return ast.types.every(isObject)
    case "Refinement":
      return isObject(ast.from)
    case "Suspend":
      return isObject(ast.f())
    default:
      return false
  }
}
