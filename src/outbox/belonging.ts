import * as Effect from "effect/Effect"
import type { TapeClient } from "../Client.js"
import type { TapeError } from "../Errors.js"

/** Whose run an effect is part of. Said when the run begins and never changed. */
export interface Belonging {
  readonly app: string
  readonly tenantId: string
}

/** Servers other than ours keep effects of runs that they do not know: those are nobody's. */
export const belongingOf = (tape: TapeClient["Type"], runId: string): Effect.Effect<Belonging, TapeError> =>
  Effect.catchTag(
    Effect.map(tape.getRun({ runId }), ({ appName, tenantId }): Belonging => ({ app: appName, tenantId })),
    "NotFound",
    () => Effect.succeed({ app: "", tenantId: "" })
  )

/** What is known of the runs seen last, so that a run with many effects is asked about once. */
export class Belongings {
  private readonly known = new Map<string, Belonging>()

  of(tape: TapeClient["Type"], runId: string): Effect.Effect<Belonging, TapeError> {
    const known = this.known.get(runId)
    return known === undefined
      ? Effect.tap(belongingOf(tape, runId), (found) => Effect.sync(() => this.remember(runId, found)))
      : Effect.succeed(known)
  }

  private remember(runId: string, found: Belonging): void {
    this.known.set(runId, found)
    if (this.known.size <= 10_000) return
    for (const oldest of this.known.keys()) {
      this.known.delete(oldest)
      return
    }
  }
}
