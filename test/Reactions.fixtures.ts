import { Effect, Layer } from "effect"
import * as Client from "../src/Client.js"
import { Engine } from "../src/engine/index.js"
import type { Task } from "../src/gen/tape/v1/tape_pb.js"
import * as Reactions from "../src/Reactions.js"
import { eventually } from "./engine/ledgerFixtures.js"

/** A tape of its own, in this process. */
export const tape = Layer.provide(Client.layerHandlers(Engine.Engine), Engine.layerUrl("memory:"))

/** Deterministic dispatching. */
export const options = { app: "test", owner: "test" } as const

export const idOf = (name: string) => Reactions.idOf(options.app, name)

export const write = (key: string, value: unknown = 1, namespace = "n") =>
  Effect.flatMap(Client.TapeClient, (tape) =>
    tape.writeValue({ namespace, key, valueJson: JSON.stringify(value), ifVersion: -1n })
  )

export const tasks = (name: string) =>
  Effect.flatMap(Client.TapeClient, (tape) => tape.listTasks({ reactionId: idOf(name), limit: 10_000 })).pipe(
    Effect.map((listed): ReadonlyArray<Task> => listed.tasks.toReversed())
  )

/** Waits until a reaction has this many tasks. */
export const tasksWhen = (name: string, count: number) => eventually(tasks(name), (found) => found.length >= count)

export const statuses = (name: string) => Effect.map(tasks(name), (found) => found.map(({ status }) => status))

export const tags = (outcomes: ReadonlyArray<{ readonly _tag: string }>) => outcomes.map(({ _tag }) => _tag)
