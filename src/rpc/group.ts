/**
 * The service `tape.v1` as a group of `@effect/rpc`, derived from its descriptor.
 */
import {
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
  fromBinary,
  isMessage,
  type Message,
  type MessageShape,
  toBinary
} from "@bufbuild/protobuf"
import * as Rpc from "@effect/rpc/Rpc"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import type * as RpcSchema from "@effect/rpc/RpcSchema"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { TapeError } from "../Errors.js"
import { Tape } from "../gen/tape/v1/tape_pb.js"

export interface MessageSchema<D extends DescMessage> extends Schema.Schema<MessageShape<D>, Uint8Array> {}

export type RpcsOf<S extends DescService> = {
  readonly [K in keyof S["method"] & string]: S["method"][K] extends DescMethodUnary<infer I, infer O>
    ? Rpc.Rpc<K, MessageSchema<I>, MessageSchema<O>, typeof TapeError>
    : S["method"][K] extends DescMethodServerStreaming<infer I, infer O>
      ? Rpc.Rpc<K, MessageSchema<I>, RpcSchema.Stream<MessageSchema<O>, typeof TapeError>>
      : never
}[keyof S["method"] & string]

export const group = groupOf(Tape)

// ---- internal ----

function groupOf<S extends DescService>(service: S): RpcGroup.RpcGroup<RpcsOf<S>> {
  return RpcGroup.make(
    ...service.methods.map((method) =>
      Rpc.make(method.localName, {
        payload: messageSchema(method.input),
        success: messageSchema(method.output),
        error: TapeError,
        stream: method.methodKind === "server_streaming"
      })
    )
    // made by walking the descriptor that the type is mapped from
  ) as unknown as RpcGroup.RpcGroup<RpcsOf<S>>
}

function messageSchema(desc: DescMessage): Schema.Schema<Message, Uint8Array> {
  const message: Schema.Schema<Message> = Schema.declare((value): value is Message => isMessage(value, desc))
  return Schema.transformOrFail(Schema.Uint8ArrayFromSelf, message, {
    strict: true,
    decode: (bytes, _, ast) =>
      ParseResult.try({
        // a plain Uint8Array: of a Buffer, protobuf-es would make `bytes` fields that are Buffers
        try: () => fromBinary(desc, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)),
        catch: (cause) => new ParseResult.Type(ast, bytes, `not a ${desc.name}: ${String(cause)}`)
      }),
    encode: (message) => ParseResult.succeed(toBinary(desc, message))
  })
}
