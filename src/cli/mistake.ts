/**
 * What a command cannot go on with, in one sentence.
 */
import * as Data from "effect/Data"

/** Something in the flags or the environment is not as it must be. */
export class Usage extends Data.TaggedError("Usage")<{ readonly message: string }> {}

/** The command did not do what it was started for. */
export class Trouble extends Data.TaggedError("Trouble")<{ readonly message: string }> {}
