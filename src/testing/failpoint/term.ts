import { percent } from "../internal/chance.js"

/** What happens. */
export type Task =
  | { readonly _tag: "Off" }
  | { readonly _tag: "Panic" }
  | { readonly _tag: "Sleep"; readonly millis: number }
  | { readonly _tag: "Return"; readonly message: string }

/** What happens, how often, and how likely. */
export interface Term {
  readonly task: Task
  /** How many times. For ever when left out. */
  readonly count?: number | undefined
  /** From 0 to 1. Certain when left out. */
  readonly probability?: number | undefined
}

/** Why a term cannot be, if it cannot. */
export const troubleOf = ({ count, probability, task }: Term): string | undefined => {
  if (probability !== undefined && !(probability >= 0 && probability <= 1)) {
    return `strikes with the probability ${probability}: 0 to 1 can be`
  }
  if (count !== undefined && !(Number.isSafeInteger(count) && count >= 0)) {
    return `counts to ${count}: whole numbers can be`
  }
  if (task._tag === "Sleep" && !Number.isSafeInteger(task.millis)) return `sleeps for ${task.millis} ms`
  return undefined
}

/** Why terms cannot be written under a name, if they cannot. */
export const unwritable = (name: string, terms: ReadonlyArray<Term>): string | undefined => {
  if (name === "" || name !== name.trim() || unnamable.test(name)) return `cannot be written: its name is not one word`
  for (const { task } of terms) {
    if (task._tag === "Return" && unsayable.test(task.message)) {
      return `cannot be written: its message has a ";", a ")", a "->" or a control character: ${JSON.stringify(task.message)}`
    }
  }
  return undefined
}

/** A term in the words of `FAILPOINTS`. */
export const written = ({ count, probability, task }: Term): string => {
  const odds = probability === undefined ? "" : percent(probability)
  return `${odds}${count === undefined ? "" : `${count}*`}${taskWritten(task)}`
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const unsayable = /[;)\p{Cc}\u2028\u2029]|->/u
const unnamable = /[=();\s\p{Cc}]|->/u

const taskWritten = (task: Task): string => {
  switch (task._tag) {
    case "Off":
      return "off"
    case "Panic":
      return "panic"
    case "Sleep":
      return `sleep(${task.millis})`
    case "Return":
      return `return(${task.message})`
  }
}
