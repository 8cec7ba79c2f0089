/** A client that adds nothing to a call: a request id, for one, is sent as it is given. */
import { type DescMethodUnary, fromBinary, type Message, toBinary } from "@bufbuild/protobuf"
import * as Grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Client, Errors } from "effect-tape"

/** The unary calls of a server, on a connection of their own. */
export const make = ({ target, tls }: { readonly target: string; readonly tls: boolean }) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(
        () => new Grpc.Client(target, tls ? Grpc.credentials.createSsl() : Grpc.credentials.createInsecure())
      ),
      (client) => Effect.sync(() => client.close())
    ),
    (client) =>
      Client.make({
        requestIds: () => "none",
        isClosed: () => false,
        stream: () => Stream.dieMessage("no stream needs it"),
        unary: (method, request, { metadata }) => unary(client, method, request, metadata)
      })
  )

const unary = (
  client: Grpc.Client,
  method: DescMethodUnary,
  request: Message,
  metadata: { readonly [key: string]: string }
): Effect.Effect<Message, Errors.TapeError> =>
  Effect.async((resume) => {
    const sent = new Grpc.Metadata()
    for (const [key, value] of Object.entries(metadata)) sent.set(key, value)
    client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: Message) => Buffer.from(toBinary(method.input, message)),
      (bytes) => fromBinary(method.output, new Uint8Array(bytes)),
      request,
      sent,
      { deadline: Date.now() + 10_000 },
      (error, message) =>
        resume(
          error === null && message !== undefined
            ? Effect.succeed(message)
            : Effect.fail(
                Errors.fromStatus({
                  rpc: method.name,
                  ids: {},
                  code: error?.code ?? 2,
                  detail: error?.details ?? "no answer"
                })
              )
        )
    )
  })
