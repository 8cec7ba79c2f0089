import * as Effect from "effect/Effect"
import type { Tape } from "../../gen/tape/v1/tape_pb.js"
import { type Call, type Handlers, Refusal } from "../../Handlers.js"
import { chances } from "../internal/chance.js"
import type { Task, Term } from "./term.js"

/** Handlers that are struck at points. */
export const struck = (
  self: Handlers<typeof Tape>,
  points: ReadonlyMap<string, ReadonlyArray<Term>>,
  seed: number
): Handlers<typeof Tape> => {
  const hits = new Map(Array.from(points, ([name, terms]) => [name, hitting(name, terms, seed)]))
  const shaken = new Map<string, Unary>()
  for (const name of points.keys()) {
    const [rpc = ""] = name.split(".")
    // Points are named after unary calls, and handlers are called by these names.
    const handle = self[rpc as keyof Handlers<typeof Tape>] as unknown as Unary
    const before = hits.get(`${rpc}.before`) ?? Effect.void
    const after = hits.get(`${rpc}.after`) ?? Effect.void
    shaken.set(rpc, (request, call) => Effect.zipRight(before, Effect.zipLeft(handle(request, call), after)))
  }
  return { ...self, ...Object.fromEntries(shaken) }
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

type Unary = (request: object, call: Call) => Effect.Effect<unknown, Refusal>

const hitting = (name: string, terms: ReadonlyArray<Term>, seed: number): Effect.Effect<void, Refusal> => {
  // Each point draws its own.
  const isDrawn = chances(`${seed} ${name}`)
  const left = terms.map(({ count = Number.POSITIVE_INFINITY }) => count)
  return Effect.gen(function* () {
    for (const [index, { probability, task }] of terms.entries()) {
      if ((left[index] ?? 0) <= 0) continue
      if (probability !== undefined && !(yield* isDrawn(probability))) continue
      left[index] = (left[index] ?? 0) - 1
      return yield* done(name, task)
    }
  })
}

const done = (name: string, task: Task): Effect.Effect<void, Refusal> => {
  switch (task._tag) {
    case "Off":
      return Effect.void
    case "Sleep":
      return Effect.sleep(task.millis)
    case "Return":
      return Effect.fail(Refusal.unavailable(task.message))
    case "Panic":
      return Effect.fail(Refusal.unavailable(`the tape died at ${name}`))
  }
}
