/** An expression rewritten so that it pays for what it costs: see `meter.ts`. */
import { type Call, type Comprehension, childrenOf, type Expression, literalOf, sizeOf } from "./expression.js"
import { name } from "./meter.js"

/** The expression with payments in all the places where they are due. */
export const metered = (expression: Expression): Expression => {
  const { exprKind } = expression
  switch (exprKind.case) {
    case "selectExpr": {
      const { operand } = exprKind.value
      return operand === undefined
        ? expression
        : { ...expression, exprKind: { ...exprKind, value: { ...exprKind.value, operand: metered(operand) } } }
    }
    case "callExpr":
      return { ...expression, exprKind: { ...exprKind, value: meteredCall(exprKind.value) } }
    case "listExpr":
      return {
        ...expression,
        exprKind: { ...exprKind, value: { ...exprKind.value, elements: exprKind.value.elements.map(metered) } }
      }
    case "structExpr":
      return {
        ...expression,
        exprKind: {
          ...exprKind,
          value: {
            ...exprKind.value,
            entries: exprKind.value.entries.map((entry) => ({
              ...entry,
              ...(entry.value === undefined ? {} : { value: metered(entry.value) }),
              keyKind:
                entry.keyKind.case === "mapKey"
                  ? { case: "mapKey" as const, value: metered(entry.keyKind.value) }
                  : entry.keyKind
            }))
          }
        }
      }
    case "comprehensionExpr":
      return { ...expression, exprKind: { ...exprKind, value: meteredLoop(exprKind.value) } }
    default:
      return expression
  }
}

const meteredLoop = (loop: Comprehension): Comprehension => {
  const { accuInit, iterRange, loopCondition, loopStep, result } = loop
  if (
    accuInit === undefined ||
    iterRange === undefined ||
    loopCondition === undefined ||
    loopStep === undefined ||
    result === undefined
  ) {
    return loop
  }
  const nodes = sizeOf(loopCondition) + sizeOf(loopStep)
  return {
    ...loop,
    iterRange: call(iterRange, name.range, metered(iterRange)),
    accuInit: metered(accuInit),
    // When the payment fails, so does the condition, and the loop ends.
    loopCondition: call(
      loopCondition,
      "_?_:_",
      call(loopCondition, name.iteration, constant(loopCondition, nodes)),
      metered(loopCondition),
      constant(loopCondition, false)
    ),
    loopStep: metered(loopStep),
    result: metered(result)
  }
}

const meteredCall = (value: Call): Call => {
  const payment = paymentOf(value)
  const pay = (argument: Expression): Expression =>
    payment === undefined || (payment !== name.time && childrenOf(argument).length + variables(argument) === 0)
      ? metered(argument)
      : call(argument, payment, metered(argument))
  if (value.function === "_[_]") {
    const [operand, index] = value.args
    return operand === undefined || index === undefined || literalOf(index) !== undefined
      ? { ...value, args: value.args.map(metered) }
      : { ...value, args: [pay(operand), metered(index)] }
  }
  return {
    ...value,
    args: value.args.map(pay),
    ...(value.target === undefined ? {} : { target: pay(value.target) })
  }
}

/** Literals are short, and so cost nothing; a time is read each time. */
const variables = ({ exprKind }: Expression): number => (exprKind.case === "identExpr" ? 1 : 0)

const paymentOf = ({ args, function: called, target }: Call): string | undefined => {
  switch (called) {
    case "_&&_":
    case "_||_":
    case "_?_:_":
    case "@not_strictly_false":
    case "!_":
    case "size":
    case "contains":
    case "matches":
    case "type":
    case "dyn":
      return undefined
    case "_[_]":
      return name.indexed
    case "_==_":
    case "_!=_":
    case "@in":
      return name.all
    case "int":
    case "uint":
    case "double":
    case "bool":
      return name.converted
    case "timestamp":
    case "duration":
      return name.time
    default:
      return target !== undefined && called.startsWith("get") && args.length > 0 ? name.zone : name.own
  }
}

/** Ids tell where an error was; a payment stands where its argument does. */
const call = (at: Expression, called: string, ...args: ReadonlyArray<Expression>): Expression => ({
  ...at,
  exprKind: { case: "callExpr", value: { $typeName: "cel.expr.Expr.Call", function: called, args: [...args] } }
})

const constant = (at: Expression, value: number | boolean): Expression => ({
  ...at,
  exprKind: {
    case: "constExpr",
    value: {
      $typeName: "cel.expr.Constant",
      constantKind:
        typeof value === "number" ? { case: "int64Value", value: BigInt(value) } : { case: "boolValue", value }
    }
  }
})
