/**
 * One invocation of a session hands over to the next.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Values from "../ledgers/Values.js"
import type { Store } from "../store/Store.js"
import { Runs, Values as ValueRows } from "../store/tables.js"
import * as Trace from "../Trace.js"
import { pruneWhole } from "./effects.js"
import { AlreadyContinued, type Continuation, RunNotFound } from "./models.js"

/** Prunes what the old invocation has settled and carries the state over, in one transaction. */
export const continueAsNew = (store: Context.Tag.Service<Store>, continuation: Continuation) =>
  store.write((tx) =>
    Effect.gen(function* () {
      const { appName, invocationId, newInvocationId: key, sessionId, stateJson, userId, writer = "" } = continuation
      const namespace = `tape:continue-as-new:${sessionId}`
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
        : yield* Values.writeNext({ tx, trace: Trace.none }, held, { namespace, key, valueJson: stateJson, writer })
      return { runId: run.runId, ...effects, namespace, key, version }
    })
  )
