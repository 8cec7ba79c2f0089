import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { checkMap, checkOtherwise } from "./map.js"
import { checkScenarios } from "./scenarios.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
const read = (file: string): string => Fs.readFileSync(Path.join(root, file), "utf8")
const fenced = /```ts\n([\s\S]*?)```/g

/** The examples of a page, or of a module's doc comments. */
const examplesOf = (file: string): ReadonlyArray<string> => {
  const text = read(file)
  const comments = file.endsWith(".ts")
    ? [...text.matchAll(/\/\*\*[\s\S]*?\*\//g)].map(([comment]) => comment.replaceAll(/^ *\* ?|^ *\/\*\*|\*\/$/gm, ""))
    : [text]
  return comments.flatMap((comment) => [
    ...[...comment.matchAll(fenced)].map(([, code = ""]) => code),
    ...[...comment.matchAll(/@example\n(?!```)([\s\S]*?)(?=\n@|$)/g)].map(([, code = ""]) => code)
  ])
}

const files = (folder: string, ending: string): ReadonlyArray<string> =>
  Fs.existsSync(Path.join(root, folder))
    ? Fs.readdirSync(Path.join(root, folder), { recursive: true, encoding: "utf8" })
        .filter((file) => file.endsWith(ending))
        .map((file) => Path.join(folder, file))
    : []

describe("documentation", () => {
  const pages = files("docs", ".md")
  const prose = pages.filter((page) => page !== "docs/reference-map.md")

  it("the programs in the README and the pages are those in examples, and all of those are shown", () => {
    const shown = ["README.md", ...pages].flatMap((page) =>
      [...read(page).matchAll(/<!-- (examples\/\S+) -->\n```ts\n([\s\S]*?)```/g)].map(([, file = "", code = ""]) => {
        assert.strictEqual(code, read(file), `${page} shows another ${file} than there is`)
        return file
      })
    )
    assert.includeMembers(shown, ["examples/first.ts", "examples/second.ts", ...files("examples/docs", ".ts")])
    assert.isAtMost(read("examples/first.ts").trimEnd().split("\n").length, 40)
    assert.isAtMost(read("examples/second.ts").trimEnd().split("\n").length, 60)
  })

  it("each page is short, is in the index, and leads to nothing that is not there", () => {
    const index = read("docs/README.md")
    for (const page of prose) {
      const text = read(page)
      assert.isAtMost(text.trimEnd().split("\n").length, 80, `${page} is too long`)
      if (page !== "docs/README.md") {
        assert.include(index, `(${Path.basename(page)})`)
        assert.include(text, "```ts\n", `${page} has no example`)
      }
      for (const [, to = ""] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
        assert.isTrue(Fs.existsSync(Path.join(root, "docs", to)), `${page} leads to ${to}`)
      }
    }
  })

  it("every symbol of the reference has its counterpart, which exists", () => checkMap(root))

  it("every weakness of the reference has an answer, and a test that holds it", () => checkOtherwise(root))

  it("every scenario of the acceptance suite has a test that names it", () => checkScenarios(root))

  it("every example in the pages and in the doc comments compiles as a user's program would", () => {
    const folder = Path.join(root, ".build/docs")
    Fs.rmSync(folder, { recursive: true, force: true })
    Fs.mkdirSync(folder, { recursive: true })
    const sources = [
      "README.md",
      ...files("docs", ".md"),
      ...files("src", ".ts").filter((file) => !file.startsWith("src/gen"))
    ]
    const written = sources.flatMap((source) =>
      examplesOf(source).map((code, index) => {
        const file = `${source.replaceAll(/[/.]/g, "_")}_${index}.ts`
        Fs.writeFileSync(Path.join(folder, file), `${code}\nexport {}\n`)
        return file
      })
    )
    assert.isAbove(written.length, 10)
    Fs.writeFileSync(
      Path.join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: "../../tsconfig.examples.json",
        compilerOptions: { noEmit: true, rootDir: "../..", noUnusedLocals: false },
        include: ["./*.ts"],
        exclude: []
      })
    )
    try {
      execFileSync(Path.join(root, "node_modules/.bin/tsc"), ["-p", folder], { encoding: "utf8" })
    } catch (error) {
      assert.fail(error instanceof Error && "stdout" in error ? String(error.stdout) : String(error))
    }
  })
})
