import { existsSync, readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Tape } from "effect-tape/proto"
import { digestOf, rowsOfDescriptor, rowsOfTable } from "./wire.js"

const table = new URL("../../../shared/spec/wire.tsv", import.meta.url)
const digest = readFileSync(new URL("./wire.digest", import.meta.url), "utf8").trim()

describe("the generated descriptor is the contract", () => {
  const rows = rowsOfDescriptor(Tape)

  it("has the contract's fingerprint: every call, message, field, number, type, label, value and stream mode", () => {
    assert.strictEqual(digestOf(rows), digest)
  })

  it("has 51 calls, four of them streams", () => {
    const modes = Tape.methods.map((method) => method.methodKind)
    assert.strictEqual(modes.length, 51)
    assert.strictEqual(modes.filter((mode) => mode === "unary").length, 47)
    assert.strictEqual(modes.filter((mode) => mode === "server_streaming").length, 4)
  })

  // The table the contract came in lies beside the repository where the contract is kept; elsewhere the digest speaks.
  if (existsSync(table)) {
    const wanted = rowsOfTable(readFileSync(table, "utf8"), "tape.v1")

    it("says what wire.tsv says, row by row, nothing missing and nothing extra", () => {
      assert.deepStrictEqual(
        { missing: wanted.filter((row) => !rows.includes(row)), extra: rows.filter((row) => !wanted.includes(row)) },
        { missing: [], extra: [] }
      )
    })

    it("was fingerprinted from wire.tsv", () => {
      assert.strictEqual(digest, digestOf(wanted))
    })
  }
})
