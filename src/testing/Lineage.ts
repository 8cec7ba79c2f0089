/**
 * What followed from what in a run: the run, its decisions, their effects, what would undo these; and where to cut it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"
import { type Moments, momentsOf } from "./lineage/moments.js"
import { DecisionNode, EffectNode, type Node, nodesOf, ObligationNode, RunNode } from "./lineage/node.js"
import { type Entry, payloadOf } from "./tape/journal.js"
import type { Death } from "./tape/mortal.js"

export type { Moments } from "./lineage/moments.js"
export { DecisionNode, EffectNode, type Node, ObligationNode, RunNode } from "./lineage/node.js"

/**
 * A tree for each run, in the order of the journal.
 *
 * @since 0.1.0
 * @category models
 */
export class Lineage extends Schema.Class<Lineage>("effect-tape/testing/Lineage")({
  nodes: Schema.Array(Schema.Union(RunNode, DecisionNode, EffectNode, ObligationNode))
}) {
  /** What follows from a node at once; without one, the runs. */
  childrenOf(id?: string): ReadonlyArray<Node> {
    return this.nodes.filter((node) => node.parent === id)
  }

  /** A line for each node, below what it follows from. */
  override toString(): string {
    const lines = (node: Node, depth: number): ReadonlyArray<string> => [
      `${"  ".repeat(depth)}${node.label}`,
      ...this.childrenOf(node.id).flatMap((child) => lines(child, depth + 1))
    ]
    return this.childrenOf()
      .flatMap((root) => lines(root, 0))
      .join("\n")
  }
}

/**
 * The lineage of a journal, or of one run in it. What the SDK records for itself (input, outcome, timers, charges) is left
 * out.
 *
 * @example
 * import { Lineage, TestTape } from "effect-tape/testing"
 * import { Effect } from "effect"
 *
 * export const lineage = Effect.map(TestTape.journal, (journal) => Lineage.make(journal))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  journal: { readonly entries: ReadonlyArray<Pick<Entry, "kind" | "payload" | "runId">> },
  runId?: string
): Lineage =>
  new Lineage({ nodes: nodesOf(journal.entries.filter((entry) => runId === undefined || entry.runId === runId)) })

/**
 * The lineage of a run on any tape, as far as the run has come by now.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ofRun = (runId: string): Effect.Effect<Lineage, TapeError, TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { seqCursor } = yield* tape.getRun({ runId })
    const entries = yield* tape.subscribeRun({ runId, fromSeq: 1n }).pipe(
      Stream.takeUntil(({ seq }) => seq >= seqCursor),
      Stream.map(({ kind, payloadJson }) => ({ kind, payload: payloadOf(payloadJson), runId })),
      Stream.runCollect
    )
    return make({ entries: Array.from(entries) })
  })

/**
 * How a lineage is cut.
 *
 * @since 0.1.0
 * @category models
 */
export interface CutOptions {
  /** In how many nodes, one after another. Defaults to 1. */
  readonly size?: number | undefined
  /**
   * - `critical` (the default): once for each node, where most is in doubt. A run is begun, and has no input yet; a
   *   decision is made, an effect has happened, an obligation is due, and that is not recorded.
   * - `every`: before and after each call that records something of the node.
   */
  readonly moments?: Moments | undefined
}

/**
 * Deaths in successive lives.
 *
 * @since 0.1.0
 * @category models
 */
export interface Scenario {
  /** In the order of the lineage, one for each death. */
  readonly nodes: ReadonlyArray<Node>
  /** Whichever process comes to the call dies: the program, or what works beside it (an outbox effect is the dispatcher's). */
  readonly deaths: ReadonlyArray<Death>
  /** In words: `dies before decision 0 is recorded`. */
  readonly label: string
}

/**
 * The crash scenarios of a lineage: with size 1 and critical moments, one for each node. What is cut is known by its ids, so
 * that a program has to begin the same runs on the same kind of tape, as on a `TestTape` of the same seed.
 *
 * @example
 * import { Lineage, TestTape } from "effect-tape/testing"
 * import { Effect } from "effect"
 *
 * export const pairs = Effect.map(TestTape.journal, (journal) => Lineage.cuts(Lineage.make(journal), { size: 2 }))
 *
 * @since 0.1.0
 * @category cutting
 */
export const cuts = (lineage: Lineage, options: CutOptions = {}): ReadonlyArray<Scenario> => {
  const { moments = "critical", size = 1 } = options
  return subsets(lineage.nodes, size).flatMap((nodes) =>
    choices(nodes.map((node) => momentsOf(node, moments))).map((chosen) => ({
      nodes,
      deaths: chosen.map(({ death }) => death),
      label: chosen.length === 0 ? "lives" : `dies ${chosen.map(({ words }) => words).join(", then ")}`
    }))
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

/** Every choice of so many items, in their order. */
const subsets = <A>(items: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> =>
  size <= 0
    ? [[]]
    : items.flatMap((item, index) => subsets(items.slice(index + 1), size - 1).map((rest) => [item, ...rest]))

/** Every choice of one item of each list. */
const choices = <A>(lists: ReadonlyArray<ReadonlyArray<A>>): ReadonlyArray<ReadonlyArray<A>> =>
  lists.reduce<ReadonlyArray<ReadonlyArray<A>>>(
    (chosen, list) => chosen.flatMap((before) => list.map((item) => [...before, item])),
    [[]]
  )
