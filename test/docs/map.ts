/** Checks `docs/reference-map.md` against what the package offers, the tests it names, and the reference's symbols. */
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert } from "@effect/vitest"
import { resolver } from "./exports.js"

const page = "docs/reference-map.md"

/** What the reference exports, as `<package> <kind> <symbol>`, one a line; told here so that the map is checked without it. */
const symbols = { count: 321, digest: "9d3fb5d1d14a48fcba713c9deae1a241ebd8eaa178533d63d47d736e06f11c4a" }

/** Where its list lies beside this repository, if it does. */
const list = "../shared/spec/seed-symbols.tsv"

const weaknesses = 34

/** Each symbol is mapped once, to something that is exported under that name. */
export const checkMap = (root: string): void => {
  const rows = sectionsOf(root).flatMap(({ rows, title }) =>
    title.startsWith(otherwise) ? [] : rows.map((row) => ({ row, area: title }))
  )
  const mapped = rows.map(({ area, row: [kind = "", symbol = ""] }) =>
    [packages.has(area) ? area : "tape", kind, symbol.slice(1, -1)].join(" ")
  )
  const listed = Path.join(root, list)
  if (Fs.existsSync(listed)) {
    const [, ...lines] = Fs.readFileSync(listed, "utf8").trimEnd().split("\n")
    const given = lines.map((line) => {
      const [from, symbol, kind] = line.split("\t")
      return `${from} ${kind} ${symbol}`
    })
    assert.deepStrictEqual(mapped.toSorted(), given.toSorted())
    assert.strictEqual(digestOf(given), symbols.digest, "the digest in this file is that of the list")
  }
  assert.strictEqual(new Set(mapped).size, mapped.length, "a symbol is mapped twice")
  assert.strictEqual(mapped.length, symbols.count)
  assert.strictEqual(digestOf(mapped), symbols.digest, "the symbols in the map are not those of the reference")

  const exists = resolver(Object.fromEntries(entries.map(([name, file]) => [name, Path.join(root, "src", file)])))
  for (const {
    row: [, symbol = "", ours = ""]
  } of rows) {
    const names = [...ours.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name)
    assert.isNotEmpty(names, `${symbol} has no counterpart`)
    for (const name of names) assert.isTrue(exists(name), `${symbol} is mapped to ${name}, which does not exist`)
  }
}

/** Each weakness has an answer, and names tests that are there: a file, and a title in it. */
export const checkOtherwise = (root: string): void => {
  const rows = sectionsOf(root).find(({ title }) => title.startsWith(otherwise))?.rows ?? []
  assert.deepStrictEqual(
    rows.map(([number]) => Number(number)),
    Array.from({ length: weaknesses }, (_, index) => index + 1)
  )
  for (const [number, , , tests = ""] of rows) {
    const named = [...tests.matchAll(/`(test\/[^`]+)`: “([^”]+)”/g)]
    assert.isNotEmpty(named, `${number} names no test`)
    for (const [, file = "", title = ""] of named) {
      assert.isTrue(Fs.existsSync(Path.join(root, file)), `${number}: there is no ${file}`)
      assert.include(Fs.readFileSync(Path.join(root, file), "utf8"), title, `${number}: ${file}`)
    }
  }
}

// ---- internal ----

const otherwise = "What ours does otherwise"

const packages: ReadonlySet<string> = new Set(["connectors", "sinks"])

/** The entries of the package, by the names that the map has for them. */
const entries = [
  ["main", "index.ts"],
  ["engine", "engine/index.ts"],
  ["server", "server/index.ts"],
  ["testing", "testing/index.ts"],
  ["gcp", "gcp/index.ts"],
  ["proto", "gen/tape/v1/tape_pb.ts"]
] as const

const digestOf = (lines: ReadonlyArray<string>): string =>
  createHash("sha256").update(lines.toSorted().join("\n")).digest("hex")

/** The tables of the page, by their headings. */
const sectionsOf = (root: string) =>
  Fs.readFileSync(Path.join(root, page), "utf8")
    .split(/^## /m)
    .slice(1)
    .map((section) => {
      const [title = "", ...lines] = section.split("\n")
      const [, , ...rows] = lines.filter((line) => line.startsWith("|"))
      return {
        title,
        rows: rows.map((row) =>
          row
            .slice(1, -1)
            .split(/(?<!\\)\|/)
            .map((cell) => cell.trim())
        )
      }
    })
