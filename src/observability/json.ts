/** Any value as JSON, on one line. Never throws. */
export const write = (value: unknown): string => {
  try {
    return JSON.stringify(value, replacer()) ?? "null"
  } catch (cause) {
    return JSON.stringify(`[cannot be written: ${sentenceOf(cause)}]`)
  }
}

/** Keeps the way from the root to where `JSON.stringify` is, so that a cycle is told from a value that stands twice. */
const replacer = () => {
  const way: Array<unknown> = []
  return function (this: unknown, key: string, value: unknown): unknown {
    while (way.length > 0 && way.at(-1) !== this) way.pop()
    // As it is, not what its `toJSON` makes of it.
    const raw: unknown = typeof this === "object" && this !== null ? Reflect.get(this, key) : value
    if (raw instanceof Error) return sentenceOf(raw)
    switch (typeof value) {
      case "bigint":
        return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : String(value)
      case "number":
        return Number.isFinite(value) ? value : String(value)
      case "symbol":
      case "function":
        return String(value)
      case "object":
        if (value === null) return value
        if (way.includes(value)) return "[cyclic]"
        way.push(value)
        return value
      default:
        return value
    }
  }
}

const sentenceOf = (cause: unknown): string => {
  try {
    return String(cause)
  } catch {
    return "an error without a text"
  }
}
