import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { connect, createServer, type Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { create } from "@bufbuild/protobuf"
import { Effect, Exit, Redacted, Ref, Scope, Stream, SubscriptionRef } from "effect"
import { EventEntrySchema, JournalEntrySchema, type Tape } from "../../src/gen/tape/v1/tape_pb.js"
import type { Handlers } from "../../src/Handlers.js"
import { GrpcServer } from "../../src/server/index.js"
import { fakeTape } from "./fake.js"

const freePort = Effect.async<number>((resume) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** A server at one address that can be started, killed without grace, and started again. */
export const startable = (handlers: Handlers<typeof Tape>) =>
  Effect.gen(function* () {
    const port = yield* freePort
    const listen = `127.0.0.1:${port}`
    const running = yield* Ref.make<Scope.CloseableScope | undefined>(undefined)
    const kill = Effect.flatMap(Ref.getAndSet(running, undefined), (scope) =>
      scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
    )
    const start = Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Ref.set(running, scope)
      yield* Scope.extend(GrpcServer.make({ listen, handlers: Effect.succeed(handlers), grace: 0 }), scope)
    })
    yield* Effect.addFinalizer(() => kill)
    return { url: `tape://${listen}`, start, kill }
  })

/** A way to `address` that can be made to swallow all that is sent, in either direction, without closing. */
export const swallowing = (address: string) =>
  Effect.gen(function* () {
    const sockets: Array<Socket> = []
    const server = createServer((near) => {
      const far = connect(Number(address.split(":")[1]), "127.0.0.1")
      sockets.push(near.pipe(far), far.pipe(near))
    })
    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.sync(() => {
          server.close()
          for (const socket of sockets) socket.destroy()
        })
    )
    const at = server.address()
    return {
      url: `tape://127.0.0.1:${typeof at === "object" ? at?.port : at}`,
      swallow: Effect.sync(() => {
        for (const socket of sockets) socket.unpipe().resume()
      })
    }
  })

/** A journal that tails: entries 1, 2, 3 … with seq = global_seq. */
export const journal = () => {
  const length = Effect.runSync(SubscriptionRef.make(0))
  const tail = <A>(after: number, entry: (seq: bigint) => A) => {
    let next = after + 1
    return Stream.mapConcat(length.changes, (length) => {
      const entries = Array.from({ length: Math.max(0, length + 1 - next) }, (_, i) => entry(BigInt(next + i)))
      next = Math.max(next, length + 1)
      return entries
    })
  }
  const event = (seq: bigint) => create(EventEntrySchema, { seq, globalSeq: seq })
  return {
    append: (count: number) => SubscriptionRef.update(length, (length) => length + count),
    handlers: fakeTape({
      subscribeBySubject: ({ fromGlobalSeq }) => tail(Number(fromGlobalSeq), event),
      subscribeEvents: ({ fromGlobalSeq }) => tail(Number(fromGlobalSeq), event),
      subscribeRun: ({ fromSeq }) =>
        tail(Math.max(0, Number(fromSeq) - 1), (seq) => create(JournalEntrySchema, { seq, globalSeq: seq }))
    })
  }
}

/** A certificate for localhost that signs itself. */
export const selfSigned = Effect.acquireUseRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "tape-tls-"))),
  (folder) =>
    Effect.sync(() => {
      execFileSync(
        "openssl",
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem -out cert.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1".split(
          " "
        ),
        { cwd: folder, stdio: "ignore" }
      )
      return {
        certificate: readFileSync(join(folder, "cert.pem"), "utf8"),
        key: Redacted.make(readFileSync(join(folder, "key.pem"), "utf8"))
      }
    }),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
)
