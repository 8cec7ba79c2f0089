import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer } from "effect"
import { TapeClient } from "../src/Client.js"
import * as Live from "../src/Live.js"

const withEnv = (env: ReadonlyArray<readonly [string, string]>) =>
  Layer.setConfigProvider(ConfigProvider.fromMap(new Map(env)))

const begin = Effect.flatMap(TapeClient, (tape) =>
  tape.beginRun({ appName: "a", userId: "u", sessionId: "s", invocationId: "i" })
)

const failureWith = (env: ReadonlyArray<readonly [string, string]>) =>
  Effect.flip(Effect.provide(begin, Layer.provide(Live.TapeLive, withEnv(env))))

describe("TapeLive", () => {
  it.scopedLive("starts the engine of an embedded URL and keeps its file", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "tape-live-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const tape = Layer.provide(Live.TapeLive, withEnv([["TAPE_URL", `sqlite:${folder}/tape.db`]]))
      const first = yield* Effect.provide(begin, tape)
      const second = yield* Effect.provide(begin, tape)
      assert.deepStrictEqual([first.resumed, second.resumed], [false, true])
      assert.strictEqual(second.runId, first.runId)
    })
  )

  it.live("memory: is a private tape", () =>
    Effect.gen(function* () {
      const answer = yield* Effect.provide(begin, Live.layerUrl("memory:"))
      assert.isFalse(answer.resumed)
    })
  )

  for (const url of [[], [["TAPE_URL", ""]]] as ReadonlyArray<ReadonlyArray<readonly [string, string]>>) {
    it.live(`is tape://localhost:7878 when TAPE_URL is ${url.length === 0 ? "unset" : "empty"}`, () =>
      Effect.gen(function* () {
        const config = yield* Effect.withConfigProvider(Live.config, ConfigProvider.fromMap(new Map(url)))
        assert.strictEqual(config.url, "tape://localhost:7878")
      })
    )
  }

  it.live("refuses a URL it does not know, and a token that would travel unencrypted", () =>
    Effect.gen(function* () {
      const unknown = yield* failureWith([["TAPE_URL", "https://tape"]])
      assert.strictEqual(unknown._tag, "InvalidUrl")
      const plaintext = yield* failureWith([
        ["TAPE_URL", "tape://localhost:1"],
        ["TAPE_TOKEN", "secret"]
      ])
      assert.strictEqual(plaintext._tag === "InvalidUrl" && plaintext.reason, "TokenOnPlaintext")
      assert.notInclude(plaintext.message, "secret")
      const unsaid = Layer.provide(
        Live.layer({ token: undefined }),
        withEnv([
          ["TAPE_URL", "tape://localhost:1"],
          ["TAPE_TOKEN", "secret"]
        ])
      )
      assert.strictEqual((yield* Effect.flip(Effect.provide(begin, unsaid)))._tag, "InvalidUrl")
    })
  )

  it.live("says what is wrong with a store", () =>
    Effect.gen(function* () {
      const error = yield* failureWith([["TAPE_URL", "sqlite:/no/such/folder/tape.db"]])
      assert.strictEqual(error._tag === "StoreError" && error.reason, "NotWritable")
      assert.include(error.message, "/no/such/folder")
    })
  )

  it("loads no database driver for a server's URL", () => {
    const program = `
      import { Effect, Layer } from "effect"
      import * as Live from ${JSON.stringify(new URL("../dist/Live.js", import.meta.url).href)}
      import { createRequire } from "node:module"
      await Effect.runPromise(Effect.scoped(Layer.build(Live.layerUrl("tape://localhost:1"))))
      const loaded = Object.keys(createRequire(import.meta.url).cache)
      console.log(loaded.some((path) => path.includes("grpc-js")), loaded.some((path) => path.includes("better-sqlite3")))`
    const said = execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" })
    assert.strictEqual(said.trim(), "true false")
  })
})
