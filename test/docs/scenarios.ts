/** Checks that no scenario of the acceptance suite is forgotten. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert } from "@effect/vitest"

/** Where the suite lies beside this repository, if it does. */
const list = "../shared/spec/scenarios.md"

/** What is not there yet: the command line's `inspect`. */
const later: ReadonlySet<string> = new Set(["CLI-01"])

/** Each scenario is named by a test, in a title or in a table of cases; those of `later` by none. */
export const checkScenarios = (root: string): void => {
  const suite = Path.join(root, list)
  if (!Fs.existsSync(suite)) return
  const ids = [...Fs.readFileSync(suite, "utf8").matchAll(/^\*\*([A-Z]+-\d+) ·/gm)].map(([, id = ""]) => id)
  assert.isAbove(ids.length, 150)
  const folder = Path.join(root, "test")
  const named = new Set(
    Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts") && file !== Path.join("docs", "scenarios.ts"))
      .flatMap((file) => [...withoutComments(Fs.readFileSync(Path.join(folder, file), "utf8")).matchAll(id)])
      .map(([id]) => id)
  )
  assert.deepStrictEqual(
    ids.filter((id) => !named.has(id)),
    ids.filter((id) => later.has(id))
  )
}

// ---- internal ----

const id = /\b[A-Z]+-\d+\b/g

const withoutComments = (source: string): string => source.replaceAll(/^\s*(?:\/?\*|\/\/).*$/gm, "")
