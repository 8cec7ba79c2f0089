/**
 * JSON objects taken apart and put together as text: numbers of any size and form stay as they were written.
 */

/** Whether a text is JSON. */
export const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/**
 * The members of a JSON object, each value as its text without the space between tokens; of a name that stands there
 * twice the last one. `undefined` for any other JSON.
 *
 * @param text JSON text
 */
export const members = (text: string): ReadonlyMap<string, string> | undefined => {
  const compact = withoutSpace(text)
  if (!compact.startsWith("{")) {
    return undefined
  }
  const found = new Map<string, string>()
  let index = 1
  while (compact[index] === '"') {
    const colon = endOfString(compact, index)
    const end = endOfValue(compact, colon + 1)
    // A name is a JSON string, escapes and all.
    found.set(JSON.parse(compact.slice(index, colon)) as string, compact.slice(colon + 1, end))
    index = end + 1
  }
  return found
}

/** An object of members, in ascending order of their names. */
export const object = (members: ReadonlyMap<string, string>): string =>
  `{${[...members.keys()]
    .toSorted()
    .map((name) => `${JSON.stringify(name)}:${members.get(name)}`)
    .join(",")}}`

/** JSON text without the space between its tokens. */
export const withoutSpace = (text: string): string => {
  const kept: Array<string> = []
  let start = 0
  let index = 0
  while (index < text.length) {
    if (text[index] === '"') {
      index = endOfString(text, index)
    } else if (isSpace(text[index])) {
      kept.push(text.slice(start, index))
      start = ++index
    } else {
      index++
    }
  }
  kept.push(text.slice(start))
  return kept.join("")
}

const isSpace = (character: string | undefined): boolean =>
  character === " " || character === "\n" || character === "\r" || character === "\t"

/** Behind the quote that ends the string which starts at `start`. */
const endOfString = (text: string, start: number): number => {
  let index = start + 1
  while (text[index] !== '"') {
    index += text[index] === "\\" ? 2 : 1
  }
  return index + 1
}

/** At the comma or brace behind the value of a member. */
const endOfValue = (text: string, start: number): number => {
  let depth = 0
  let index = start
  while (depth > 0 || (text[index] !== "," && text[index] !== "}")) {
    const character = text[index]
    if (character === '"') {
      index = endOfString(text, index)
      continue
    }
    depth += character === "{" || character === "[" ? 1 : character === "}" || character === "]" ? -1 : 0
    index++
  }
  return index
}
