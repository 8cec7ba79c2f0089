/**
 * The budget of an evaluation. The library has no limit of its own and cannot be interrupted, so the expression is
 * rewritten once, when it is compiled: whatever may cost more than its node goes through a function that pays first.
 *
 * A step is about a microsecond; about four in a process that has evaluated nothing yet, so that the first evaluation
 * is done within 50 milliseconds, too. Costs are those of the worst input, measured; most inputs cost far less.
 */
import {
  type CelList,
  type CelMap,
  type CelResult,
  CelScalar,
  type CelValue,
  celError,
  celFunc,
  celList,
  celMethod,
  isCelList,
  isCelMap,
  listType
} from "@bufbuild/cel"
import { RE2JS } from "@bufbuild/re2"

/** Enough to look for something in a list of 700. */
const budget = 10_000

/** Of a text that is converted to something else: numbers, times and zones are short. */
const longestConverted = 256

/** Pays for one evaluation at a time: evaluations are synchronous, so one meter serves all. */
export class Meter {
  private left = 0
  private readonly regexes = new Map<string, RE2JS>()

  /** Runs an evaluation and tells what it cost. */
  run(evaluation: () => CelResult): { readonly result: CelResult; readonly steps: number } {
    this.left = budget
    // Errors are values here, many of them are made and dropped: a stack trace is most of what one costs.
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    try {
      const result = evaluation()
      // What could not be paid for was not done.
      return { result, steps: Math.min(budget, budget - this.left) }
    } finally {
      Error.stackTraceLimit = stackTraceLimit
      this.regexes.clear()
    }
  }

  pay(steps: number): void {
    this.left -= steps
    if (this.left < 0) {
      throw exhausted
    }
  }

  /** Pays for looking once at all of a value. */
  payAll(value: CelValue): void {
    this.pay(ownSize(value))
    if (isCelList(value)) {
      this.pay(value.size * 0.2)
      for (const item of value) {
        this.payAll(item)
      }
    } else if (isCelMap(value)) {
      this.pay(value.size * 0.4)
      for (const [key, item] of value) {
        this.payAll(key)
        this.payAll(item)
      }
    }
  }

  /** Compiled once in an evaluation and forgotten: the states that a regular expression collects are not small. */
  regex(pattern: string): RE2JS {
    const known = this.regexes.get(pattern)
    if (known !== undefined) {
      return known
    }
    this.pay(50 + 6 * pattern.length)
    const regex = RE2JS.compile(pattern)
    this.regexes.set(pattern, regex)
    return regex
  }
}

const exhausted = celError(`the evaluation takes more than ${budget} steps`)

/** Text and bytes cost by length, whatever is done with them; everything else costs nothing by itself. */
const ownSize = (value: CelValue): number =>
  typeof value === "string" || value instanceof Uint8Array ? value.length / 1_000 : 0

const { BOOL, DYN, INT, STRING } = CelScalar
const LIST = listType(DYN)

/** The functions that the rewritten expression calls, and those of the library that are made to pay. */
export const functionsOf = (meter: Meter) => [
  celFunc(name.iteration, [INT], BOOL, (nodes) => {
    meter.pay(Number(nodes))
    return true
  }),
  celFunc(name.range, [DYN], DYN, (range) => {
    meter.pay(1 + 0.1 * countOf(range))
    return range
  }),
  celFunc(name.all, [DYN], DYN, (value) => {
    meter.payAll(value)
    return value
  }),
  celFunc(name.own, [DYN], DYN, (value) => {
    meter.pay(ownSize(value))
    return value
  }),
  celFunc(name.converted, [DYN], DYN, convertible),
  celFunc(name.time, [DYN], DYN, (value) => {
    meter.pay(10)
    return convertible(value)
  }),
  // Formatting a time in a named zone is slow.
  celFunc(name.zone, [DYN], DYN, (zone) => {
    meter.pay(300)
    if (typeof zone === "string" && zone.length > longestConverted) {
      throw celError("no such time zone")
    }
    return zone
  }),
  // A map is searched key by key for a number.
  celFunc(name.indexed, [DYN], DYN, (value) => {
    meter.pay(isCelMap(value) ? value.size * 0.01 : 0)
    return value
  }),
  // The library's lists remember what they were made of: reading one that grew item by item takes quadratic time.
  celFunc("_+_", [LIST, LIST], LIST, (left, right) => {
    meter.pay(1 + (left.size + right.size) * 0.1)
    return celList([...left, ...right])
  }),
  celFunc("size", [STRING], INT, (text) => codePointsOf(meter, text)),
  celMethod("size", STRING, [], INT, function () {
    return codePointsOf(meter, this)
  }),
  celMethod("contains", STRING, [STRING], BOOL, function (part) {
    // Searching is linear for short parts only.
    meter.pay(part.length <= 200 ? this.length / 200 : (this.length * part.length) / 1_000)
    return this.includes(part)
  }),
  celMethod("matches", STRING, [STRING], BOOL, function (pattern) {
    const regex = meter.regex(pattern)
    meter.pay(1 + this.length * (2 + 0.15 * regex.re2().prog.inst.length))
    return regex.test(this)
  })
]

const convertible = (value: CelValue): CelValue => {
  if (typeof value === "string" && value.length > longestConverted) {
    throw celError(`a text of more than ${longestConverted} characters is not converted`)
  }
  return value
}

const countOf = (value: CelValue): number => (isSized(value) ? value.size : 0)

const isSized = (value: CelValue): value is CelList | CelMap => isCelList(value) || isCelMap(value)

/** CEL counts code points. */
const codePointsOf = (meter: Meter, text: string): bigint => {
  meter.pay(text.length / 300)
  let count = 0
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    const isPair = code >= 0xd800 && code < 0xdc00 && isLow(text.charCodeAt(index + 1))
    index += isPair ? 1 : 0
    count += 1
  }
  return BigInt(count)
}

const isLow = (code: number): boolean => code >= 0xdc00 && code < 0xe000

/** No expression can name these: `@` is no letter of CEL. */
export const name = {
  iteration: "@iteration",
  range: "@range",
  all: "@all",
  own: "@own",
  converted: "@converted",
  time: "@time",
  zone: "@zone",
  indexed: "@indexed"
}
