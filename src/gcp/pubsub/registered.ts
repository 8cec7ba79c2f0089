import * as Effect from "effect/Effect"
import type { Reaction as Registered } from "../../gen/tape/v1/tape_pb.js"
import type { Reaction } from "../../Reactions.js"

/** A reaction that the tape knows, as if it had been declared here; what is not said has the contract's defaults. */
export const declared = (row: Registered): Reaction => ({
  name: row.name === "" ? row.reactionId : row.name,
  subjectPattern: row.subjectPattern,
  kind: "publish",
  target: row.publishTarget,
  id: row.reactionId,
  settings: {
    where: row.predicateCel,
    maxConcurrency: positive(row.maxConcurrency, 1),
    rateLimit: row.rateLimitPerS > 0 ? row.rateLimitPerS : undefined,
    debounceMs: Math.max(0, row.debounceMs),
    debounceEdge: "trailing",
    timeoutMs: Infinity,
    retries: positive(row.retryMax, 5),
    backoffMs: positive(row.retryBackoffMs, 1000),
    deadLetterAfter: positive(row.dlqAfterN, 5),
    shards: positive(row.numShards, 1),
    bootstrapFromHead: false
  },
  prepare: () => Effect.succeed(Effect.void)
})

const positive = (value: number, orElse: number): number => (value > 0 ? value : orElse)
