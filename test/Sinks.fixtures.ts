import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import { Cause, Effect, Layer, Queue, Schedule, type Scope } from "effect"
import * as Client from "../src/Client.js"
import type { TapeError } from "../src/Errors.js"
import { Engine } from "../src/engine/index.js"
import type * as Sinks from "../src/Sinks.js"

/** A tape of its own, in this process. */
export const tape = Layer.provide(Client.layerHandlers(Engine.Engine), Engine.layerUrl("memory:"))

/** The tape with some of its calls replaced. */
export const tapeWith = (change: (tape: Client.TapeClient["Type"]) => Partial<Client.TapeClient["Type"]>) =>
  Layer.effect(
    Client.TapeClient,
    Effect.map(Client.TapeClient, (tape) => ({ ...tape, ...change(tape) }))
  )

export const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "tape-sinks-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** A run of its own: one journal entry. */
export const begin = (invocationId: string): Effect.Effect<string, TapeError, Client.TapeClient> =>
  Effect.flatMap(Client.TapeClient, (tape) =>
    Effect.map(
      tape.beginRun({
        appName: "acc",
        userId: "u",
        sessionId: "s",
        invocationId,
        leaseOwner: "d",
        leaseTtlMs: 60_000n
      }),
      ({ runId }) => runId
    )
  )

export const beginMany = (count: number) =>
  Effect.forEach(
    Array.from({ length: count }, (_, index) => `inv-${index}`),
    begin,
    { concurrency: 32 }
  )

export const write = (key: string, valueJson: string) =>
  Effect.flatMap(Client.TapeClient, (tape) =>
    tape.writeValue({ namespace: "treasury", key, valueJson, ifVersion: -1n })
  )

export const entry: Sinks.Entry = {
  runId: "run-1",
  seq: 7n,
  kind: "effect",
  payloadJson: '{"a":1}',
  tsMs: 1_700_000_000_000n,
  globalSeq: 42n,
  subject: "/tape/effect/confirmed/wire/run-1",
  schemaVersion: 1,
  traceId: "t",
  spanId: "s",
  parentSpanId: "p"
}

/** Polls until it is true. */
export const until = (what: string, check: () => boolean) =>
  Effect.sync(check).pipe(
    Effect.repeat({ until: (isTrue) => isTrue, schedule: Schedule.spaced("5 millis") }),
    Effect.timeoutFailCause({ duration: "10 seconds", onTimeout: () => Cause.die(`never: ${what}`) })
  )

export interface Post {
  readonly headers: Http.IncomingHttpHeaders
  readonly body: string
  readonly at: number
}

/** How the receiver answers one post, instead of 204. `undefined` destroys the connection; `hold` waits for `release`. */
export type Answer = { readonly status: number; readonly headers?: Http.OutgoingHttpHeaders } | "drop" | "hold"

export interface Receiver {
  readonly url: string
  readonly posts: ReadonlyArray<Post>
  /** The ids of what was accepted, in order. */
  readonly accepted: ReadonlyArray<string>
  /** The next post, once for each. */
  readonly next: Effect.Effect<Post>
  readonly answer: (...answers: ReadonlyArray<Answer>) => void
  /** How every post is answered for which `answer` has nothing. */
  readonly always: (answer: (post: Post) => Answer) => void
  readonly release: () => void
}

const ok: Answer = { status: 204 }

export const receiver: Effect.Effect<Receiver, never, Scope.Scope> = Effect.gen(function* () {
  const posts: Array<Post> = []
  const accepted: Array<string> = []
  const held: Array<() => void> = []
  const queue = yield* Queue.unbounded<Post>()
  let answers: ReadonlyArray<Answer> = []
  let otherwise = (_post: Post): Answer => ok

  const server = Http.createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8")
    request.on("data", (text: string) => {
      body += text
    })
    request.on("end", () => {
      const post = { headers: request.headers, body, at: performance.now() }
      posts.push(post)
      Queue.unsafeOffer(queue, post)
      const [given, ...rest] = answers
      answers = rest
      const answer = given ?? otherwise(post)
      const accept = () => {
        accepted.push(String(request.headers["x-tape-event-id"]))
        response.writeHead(204).end()
      }
      if (answer === "drop") response.destroy()
      else if (answer === "hold") held.push(accept)
      else if (answer.status < 300) accept()
      else response.writeHead(answer.status, answer.headers).end("no")
    })
  })
  const port = yield* Effect.acquireRelease(
    Effect.async<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    }),
    () =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  return {
    url: `http://127.0.0.1:${port}/entries`,
    posts,
    accepted,
    next: Effect.orDie(Effect.timeout(Queue.take(queue), "5 seconds")),
    answer: (...given) => {
      answers = given
    },
    always: (answer) => {
      otherwise = answer
    },
    release: () => {
      for (const send of held.splice(0)) send()
    }
  }
})

/** Opens a sink and publishes. */
export const publish = <E, R>(sink: Sinks.Sink<E, R>, ...entries: ReadonlyArray<Sinks.Entry>) =>
  Effect.flatMap(sink.make, (publish) => publish(entries))
