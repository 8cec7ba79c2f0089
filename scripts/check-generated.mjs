// Proves that src/gen is what `npm run generate` makes of proto/ today: nothing missing, nothing extra, nothing edited.
import { execFileSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const filesIn = (folder) =>
  new Map(
    readdirSync(folder, { recursive: true })
      .filter((name) => statSync(join(folder, name)).isFile())
      .map((name) => [name, readFileSync(join(folder, name), "utf8")])
  )

const fresh = mkdtempSync(join(tmpdir(), "effect-tape-generated-"))
try {
  execFileSync("buf", ["generate", "--output", fresh], { stdio: "inherit" })
  const wanted = filesIn(join(fresh, "src/gen"))
  const found = filesIn("src/gen")
  const wrong = [
    ...[...wanted.keys()].filter((name) => !found.has(name)).map((name) => `missing: src/gen/${name}`),
    ...[...found.keys()].filter((name) => !wanted.has(name)).map((name) => `extra: src/gen/${name}`),
    ...[...wanted]
      .filter(([name, text]) => found.has(name) && found.get(name) !== text)
      .map(([name]) => `stale: src/gen/${name}`)
  ]
  if (wanted.size === 0) wrong.push("buf generated nothing")
  for (const line of wrong) console.error(line)
  if (wrong.length > 0) {
    console.error("Run `npm run generate` and commit what it writes.")
    process.exitCode = 1
  } else console.log(`Generated code is up to date (${wanted.size} file).`)
} finally {
  rmSync(fresh, { recursive: true, force: true })
}
