import { readdirSync, readFileSync } from "node:fs"
import { builtinModules } from "node:module"
import { dirname, join, normalize } from "node:path/posix"
import { fileURLToPath } from "node:url"

/** The root of the repository. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

/** One import in a source file: what it names, and whether it is there when the program runs, and at once. */
export interface Import {
  readonly from: string
  readonly to: string
  readonly kind: "static" | "type" | "dynamic"
}

const statement = /^(?:import|export)\b(?<type> type\b)?[^;"']*?\bfrom "(?<from>[^"]+)"|^import "(?<bare>[^"]+)"/gm
const call = /\bimport\("(?<path>[^"]+)"\)/g

const importsOf = (from: string): ReadonlyArray<Import> => {
  const text = readFileSync(join(root, from), "utf8").replaceAll(/\/\*\*[\s\S]*?\*\//g, "")
  const found = (kind: Import["kind"], to: string): Import => ({
    from,
    to: to.startsWith(".") ? normalize(join(dirname(from), to)).replace(/\.js$/, ".ts") : to,
    kind
  })
  return Array.from(text.matchAll(statement), ({ groups }) =>
    found(groups?.["type"] === undefined ? "static" : "type", groups?.["from"] ?? groups?.["bare"] ?? "")
  ).concat(Array.from(text.matchAll(call), ({ groups }) => found("dynamic", groups?.["path"] ?? "")))
}

/** Every import of `src`; paths are relative to the repository, packages keep their name. */
export const importsOfSource: ReadonlyArray<Import> = readdirSync(join(root, "src"), { recursive: true })
  .map((name) => join("src", name.toString()))
  .filter((name) => name.endsWith(".ts"))
  .flatMap(importsOf)

/** The package an import belongs to; nothing for a file of ours or a part of Node. */
export const packageOf = (to: string): string | undefined =>
  to.startsWith("src/") || to.startsWith("node:") || builtinModules.includes(to)
    ? undefined
    : to.split("/", to.startsWith("@") ? 2 : 1).join("/")

/** What is loaded at once when a file of `src` is imported. */
export const loadedWith = (entry: string): ReadonlySet<string> => {
  const seen = new Set<string>()
  const visit = (file: string): void => {
    if (seen.has(file)) return
    seen.add(file)
    for (const { from, kind, to } of importsOfSource) if (from === file && kind === "static") visit(to)
  }
  visit(entry)
  return seen
}
