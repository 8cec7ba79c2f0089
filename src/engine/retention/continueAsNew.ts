/**
 * One invocation of a session hands over to the next.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Journal from "../Journal.js"
import * as Values from "../ledgers/Values.js"
import type { Store } from "../store/Store.js"
import { Runs, Values as ValueRows } from "../store/tables.js"
import * as Trace from "../Trace.js"
import * as Keys from "../validate/keys.js"
import { pruneWhole } from "./effects.js"
import { AlreadyContinued, type Continuation, InvalidContinuation, RunNotFound } from "./models.js"

/** Prunes what the old invocation has settled and carries the state over, in one transaction. */
export const continueAsNew = (store: Context.Tag.Service<Store>, continuation: Continuation) =>
  store.write((tx) =>
    Effect.gen(function* () {
      const { appName, invocationId, newInvocationId: key, sessionId, stateJson, userId, writer = "" } = continuation
      const namespace = namespaceOf(sessionId)
      const problem = problemOf(continuation)
      if (problem !== undefined) {
        return yield* new InvalidContinuation({ detail: problem })
      }
      const context = { tx, trace: Trace.none }
      const run = yield* tx.find(Runs, "invocation", [appName, userId, sessionId, invocationId])
      if (run === undefined) {
        return yield* new RunNotFound({ run: `${appName}/${userId}/${sessionId}/${invocationId}` })
      }
      const held = yield* tx.get(ValueRows, { namespace, key })
      const isHeld = held !== undefined && !held.deleted
      if (isHeld && held.valueJson !== stateJson) {
        return yield* new AlreadyContinued({ namespace, key, version: held.version })
      }
      const effects = yield* pruneWhole(tx, run)
      const { version } = isHeld
        ? held
        : yield* Values.writeNext(context, held, { namespace, key, valueJson: stateJson, writer })
      yield* Effect.mapError(
        Journal.checkSize(context, largestMessage),
        ({ detail }) => new InvalidContinuation({ detail: `stateJson: ${detail}` })
      )
      return { runId: run.runId, ...effects, namespace, key, version }
    })
  )

/** What a message may take that nobody has said anything else about. */
const largestMessage = 4 * 1024 * 1024

const namespaceOf = (sessionId: string): string => `tape:continue-as-new:${sessionId}`

/** What `Validate` refuses in a request, in the names that are used here. */
const problemOf = (continuation: Continuation): string | undefined => {
  const { newInvocationId, sessionId } = continuation
  for (const [name, text] of Object.entries({ ...continuation })) {
    if (typeof text === "string" && text.includes("\u0000")) {
      return `${name} contains the character U+0000`
    }
  }
  return (
    Keys.problemOf({ localName: "namespace", name: "sessionId, with its prefix" }, namespaceOf(sessionId)) ??
    Keys.problemOf({ localName: "key", name: "newInvocationId" }, newInvocationId)
  )
}
