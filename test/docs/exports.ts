/** What the package offers, read off its sources: values and types alike, and the members that each declares. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** A name that is exported: where it is declared, or the module that it is a namespace of. */
type Export =
  | { readonly _tag: "Declaration"; readonly text: string }
  | { readonly _tag: "Namespace"; readonly file: string }

/** Whether `Module.export`, `entry.export` or a member of one (`Outbox.LoopOptions.pageSize`) exists. */
export const resolver = (entries: { readonly [entry: string]: string }) => {
  const known = new Map<string, ReadonlyMap<string, Export>>()
  const exportsOf = (file: string): ReadonlyMap<string, Export> => {
    const found = known.get(file) ?? read(file, exportsOf)
    known.set(file, found)
    return found
  }
  const within = (found: Export | undefined, path: ReadonlyArray<string>): boolean => {
    const [name, ...rest] = path
    if (found === undefined) return false
    if (name === undefined) return true
    if (found._tag === "Namespace") return within(exportsOf(found.file).get(name), rest)
    return rest.length === 0 && hasMember(found.text, name)
  }
  return (path: string): boolean => {
    const [first = "", ...rest] = path.split(".")
    const entry = entries[first]
    if (entry !== undefined) return rest.length > 0 && within({ _tag: "Namespace", file: entry }, rest)
    const main = entries["main"] ?? ""
    // The calls of the client are those of the contract.
    return first === "TapeClient" && rest.length > 0
      ? within(exportsOf(entries["proto"] ?? "").get("Tape"), rest)
      : within(exportsOf(main).get(first), rest)
  }
}

const declaration =
  /^export (?:declare )?(?:abstract )?(?:const|class|interface|type|enum|function|namespace) (\w+)[\s\S]*?(?=^(?:export |\/\*\*|\/\/ ---|const |type |interface )|$(?![\s\S]))/gm
const all = /^export \* (?:as (\w+) )?from "(\.[^"]+)"/gm
const named = /^export (?:type )?\{([^}]*)\}(?: from "(\.[^"]+)")?/gm

const read = (file: string, exportsOf: (file: string) => ReadonlyMap<string, Export>): ReadonlyMap<string, Export> => {
  // Comments between braces would be taken for names; the code's own lines keep their places.
  const text = Fs.readFileSync(file, "utf8").replaceAll(/\/\*\*[\s\S]*?\*\/|\/\/ .*/g, (comment) =>
    comment.startsWith("/**") ? "/**" : ""
  )
  const found = new Map<string, Export>()
  const from = (path: string) => Path.join(Path.dirname(file), path.replace(/\.js$/, ".ts"))
  for (const [whole, name = ""] of text.matchAll(declaration)) {
    // A schema and its type share a name.
    const before = found.get(name)
    found.set(name, {
      _tag: "Declaration",
      text: before?._tag === "Declaration" ? `${before.text}\n${whole}` : whole
    })
  }
  for (const [, name, path = ""] of text.matchAll(all)) {
    if (name !== undefined) found.set(name, { _tag: "Namespace", file: from(path) })
    else for (const [each, what] of exportsOf(from(path))) found.set(each, what)
  }
  for (const [, names = "", path] of text.matchAll(named)) {
    for (const each of names.replaceAll("/**", "").split(",")) {
      const [, inner, outer] = /^\s*(?:type )?(\w+)(?: as (\w+))?\s*$/.exec(each) ?? []
      if (inner === undefined) continue
      const what = path === undefined ? undefined : exportsOf(from(path)).get(inner)
      if (what !== undefined) found.set(outer ?? inner, what)
    }
  }
  return found
}

const hasMember = (text: string, name: string): boolean =>
  new RegExp(`^\\s*(?:readonly |static )?${name}(?:\\?|<[^>]*>)?\\s*(?::|=|\\()`, "m").test(text)
