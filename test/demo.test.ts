import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

const program = fileURLToPath(new URL("../.build/examples/demo/main.js", import.meta.url))

/** Plays the demo as `npm run demo` does; what it prints, and its exit code. */
const play = (...args: ReadonlyArray<string>) =>
  Effect.async<{ readonly code: number | null; readonly output: string }>((resume) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    const collect = (chunk: unknown) => {
      output += String(chunk)
    }
    child.stdout.on("data", collect)
    child.stderr.on("data", collect)
    child.on("close", (code) => resume(Effect.succeed({ code, output })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** What a scene says after its title, without the margin. */
const scene = (output: string, name: string): ReadonlyArray<string> =>
  (output.split(/^(?=crash-resume:|lost-ack:)/m).find((part) => part.startsWith(name)) ?? "")
    .split("\n")
    .slice(1)
    .map((line) => line.replace(/^ +(?:life \d+ +)?/, "").replaceAll(/ +/g, " "))

describe.concurrent("the demo", () => {
  for (const via of ["embedded", "serve"]) {
    it.live(
      `DEMO-01, DEMO-02 · both scenes end with exactly one wire, the tape ${via}`,
      () =>
        Effect.gen(function* () {
          const { code, output } = yield* play("--via", via)
          assert.strictEqual(code, 0, output)
          assert.match(output, /killed \(SIGKILL\)/)
          assert.match(output, /replayed: the model was not asked again/)
          assert.match(output, /an earlier attempt vanished: asked the bank, found W-1: CONFIRMED/)
          assert.match(output, /the answer was lost: UNKNOWN/)
          assert.strictEqual(output.match(/exactly one ✓/g)?.length, 2, output)
          assert.strictEqual(output.match(/"wireId"/g)?.length, 2, output)
          assert.includeOrderedMembers(
            [...scene(output, "crash-resume")],
            [
              "run running",
              "decide plan recorded (planner-1)",
              "wire_money intent recorded",
              "bank booked W-1",
              "✗ killed (SIGKILL) before the answer was recorded",
              "decide plan replayed: the model was not asked again",
              "wire_money an earlier attempt vanished: asked the bank, found W-1: CONFIRMED",
              "run terminal"
            ]
          )
          assert.includeOrderedMembers(
            [...scene(output, "lost-ack")],
            [
              "run running",
              "decide plan recorded (planner-1)",
              "wire_money intent recorded",
              "wire_money sent, the answer was lost: UNKNOWN",
              "wire_money asked the bank, found W-1: CONFIRMED",
              "run terminal"
            ]
          )
          // The bank's ledger has the one wire under its business key.
          assert.strictEqual(output.match(/"businessKey":"ACME:100:2026-11-22"/g)?.length, 2, output)
        }),
      60_000
    )
  }

  it.live(
    "DEMO-01, DEMO-02 · fails when the step that asks the bank is broken: the wire is booked twice",
    () =>
      Effect.gen(function* () {
        const { code, output } = yield* play("--scene", "crash-resume", "--break", "observe")
        assert.strictEqual(code, 1, output)
        assert.match(output, /2 wires {3}expected exactly one ✗/)
      }),
    60_000
  )

  it.live(
    "DEMO-01 · --help needs no server",
    () =>
      Effect.gen(function* () {
        const { code, output } = yield* play("--help")
        assert.strictEqual(code, 0, output)
        assert.include(output, "--scene crash-resume | lost-ack")
      }),
    60_000
  )

  it.live(
    "says what is wrong with a flag in one sentence",
    () =>
      Effect.gen(function* () {
        const { code, output } = yield* play("--via", "nowhere")
        assert.deepStrictEqual(
          { code, output: output.trim() },
          { code: 2, output: "Expected one of the following cases: embedded, serve" }
        )
      }),
    60_000
  )
})
