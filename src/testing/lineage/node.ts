import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Entry } from "../tape/journal.js"

const common = {
  id: Schema.String,
  /** The id of what it follows from; absent for a run. */
  parent: Schema.optional(Schema.String),
  /** For people: `effect decision-0/wire_money/0`. */
  label: Schema.String,
  runId: Schema.String
}

/**
 * A run, known by the four ids that it was begun with.
 *
 * @since 0.1.0
 * @category models
 */
export class RunNode extends Schema.Class<RunNode>("effect-tape/testing/Lineage/RunNode")({
  ...common,
  kind: Schema.Literal("run"),
  app: Schema.String,
  user: Schema.String,
  session: Schema.String,
  invocation: Schema.String
}) {}

/**
 * A decision. It follows from its run.
 *
 * @since 0.1.0
 * @category models
 */
export class DecisionNode extends Schema.Class<DecisionNode>("effect-tape/testing/Lineage/DecisionNode")({
  ...common,
  kind: Schema.Literal("decision"),
  /** From 0 on. */
  index: Schema.Int,
  model: Schema.String
}) {}

/**
 * An effect. It follows from its decision, or from the run before the first one.
 *
 * @since 0.1.0
 * @category models
 */
export class EffectNode extends Schema.Class<EffectNode>("effect-tape/testing/Lineage/EffectNode")({
  ...common,
  kind: Schema.Literal("effect"),
  tool: Schema.String,
  idempotencyKey: Schema.String,
  /** Empty when it has none. */
  businessKey: Schema.String,
  /** Empty for an inline effect. */
  connector: Schema.String
}) {}

/**
 * What would undo an effect, and follows from it.
 *
 * @since 0.1.0
 * @category models
 */
export class ObligationNode extends Schema.Class<ObligationNode>("effect-tape/testing/Lineage/ObligationNode")({
  ...common,
  kind: Schema.Literal("obligation"),
  /** The idempotency key of the effect. */
  effectKey: Schema.String,
  /** Of what kind it is: the tool's name, as a rule. */
  compensation: Schema.String
}) {}

/**
 * @since 0.1.0
 * @category models
 */
export type Node = RunNode | DecisionNode | EffectNode | ObligationNode

/** The nodes of a journal, in its order. */
export const nodesOf = (entries: ReadonlyArray<Pick<Entry, "kind" | "payload" | "runId">>): ReadonlyArray<Node> => {
  const nodes = new Map<string, Node>()
  for (const { kind, payload, runId } of entries) {
    const known = (id: string): string | undefined => (nodes.has(id) ? id : undefined)
    const node = Option.getOrUndefined(isKind(kind) ? readers[kind](payload, runId, known) : Option.none())
    if (node !== undefined && !nodes.has(node.id)) nodes.set(node.id, node)
  }
  return [...nodes.values()]
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

/** The entries by which a node comes into the journal; later ones of the same thing are written otherwise. */
const begun = Schema.decodeUnknownOption(
  Schema.Struct({
    status: Schema.Literal("running"),
    app: Schema.String,
    user: Schema.String,
    session: Schema.String,
    invocation_id: Schema.String
  })
)
const decided = Schema.decodeUnknownOption(Schema.Struct({ decision_index: Schema.Int, model: Schema.String }))
const intended = Schema.decodeUnknownOption(
  Schema.Struct({
    status: Schema.Literal("pending"),
    tool: Schema.String,
    idempotency_key: Schema.String,
    decision_index: Schema.Int,
    business_key: Schema.String,
    connector: Schema.String
  })
)
const owed = Schema.decodeUnknownOption(
  Schema.Struct({ transition: Schema.Literal("registered"), effect_key: Schema.String, kind: Schema.String })
)

type Reader = (payload: unknown, runId: string, known: (id: string) => string | undefined) => Option.Option<Node>

const readers: { readonly [K in Node["kind"]]: Reader } = {
  run: (payload, runId) =>
    Option.map(begun(payload), ({ app, invocation_id: invocation, session, user }) => {
      const label = `run ${[app, user, session, invocation].filter((part) => part !== "").join("/")}`
      return new RunNode({ kind: "run", id: idOf.run(runId), label, runId, app, user, session, invocation })
    }),
  decision: (payload, runId, known) =>
    Option.map(decided(payload), ({ decision_index: index, model }) => {
      const parent = known(idOf.run(runId))
      const label = `decision ${index}`
      return new DecisionNode({ kind: "decision", id: idOf.decision(runId, index), parent, label, runId, index, model })
    }),
  effect: (payload, runId, known) =>
    intended(payload).pipe(
      Option.filter(({ tool }) => !tool.startsWith("run.")),
      Option.map((intent) => {
        const { business_key: businessKey, connector, decision_index, idempotency_key: idempotencyKey, tool } = intent
        const parent = known(idOf.decision(runId, decision_index)) ?? known(idOf.run(runId))
        const label = `effect ${within(runId, idempotencyKey)}`
        const id = idOf.effect(runId, idempotencyKey)
        return new EffectNode({
          kind: "effect",
          id,
          parent,
          label,
          runId,
          tool,
          idempotencyKey,
          businessKey,
          connector
        })
      })
    ),
  obligation: (payload, runId, known) =>
    Option.map(owed(payload), ({ effect_key: effectKey, kind: compensation }) => {
      const parent = known(idOf.effect(runId, effectKey)) ?? known(idOf.run(runId))
      const label = `obligation ${compensation} of ${within(runId, effectKey)}`
      const id = `obligation/${runId}/${effectKey}/${compensation}`
      return new ObligationNode({ kind: "obligation", id, parent, label, runId, effectKey, compensation })
    })
}

const isKind = (kind: string): kind is Node["kind"] => Object.hasOwn(readers, kind)

const idOf = {
  run: (runId: string) => `run/${runId}`,
  decision: (runId: string, index: number) => `decision/${runId}/${index}`,
  effect: (runId: string, key: string) => `effect/${runId}/${key}`
}

/** Keys begin with their run's id, as a rule. */
const within = (runId: string, key: string): string => (key.startsWith(`${runId}/`) ? key.slice(runId.length + 1) : key)
