import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"

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
  it("the README's program is the one in examples", () => {
    assert.include(read("README.md"), `<!-- examples/first.ts -->\n\`\`\`ts\n${read("examples/first.ts")}\`\`\``)
    assert.isAtMost(read("examples/first.ts").trimEnd().split("\n").length, 40)
  })

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
