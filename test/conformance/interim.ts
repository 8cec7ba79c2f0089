/** What this half of the engine does not answer yet says so plainly. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { TapeError } from "../../src/Errors.js"
import { refused } from "./Expect.js"
import { interim, type Scenario } from "./Scenario.js"

const unserved = (calls: ReadonlyArray<Effect.Effect<unknown, TapeError>>) =>
  Effect.forEach(calls, (call) =>
    Effect.map(refused(call, "Unimplemented"), ({ detail }) =>
      assert.ok(detail.length > 10, `a sentence, not "${detail}"`)
    )
  )

export const notYet: ReadonlyArray<Scenario> = [
  // one scenario per part, to be deleted on the day the part is served
  interim("HALF-VAL", "values answer UNIMPLEMENTED", function* ({ tape }) {
    yield* unserved([
      tape.writeValue({ namespace: "n", key: "k", valueJson: "1", ifVersion: -1n }),
      tape.getValue({ namespace: "n", key: "k" }),
      tape.deleteValue({ namespace: "n", key: "k" }),
      Stream.runHead(tape.watchValue({ namespace: "n", key: "k" }))
    ])
  }),

  interim("HALF-SES", "sessions answer UNIMPLEMENTED", function* ({ app, tape }) {
    yield* unserved([
      tape.createSession({ appName: app }),
      tape.getSession({ appName: app }),
      tape.listSessions({ appName: app }),
      tape.deleteSession({ appName: app }),
      tape.appendEvent({ appName: app, event: { id: "e" } })
    ])
  }),

  interim("HALF-RCT", "reactions and tasks answer UNIMPLEMENTED", function* ({ tape }) {
    yield* unserved([
      tape.registerReaction({ subjectPattern: "/tape/**", handlerKind: 2 }),
      tape.deregisterReaction({ reactionId: "r" }),
      tape.listReactions({}),
      tape.claimTasks({ reactionId: "r", owner: "o" }),
      tape.completeTask({ taskId: "t", owner: "o" }),
      tape.nackTask({ taskId: "t", owner: "o" }),
      tape.listTasks({ reactionId: "r" })
    ])
  }),

  interim("HALF-CMP", "compaction answers UNIMPLEMENTED", function* ({ tape }) {
    yield* unserved([tape.listCompactableRuns({}), tape.compactRun({ runId: "r" })])
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
