/** What this half of the engine does not answer yet says so plainly. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import type { TapeError } from "../../src/Errors.js"
import { within } from "./Expect.js"
import { interim, type Scenario } from "./Scenario.js"

/** Answered or refused by its own rules, or else UNIMPLEMENTED with a sentence; never a bug, never silence. */
const plain = (calls: ReadonlyArray<Effect.Effect<unknown, TapeError>>) =>
  Effect.forEach(calls, (call) =>
    Effect.map(Effect.either(within("an answer", call)), (outcome) => {
      if (Either.isRight(outcome)) return
      const error = outcome.left
      assert.ok(error._tag !== "Unmet" && error._tag !== "Internal", error.message)
      assert.ok(error.detail.length > 10, `a sentence, not "${error.detail}"`)
    })
  )

export const notYet: ReadonlyArray<Scenario> = [
  interim("HALF-RCT", "reactions and tasks are served, or say plainly that they are not", function* ({ tape }) {
    yield* plain([
      tape.registerReaction({ reactionId: "r", subjectPattern: "/tape/none", handlerKind: 2 }),
      tape.deregisterReaction({ reactionId: "r" }),
      tape.listReactions({}),
      tape.claimTasks({ reactionId: "r", owner: "o" }),
      tape.completeTask({ taskId: "t", owner: "o" }),
      tape.nackTask({ taskId: "t", owner: "o" }),
      tape.listTasks({ reactionId: "r" })
    ])
  }),

  interim("HALF-CEL", "a predicate is refused plainly, an empty or blank one is none", function* (w) {
    const error = yield* Effect.flip(
      Stream.runHead(w.tape.subscribeBySubject({ subjectPattern: "/tape/**", predicateCel: "seq > 0" }))
    )
    assert.ok(error._tag === "InvalidRequest" || error._tag === "Unimplemented", error.message)
    assert.ok(/predicate|CEL/.test(error.detail), error.detail)
    const runId = yield* w.run("a")
    const subjectPattern = `/tape/run/**`
    const first = yield* Stream.runHead(w.tape.subscribeBySubject({ subjectPattern, predicateCel: "" }))
    assert.equal(first._tag, "Some")
    assert.notEqual(runId, "")
  })
]
