/** What this half of the engine does not answer yet says so plainly. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { TapeError } from "../../src/Errors.js"
import { refused } from "./Expect.js"
import { interim, type Scenario } from "./Scenario.js"

export const notYet: ReadonlyArray<Scenario> = [
  interim("HALF-01", "values, sessions, reactions, tasks and compaction answer UNIMPLEMENTED", function* (w) {
    const { tape } = w
    const calls: ReadonlyArray<Effect.Effect<unknown, TapeError>> = [
      tape.writeValue({ namespace: "n", key: "k", valueJson: "1", ifVersion: -1n }),
      tape.getValue({ namespace: "n", key: "k" }),
      tape.deleteValue({ namespace: "n", key: "k" }),
      Stream.runHead(tape.watchValue({ namespace: "n", key: "k" })),
      tape.createSession({ appName: w.app }),
      tape.getSession({ appName: w.app }),
      tape.listSessions({ appName: w.app }),
      tape.deleteSession({ appName: w.app }),
      tape.appendEvent({ appName: w.app, event: { id: "e" } }),
      tape.registerReaction({ subjectPattern: "/tape/**", handlerKind: 2 }),
      tape.deregisterReaction({ reactionId: "r" }),
      tape.listReactions({}),
      tape.claimTasks({ reactionId: "r", owner: "o" }),
      tape.completeTask({ taskId: "t", owner: "o" }),
      tape.nackTask({ taskId: "t", owner: "o" }),
      tape.listTasks({ reactionId: "r" }),
      tape.listCompactableRuns({}),
      tape.compactRun({ runId: "r" })
    ]
    for (const call of calls) {
      const error = yield* refused(call, "Unimplemented")
      assert.ok(error.detail.length > 10, `a sentence, not "${error.detail}"`)
    }
  }),

  interim("HALF-02", "a predicate is refused plainly, an empty or blank one is none", function* (w) {
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
