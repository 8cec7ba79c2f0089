/**
 * What an expression may consist of. Everything that could only ever fail, or cost without bound, is refused when it is
 * registered, with a sentence.
 */
import { RE2JS } from "@bufbuild/re2"
import { type Call, childrenOf, type Expression, literalOf } from "./expression.js"

const variables = [
  "global_seq",
  "run_id",
  "seq",
  "kind",
  "subject",
  "ts_ms",
  "schema_version",
  "payload",
  "trace_id"
] as const

/** Macros count with what they expand to. */
const mostNodes = 250
const deepestLoops = 2
const longestRegex = 256

/** Why an expression is refused, or `undefined`. */
export const problemOf = (expression: Expression): string | undefined => {
  let nodes = 0
  const visit = (node: Expression, bound: ReadonlySet<string>, loops: number): string | undefined => {
    nodes += 1
    if (nodes > mostNodes) {
      return `the expression is too large: it has more than ${mostNodes} nodes`
    }
    const { exprKind } = node
    switch (exprKind.case) {
      case "identExpr":
        return bound.has(exprKind.value.name) ? undefined : `unknown name ${quote(exprKind.value.name)}; ${knownNames}`
      case "callExpr":
        return callProblem(exprKind.value) ?? visitAll(childrenOf(node), bound, loops)
      case "structExpr":
        return exprKind.value.messageName === ""
          ? visitAll(childrenOf(node), bound, loops)
          : `unknown type ${quote(exprKind.value.messageName)}: messages cannot be built here`
      case "comprehensionExpr": {
        if (loops === deepestLoops) {
          return `macros over lists and maps are nested more than ${deepestLoops} deep`
        }
        const { accuInit, accuVar, iterRange, iterVar, loopCondition, loopStep, result } = exprKind.value
        const inner = new Set([...bound, iterVar, accuVar])
        return (
          visitAll([iterRange, accuInit], bound, loops + 1) ??
          visitAll([loopCondition, loopStep, result], inner, loops + 1)
        )
      }
      default:
        return visitAll(childrenOf(node), bound, loops)
    }
  }
  const visitAll = (
    nodes: ReadonlyArray<Expression | undefined>,
    bound: ReadonlySet<string>,
    loops: number
  ): string | undefined => {
    for (const node of nodes) {
      const problem = node === undefined ? undefined : visit(node, bound, loops)
      if (problem !== undefined) {
        return problem
      }
    }
    return undefined
  }
  return visit(expression, new Set<string>([...variables, ...types]), 0)
}

const types = ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"]

const knownNames = `a predicate knows ${variables.join(", ")}`

/** How many arguments each function takes. */
const functions: { readonly [name: string]: ReadonlyArray<number> } = Object.fromEntries(
  ["size", "int", "uint", "double", "bool", "bytes", "string", "timestamp", "duration", "type", "dyn"].map((name) => [
    name,
    [1]
  ])
)

const methods: { readonly [name: string]: ReadonlyArray<number> } = {
  size: [0],
  ...Object.fromEntries(["contains", "startsWith", "endsWith", "matches"].map((name) => [name, [1]])),
  ...Object.fromEntries(
    [
      "FullYear",
      "Month",
      "Date",
      "DayOfMonth",
      "DayOfWeek",
      "DayOfYear",
      "Hours",
      "Minutes",
      "Seconds",
      "Milliseconds"
    ].map((part) => [`get${part}`, [0, 1]])
  )
}

/** What the parser makes of operators and macros; no function that a user writes can be named so. */
const operators: ReadonlySet<string> = new Set([
  ..."_+_ _-_ _*_ _/_ _%_ _==_ _!=_ _<_ _<=_ _>_ _>=_ _&&_ _||_ !_ -_ _?_:_ _[_]".split(" "),
  "@in",
  "@not_strictly_false"
])

const callProblem = ({ args, function: name, target }: Call): string | undefined => {
  if (operators.has(name)) {
    return undefined
  }
  const known = target === undefined ? functions : methods
  const counts = Object.hasOwn(known, name) ? known[name] : undefined
  if (counts === undefined) {
    return `unknown ${target === undefined ? "function" : "method"} ${quote(name)}`
  }
  if (!counts.includes(args.length)) {
    return `${name} takes ${counts.join(" or ")} argument(s), not ${args.length}`
  }
  return name === "matches" ? regexProblem(literalOf(args[0])) : undefined
}

const regexProblem = (pattern: string | undefined): string | undefined => {
  if (pattern === undefined) {
    return "matches takes a string literal: a regular expression is checked when it is registered"
  }
  if (pattern.length > longestRegex) {
    return `a regular expression has at most ${longestRegex} characters`
  }
  try {
    const size = RE2JS.compile(pattern).re2().prog.inst.length
    return size > mostInstructions ? `the regular expression ${quote(pattern)} is too large` : undefined
  } catch (cause) {
    return `the regular expression ${quote(pattern)} is malformed: ${cause instanceof Error ? cause.message : cause}`
  }
}

const mostInstructions = 1_000

const quote = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
