import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Errors from "../src/Errors.js"

const failure = (code: number, detail = "no") => ({ rpc: "EndRun", code, detail, ids: { run_id: "r" } })

describe("Errors", () => {
  it("gives each of the 16 codes its error, and each error a code that gives it back", () => {
    const tags = Array.from({ length: 16 }, (_, i) => Errors.fromStatus(failure(i + 1))._tag)
    assert.deepStrictEqual(tags, [
      "Cancelled",
      "Internal",
      "InvalidRequest",
      "DeadlineExceeded",
      "NotFound",
      "Conflict",
      "PermissionDenied",
      "ResourceExhausted",
      "PreconditionFailed",
      "Conflict",
      "InvalidRequest",
      "Unimplemented",
      "Internal",
      "Unavailable",
      "Internal",
      "Unauthenticated"
    ])
    for (let code = 1; code <= 16; code++) {
      const error = Errors.fromStatus(failure(code))
      assert.strictEqual(Errors.fromStatus(failure(Errors.statusOf(error)))._tag, error._tag)
      assert.isTrue(Errors.isTapeError(error))
    }
  })

  it("is total: a code nobody knows is Internal", () => {
    assert.strictEqual(Errors.fromStatus(failure(99))._tag, "Internal")
  })

  it("reads the reference's INTERNAL by its sentence", () => {
    const read = (detail: string) => Errors.fromStatus(failure(13, detail))._tag
    assert.strictEqual(read("version conflict: expected 3"), "Conflict")
    assert.strictEqual(read("NON_IDEMPOTENT needs OUTBOX"), "InvalidRequest")
    assert.strictEqual(read("run is not terminal"), "PreconditionFailed")
    assert.strictEqual(read("no run for session"), "NotFound")
    assert.strictEqual(read("disk on fire"), "Internal")
  })

  it("says which call failed, why, and on what", () => {
    assert.strictEqual(Errors.fromStatus(failure(5, "unknown run")).message, 'EndRun: unknown run (run_id "r")')
    const lost = Errors.fromStatus(failure(14, "connection lost"))
    assert.strictEqual(lost.message, 'EndRun: connection lost (run_id "r"); it may have been applied')
    const refused = Errors.fromStatus({ ...failure(14, "refused"), maybeApplied: false })
    assert.strictEqual(refused.message, 'EndRun: refused (run_id "r")')
  })

  it("survives encoding", () => {
    const error = Errors.fromStatus(failure(14))
    const back = Schema.decodeUnknownSync(Errors.TapeError)(
      JSON.parse(JSON.stringify(Schema.encodeSync(Errors.TapeError)(error)))
    )
    assert.strictEqual(back.message, error.message)
  })
})
