/**
 * An entry's payload as CEL sees it: whole numbers are ints (uints when larger), all others doubles. `JSON.parse` would
 * round the one and not tell the other. Only so much is read: a larger payload is an error where it is looked at.
 */
import { type CelError, type CelValue, celError, celList, celMap, celUint } from "@bufbuild/cel"

export interface Payload {
  readonly value: CelValue | CelError
  /** What reading it cost. */
  readonly steps: number
}

/** In UTF-16 units: as long as an entry can be that fits into a message of 4 MiB. */
const longest = 4 * 1024 * 1024
const mostValues = 10_000
const deepest = 64

export const read = (text: string): Payload => {
  if (text.length > longest) {
    return { value: celError(`the payload has more than ${longest} characters`), steps: 1 }
  }
  const reader = new Reader(text)
  const value = reader.read()
  return { value, steps: 1 + reader.values + text.length / 200 }
}

class Reader {
  values = 0
  private position = 0

  constructor(private readonly text: string) {}

  read(): CelValue | CelError {
    try {
      const value = this.value(0)
      this.space()
      return this.position === this.text.length ? value : celError("the payload is not JSON")
    } catch (cause) {
      return celError(cause instanceof Error ? cause.message : "the payload is not JSON")
    }
  }

  private value(depth: number): CelValue {
    this.values += 1
    if (this.values > mostValues || depth > deepest) {
      throw new Error(
        depth > deepest
          ? `the payload is nested more than ${deepest} deep`
          : `the payload has more than ${mostValues} values`
      )
    }
    this.space()
    switch (this.text[this.position]) {
      case "{":
        return this.object(depth + 1)
      case "[":
        return this.array(depth + 1)
      case '"':
        return this.string()
      case "t":
        return this.word("true", true)
      case "f":
        return this.word("false", false)
      case "n":
        return this.word("null", null)
      default:
        return this.number()
    }
  }

  private object(depth: number): CelValue {
    const members = new Map<string, CelValue>()
    this.sequence("}", () => {
      this.space()
      const name = this.string()
      this.expect(":")
      members.set(name, this.value(depth))
    })
    return celMap(members)
  }

  private array(depth: number): CelValue {
    const items: Array<CelValue> = []
    this.sequence("]", () => items.push(this.value(depth)))
    return celList(items)
  }

  private sequence(end: string, item: () => void): void {
    this.position += 1
    this.space()
    if (this.text[this.position] === end) {
      this.position += 1
      return
    }
    for (;;) {
      item()
      this.space()
      if (this.text[this.position] === end) {
        this.position += 1
        return
      }
      this.expect(",")
    }
  }

  private string(): string {
    const { position: start, text } = this
    if (text[start] !== '"') {
      throw notJson
    }
    plainText.lastIndex = start + 1
    plainText.test(text)
    const plainEnd = plainText.lastIndex
    if (text.charCodeAt(plainEnd) === quote) {
      this.position = plainEnd + 1
      return text.slice(start + 1, plainEnd)
    }
    for (let index = plainEnd; index < text.length; index++) {
      const code = text.charCodeAt(index)
      if (code === quote) {
        this.position = index + 1
        return decode(text.slice(start, index + 1))
      }
      if (code === backslash) {
        index += 1
      } else if (code < 0x20) {
        throw notJson
      }
    }
    throw notJson
  }

  private number(): CelValue {
    numberToken.lastIndex = this.position
    const found = numberToken.exec(this.text)
    if (found === null) {
      throw notJson
    }
    this.position = numberToken.lastIndex
    const [token, fraction] = found
    if (fraction !== "" || token.length > 20) {
      return Number(token)
    }
    if (token.length < 16) {
      // Exact, and much faster than reading the text as a bigint.
      return BigInt(Number(token))
    }
    const whole = BigInt(token)
    return whole >= minInt && whole <= maxInt
      ? whole
      : whole > maxInt && whole <= maxUint
        ? celUint(whole)
        : Number(token)
  }

  private word<A>(word: string, value: A): A {
    if (!this.text.startsWith(word, this.position)) {
      throw notJson
    }
    this.position += word.length
    return value
  }

  private expect(character: string): void {
    this.space()
    if (this.text[this.position] !== character) {
      throw notJson
    }
    this.position += 1
  }

  private space(): void {
    let code = this.text.charCodeAt(this.position)
    while (code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09) {
      this.position += 1
      code = this.text.charCodeAt(this.position)
    }
  }
}

const notJson = new Error("the payload is not JSON")

const quote = 0x22
const backslash = 0x5c

/** A string up to its end or its first escape: an expression is faster than a loop, above all at first. */
const plainText = /[ !#-[\]-\uffff]*/y

const numberToken = /-?(?:0|[1-9][0-9]*)((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)/y

const minInt = -(2n ** 63n)
const maxInt = 2n ** 63n - 1n
const maxUint = 2n ** 64n - 1n

/** The token is a quoted string; malformed escapes throw. */
const decode = (token: string): string => String(JSON.parse(token))
