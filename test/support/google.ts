/** Google's services, faked behind Google's own descriptors: what it is told to answer, it answers. */
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import * as Grpc from "@grpc/grpc-js"
import { fromJSON, type PackageDefinition } from "@grpc/proto-loader"
import { Deferred, Effect, type Scope } from "effect"

export interface Message {
  readonly id: string
  readonly data: string
  readonly attributes: { readonly [key: string]: string }
  readonly orderingKey: string
}

/**
 * What becomes of one call, instead of an answer: an error by its code, with `books` after having done what was asked
 * (the answer is lost), with `hold` only when that is done. `OK` is no trouble, but for the `hold`.
 */
export interface Trouble {
  readonly code: Grpc.status
  readonly books?: boolean
  readonly hold?: Deferred.Deferred<void>
}

export interface Fake {
  /** `host:port`. */
  readonly address: string
  /** What the next calls of a method meet with, in turn. */
  readonly troubles: { readonly [M in "Publish" | "CreateTask" | "GetTask" | "DeleteTask"]: Array<Trouble> }
  /** How often a method was called. */
  readonly calls: Map<string, number>
  /** The topics, with what was published to them, in order. */
  readonly topics: Map<string, Array<Message>>
  /** The queues' tasks. */
  readonly tasks: Map<string, Task>
  /** Names that are remembered after their tasks have gone. */
  readonly remembered: Set<string>
}

export interface Task {
  readonly name: string
  readonly dispatchCount: number
  readonly httpRequest: {
    readonly url: string
    readonly httpMethod: string
    readonly headers: { readonly [name: string]: string }
    readonly body: Buffer
    readonly oidcToken?: { readonly serviceAccountEmail: string; readonly audience: string } | null
    readonly oauthToken?: { readonly serviceAccountEmail: string; readonly scope: string } | null
  }
  readonly dispatchDeadline?: { readonly seconds: string; readonly nanos: number } | null
}

export const queue = "projects/test/locations/europe-west1/queues/wires"

/** A server on the loopback address for as long as the scope lasts. */
export const fake: Effect.Effect<Fake, never, Scope.Scope> = Effect.gen(function* () {
  const state = {
    troubles: { Publish: [], CreateTask: [], GetTask: [], DeleteTask: [] },
    calls: new Map(),
    topics: new Map(),
    tasks: new Map(),
    remembered: new Set()
  } satisfies Omit<Fake, "address">
  const server = new Grpc.Server({ "grpc.max_receive_message_length": 12_000_000 })
  server.addService(service(pubsub, "google.pubsub.v1.Publisher"), methods(state, publisher(state)))
  server.addService(service(tasks, "google.cloud.tasks.v2.CloudTasks"), methods(state, cloudTasks(state)))
  const port = yield* Effect.acquireRelease(
    Effect.async<number>((resume) =>
      server.bindAsync("127.0.0.1:0", Grpc.ServerCredentials.createInsecure(), (error, port) =>
        resume(error === null ? Effect.succeed(port) : Effect.die(error))
      )
    ),
    () => Effect.sync(() => server.forceShutdown())
  )
  return { ...state, address: `127.0.0.1:${port}` }
})

// ---- internal ----

/** As they are in Google's packages; `folder` is where, from a package's entry. */
const descriptors = (name: string, folder: string): PackageDefinition => {
  const entry = createRequire(import.meta.url).resolve(name)
  return fromJSON(JSON.parse(readFileSync(join(dirname(entry), folder, "protos.json"), "utf8")), { defaults: true })
}

const pubsub = descriptors("@google-cloud/pubsub", "../protos")
const tasks = descriptors("@google-cloud/tasks", "../../protos")

const service = (definition: PackageDefinition, name: string): Grpc.ServiceDefinition => {
  const found = definition[name]
  if (found === undefined || "format" in found) throw new Error(`no service ${name}`)
  return found
}

class Refusal extends Error {
  constructor(
    readonly code: Grpc.status,
    message: string
  ) {
    super(message)
  }
}

type State = Omit<Fake, "address">
// oxlint-disable-next-line typescript/no-explicit-any -- what comes is what Google's descriptors say, decoded by them
type Method = (request: any) => unknown

const methods = (state: State, handlers: { readonly [name: string]: Method }): Grpc.UntypedServiceImplementation =>
  Object.fromEntries(
    Object.entries(handlers).map(([name, handler]): [string, Grpc.handleUnaryCall<unknown, unknown>] => [
      name,
      ({ request }, answer) => {
        state.calls.set(name, (state.calls.get(name) ?? 0) + 1)
        const troubles: { readonly [name: string]: Array<Trouble> } = state.troubles
        const trouble = troubles[name]?.shift()
        const held = trouble?.hold === undefined ? Effect.void : Deferred.await(trouble.hold)
        Effect.runFork(
          Effect.map(held, () => {
            try {
              const answered =
                trouble === undefined || trouble.books === true || trouble.code === Grpc.status.OK
                  ? handler(request)
                  : {}
              if (trouble === undefined || trouble.code === Grpc.status.OK) answer(null, answered)
              else answer({ code: trouble.code, details: "as the test wants it" })
            } catch (error) {
              answer(
                error instanceof Refusal
                  ? { code: error.code, details: error.message }
                  : { code: Grpc.status.INTERNAL, details: String(error) }
              )
            }
          })
        )
      }
    ])
  )

const publisher = ({ topics }: State): { readonly [name: string]: Method } => ({
  CreateTopic: ({ name }) => {
    topics.set(name, topics.get(name) ?? [])
    return { name }
  },
  Publish: ({ messages, topic }) => {
    const published = topics.get(topic)
    if (published === undefined) throw new Refusal(Grpc.status.NOT_FOUND, `Topic not found (resource=${topic}).`)
    const keys = new Set(messages.map(({ orderingKey }: Message) => orderingKey))
    if (keys.size > 1) throw new Refusal(Grpc.status.INVALID_ARGUMENT, "one ordering key in a request")
    const messageIds: Array<string> = []
    for (const { attributes, data, orderingKey } of messages) {
      if (data.length > 10_000_000) throw new Refusal(Grpc.status.INVALID_ARGUMENT, "the message is too large")
      if (Object.values<string>(attributes).some((value) => Buffer.byteLength(value) > 1024)) {
        throw new Refusal(Grpc.status.INVALID_ARGUMENT, "an attribute is too long")
      }
      const id = String(published.length + 1)
      published.push({ id, data: data.toString(), attributes, orderingKey })
      messageIds.push(id)
    }
    return { messageIds }
  }
})

const cloudTasks = ({ remembered, tasks }: State): { readonly [name: string]: Method } => {
  const known = (name: string): Task => {
    const task = tasks.get(name)
    if (task === undefined) throw new Refusal(Grpc.status.NOT_FOUND, "The task does not exist.")
    return task
  }
  return {
    CreateTask: ({ parent, task }) => {
      if (parent !== queue) throw new Refusal(Grpc.status.NOT_FOUND, "Queue does not exist.")
      if (!/^[A-Za-z0-9_-]{1,500}$/.test(task.name.slice(`${parent}/tasks/`.length))) {
        throw new Refusal(Grpc.status.INVALID_ARGUMENT, "not a task's name")
      }
      if (remembered.has(task.name)) throw new Refusal(Grpc.status.ALREADY_EXISTS, "Requested entity already exists")
      remembered.add(task.name)
      tasks.set(task.name, task)
      return task
    },
    GetTask: ({ name }) => known(name),
    DeleteTask: ({ name }) => {
      tasks.delete(known(name).name)
      return {}
    }
  }
}
