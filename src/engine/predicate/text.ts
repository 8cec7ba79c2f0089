/**
 * What is looked at before the parser: it takes seconds to say what is wrong with brackets that are not closed, and
 * recursion to read nested ones.
 */

/** In UTF-16 units. */
const longest = 2_048
const deepest = 32

/** Why a text is not parsed at all, or `undefined`. */
export const problemOf = (source: string): string | undefined => {
  if (source.length > longest) {
    return `an expression has at most ${longest} characters, this one ${source.length}`
  }
  const open: Array<string> = []
  for (const [token] of source.matchAll(tokens)) {
    if (token in closing) {
      open.push(closing[token]!)
      if (open.length > deepest) {
        return `brackets are nested more than ${deepest} deep`
      }
    } else if (closers.has(token)) {
      if (open.pop() !== token) {
        return `"${token}" closes nothing`
      }
    } else if (quotes.has(token)) {
      return "a string is not closed"
    }
  }
  const missing = open.at(-1)
  return missing === undefined ? undefined : `"${missing}" is missing`
}

/** The parser takes a comment only in some places. */
export const withoutComments = (source: string): string =>
  source.replace(tokens, (token) => (token.startsWith("//") ? " " : token))

const closing: { readonly [open: string]: string } = { "(": ")", "[": "]", "{": "}" }
const closers: ReadonlySet<string> = new Set(Object.values(closing))
const quotes: ReadonlySet<string> = new Set(["'", '"'])

/** Strings (raw ones first, triple quotes before single ones), comments, brackets, and quotes that begin no string. */
const tokens = new RegExp(
  [
    String.raw`[rR][bB]?(?:"""[^]*?"""|'''[^]*?'''|"[^"\n\r]*"|'[^'\n\r]*')`,
    String.raw`[bB][rR](?:"""[^]*?"""|'''[^]*?'''|"[^"\n\r]*"|'[^'\n\r]*')`,
    String.raw`"""(?:[^\\]|\\[^])*?"""|'''(?:[^\\]|\\[^])*?'''`,
    String.raw`"(?:[^"\\\n\r]|\\.)*"|'(?:[^'\\\n\r]|\\.)*'`,
    String.raw`//[^\n\r]*`,
    String.raw`[()[\]{}"']`
  ].join("|"),
  "g"
)
