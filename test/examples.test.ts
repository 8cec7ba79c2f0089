/** The README's programs, compiled, run as processes of their own. */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Bank from "./support/Bank.js"
import { temporaryDirectory } from "./support/Harness.js"

/** Runs a program until it has said something; what it printed. Then it is told to stop. */
const runUntil = (
  program: string,
  cwd: string,
  saying: RegExp,
  env: Record<string, string> = {}
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function* () {
    const file = fileURLToPath(new URL(`../.build/examples/${program}.js`, import.meta.url))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [file], { cwd, env: { ...process.env, ...env } })),
      (child) =>
        Effect.async<void>((resume) => {
          if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
          child.once("exit", () => resume(Effect.void))
          child.kill("SIGTERM")
        })
    )
    return yield* Effect.async<string>((resume) => {
      let output = ""
      const collect = (chunk: Buffer) => {
        output += chunk.toString()
        if (saying.test(output)) resume(Effect.succeed(output))
      }
      child.stdout.on("data", collect)
      child.stderr.on("data", collect)
      child.once("exit", () => resume(Effect.succeed(output)))
    })
  })

const lines = (folder: string, file: string) => Fs.readFileSync(Path.join(folder, file), "utf8").trimEnd().split("\n")

describe("the README's programs", () => {
  it.scopedLive("the first, twice: one wire", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryDirectory
      for (const _ of [1, 2]) {
        assert.match(yield* Effect.scoped(runUntil("first", folder, /message=done/)), /message=done/)
        assert.lengthOf(lines(folder, "wires.jsonl"), 1)
      }
    })
  )

  it.scopedLive("the second settles with a bank that does not deduplicate, twice: one wire, and an audit", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryDirectory
      const bank = yield* Bank.make
      const env = { TAPE_URL: "sqlite:./tape.db", BANK_URL: bank.url, BANK_SEARCH_URL: bank.searchUrl }
      for (const _ of [1, 2]) {
        assert.match(yield* Effect.scoped(runUntil("second", folder, /settled/, env)), /settled.*W-1/s)
        assert.lengthOf(yield* bank.ledger, 1)
      }
      assert.isTrue(lines(folder, "audit.jsonl").some((line) => line.includes('"effect"')))
    })
  )
})
