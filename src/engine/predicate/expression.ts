/** The parsed expression, and a way to walk it. */
import type { parse } from "@bufbuild/cel"

export type Expression = NonNullable<ReturnType<typeof parse>["expr"]>

type Kind = Expression["exprKind"]
export type Call = Extract<Kind, { case: "callExpr" }>["value"]
export type Comprehension = Extract<Kind, { case: "comprehensionExpr" }>["value"]

const present = (items: ReadonlyArray<Expression | undefined>): ReadonlyArray<Expression> =>
  items.filter((item) => item !== undefined)

export const childrenOf = ({ exprKind }: Expression): ReadonlyArray<Expression> => {
  switch (exprKind.case) {
    case "selectExpr":
      return present([exprKind.value.operand])
    case "callExpr":
      return present([exprKind.value.target, ...exprKind.value.args])
    case "listExpr":
      return exprKind.value.elements
    case "structExpr":
      return present(
        exprKind.value.entries.flatMap(({ keyKind, value }) => [
          keyKind.case === "mapKey" ? keyKind.value : undefined,
          value
        ])
      )
    case "comprehensionExpr": {
      const { accuInit, iterRange, loopCondition, loopStep, result } = exprKind.value
      return present([iterRange, accuInit, loopCondition, loopStep, result])
    }
    default:
      return []
  }
}

export const sizeOf = (expression: Expression): number =>
  childrenOf(expression).reduce((size, child) => size + sizeOf(child), 1)

/** The text of a string literal. */
export const literalOf = (expression: Expression | undefined): string | undefined =>
  expression?.exprKind.case === "constExpr" && expression.exprKind.value.constantKind.case === "stringValue"
    ? expression.exprKind.value.constantKind.value
    : undefined
