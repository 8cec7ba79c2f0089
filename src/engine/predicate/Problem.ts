import * as Data from "effect/Data"

/** Why an expression cannot be a predicate, in a sentence. */
export class Problem extends Data.TaggedError("PredicateProblem")<{ readonly detail: string }> {
  override get message(): string {
    return `predicate_cel: ${this.detail}`
  }
}
