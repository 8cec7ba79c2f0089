import { Effect } from "effect"
import * as Client from "../../src/Client.js"
import { GrpcServer } from "../../src/server/index.js"
import { behaviour } from "./behaviour.js"
import { fakeTape } from "./fake.js"

behaviour("gRPC", (handlers, options) =>
  Effect.gen(function* () {
    const server = yield* GrpcServer.make({ listen: "127.0.0.1:0", handlers: Effect.succeed(fakeTape(handlers)) })
    return yield* Client.makeGrpc({ url: server.url, ...options })
  }).pipe(Effect.orDie)
)
