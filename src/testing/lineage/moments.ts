import type { Death } from "../tape/mortal.js"
import type { EffectNode, Node, ObligationNode } from "./node.js"

/**
 * At which moments nodes are cut; see `CutOptions`.
 *
 * @since 0.1.0
 * @category models
 */
export type Moments = "critical" | "every"

/** A death, and what it means for its node. */
export interface Moment {
  readonly death: Death
  /** `before decision 0 is recorded` */
  readonly words: string
}

/** When a process could die of a node. */
export const momentsOf = (node: Node, moments: Moments): ReadonlyArray<Moment> => {
  const points = pointsOf(node)
  return moments === "every"
    ? points.flatMap((point) => [momentOf(node, point, "before"), momentOf(node, point, "after")])
    : points.flatMap((point) => (point.critical === undefined ? [] : [momentOf(node, point, point.critical)]))
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

/** A call that records something of a node. */
interface Point extends Pick<Required<Death>, "call" | "where"> {
  readonly done: string
  /** On which side of it most is in doubt, if on any. */
  readonly critical?: Death["at"]
}

const momentOf = (node: Node, { call, done, where }: Point, at: Death["at"]): Moment => ({
  death: { at, call, where },
  words: `${at} ${node.label} is ${done}`
})

const pointsOf = (node: Node): ReadonlyArray<Point> => {
  const { runId } = node
  switch (node.kind) {
    case "run": {
      const { app, invocation, session, user } = node
      const ids = { appName: app, userId: user, sessionId: session, invocationId: invocation }
      return [{ call: "beginRun", where: has(ids), done: "begun", critical: "after" }]
    }
    case "decision":
      return [
        {
          call: "recordDecision",
          where: has({ runId, decisionIndex: node.index }),
          done: "recorded",
          critical: "before"
        }
      ]
    case "effect":
      return [
        { call: "beginEffect", where: (request) => has({ runId })(request) && isIntent(node, request), done: "begun" },
        {
          // Whoever has sent it or asked about it says what became of it.
          call: ["completeEffect", "recordDispatchAttempt", "recordExternalObservation", "reconcileEffect"],
          where: has({ runId, idempotencyKey: node.idempotencyKey }),
          done: "settled",
          critical: "before"
        }
      ]
    case "obligation":
      return [
        {
          // What is found to have happened twice is owed from the moment it is known.
          call: ["registerCompensation", "recordExternalObservation"],
          where: (request) => has({ runId })(request) && isOwed(node, request),
          done: "registered",
          critical: "before"
        }
      ]
  }
}

/** Whether a request has these fields; what it leaves out is empty. */
const has =
  (fields: { readonly [name: string]: string | number }) =>
  (request: object): boolean =>
    Object.entries(fields).every(
      ([name, value]) => String(Reflect.get(request, name) ?? (typeof value === "number" ? 0 : "")) === String(value)
    )

const text = (request: object, name: string): string => String(Reflect.get(request, name) ?? "")

/** An effect is known by a key of its own, or by where in the run it is. */
const isIntent = ({ idempotencyKey, runId }: EffectNode, request: object): boolean => {
  const custom = text(request, "customKey")
  if (custom !== "") return custom === idempotencyKey
  const decision = BigInt(text(request, "decisionIndex"))
  const position = decision < 0n ? "no-decision" : `decision-${decision}`
  return idempotencyKey === `${runId}/${position}/${text(request, "toolName")}/${text(request, "callIndex") || "0"}`
}

const isOwed = ({ compensation, effectKey }: ObligationNode, request: object): boolean =>
  has({ effectKey, kind: compensation })(request) ||
  has({ idempotencyKey: effectKey, compensateOnDuplicateKind: compensation })(request)
