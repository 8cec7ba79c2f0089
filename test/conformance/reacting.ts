/** A reaction of a scenario's own, gone with it, and its tasks. */
import type { MessageInitShape } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import { HandlerKind, type ReactionSchema, type Task } from "effect-tape/proto"
import { eventually } from "./Expect.js"
import type { World } from "./Fixtures.js"

type Settings = MessageInitShape<typeof ReactionSchema>

/** A TASK reaction on what comes from now on, unless said otherwise. */
export const reaction = ({ tape }: World, settings: Settings) =>
  Effect.gen(function* () {
    const registered = yield* Effect.acquireRelease(
      tape.registerReaction({ handlerKind: HandlerKind.TASK, bootstrapFromHead: true, ...settings }),
      ({ reactionId }) => Effect.ignore(tape.deregisterReaction({ reactionId }))
    )
    const id = registered.reactionId

    /** Oldest source first. */
    const tasks = (status = 0) =>
      Effect.map(tape.listTasks({ reactionId: id, status, limit: 10_000 }), ({ tasks }) => bySource(tasks))

    /** The tasks, when at least as many have come. */
    const whenTasks = (count: number) =>
      eventually(`${count} tasks`, tasks(), (tasks) => tasks.length >= count, "10 seconds")

    const claim = (owner: string, max = 0, over: { leaseMs?: bigint; nowMs?: bigint; shard?: number } = {}) =>
      Effect.map(tape.claimTasks({ reactionId: id, shard: -1, owner, max, ...over }), ({ tasks }) => tasks)

    const complete = (taskId: string, owner: string) =>
      Effect.map(tape.completeTask({ taskId, owner }), ({ task }) => task)

    const nack = (taskId: string, owner: string, error = "e", permanent = false) =>
      Effect.map(tape.nackTask({ taskId, owner, error, permanent }), ({ task }) => task)

    return { registered, id, tasks, whenTasks, claim, complete, nack }
  })

export const bySource = (tasks: ReadonlyArray<Task>): ReadonlyArray<Task> =>
  tasks.toSorted((a, b) => Number(a.sourceGlobalSeq - b.sourceGlobalSeq))
