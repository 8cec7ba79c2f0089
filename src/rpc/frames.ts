/**
 * How messages of `@effect/rpc` travel: MsgPack, which keeps bytes as bytes.
 */
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Schema from "effect/Schema"

/** What a message takes beside the request or answer that it carries: its names and its metadata. */
export const envelope = 64 * 1024

/** For the reader of a server that is trusted. */
export const ofClient: RpcSerialization.RpcSerialization["Type"] = {
  ...plain(),
  unsafeMake: () => {
    const parser = plain().unsafeMake()
    return {
      encode: parser.encode,
      // a WebSocket whose `binaryType` says so gives ArrayBuffers
      decode: (data: Uint8Array | string | ArrayBuffer) =>
        parser.decode(data instanceof ArrayBuffer ? new Uint8Array(data) : data)
    }
  }
}

/** For a server, whose callers may send anything: each frame or body is whole, binary, bounded and of the protocol. */
export const ofServer = (limit: number): RpcSerialization.RpcSerialization["Type"] => ({
  ...plain(),
  unsafeMake: () => ({
    encode: plain().unsafeMake().encode,
    decode: (data) => {
      if (typeof data === "string") throw new Error("a text frame: MsgPack in binary frames is expected")
      if (data.length > limit) {
        throw new RpcSerialization.RpcSerializationError({
          reason: "BufferSizeExceeded",
          maxBufferSize: limit,
          bufferSize: data.length
        })
      }
      // a parser of its own: what is left of a frame that is cut short would spoil the next one
      const messages = plain().unsafeMake().decode(data)
      if (messages.length === 0 || !messages.every(isFromClient)) throw new Error("not a message of this protocol")
      return messages
    }
  })
})

// ---- internal ----

// Records would make a frame depend on those before it, and a ping that is encoded once goes to many connections.
function plain(): RpcSerialization.RpcSerialization["Type"] {
  return RpcSerialization.makeMsgPack({ useRecords: false, maxBufferSize: "unbounded" })
}

const Id = Schema.String.pipe(Schema.pattern(/^[0-9]{1,19}$/))

const isFromClient = Schema.is(
  Schema.Union(
    Schema.Struct({
      _tag: Schema.Literal("Request"),
      id: Id,
      tag: Schema.String,
      payload: Schema.Uint8ArrayFromSelf,
      headers: Schema.Array(
        // what gRPC can carry, which is what handlers expect of metadata
        Schema.Tuple(Schema.String.pipe(Schema.pattern(/^[\w.-]+$/)), Schema.String.pipe(Schema.pattern(/^[ -~]*$/)))
      )
    }),
    Schema.Struct({ _tag: Schema.Literal("Ack", "Interrupt"), requestId: Id }),
    Schema.Struct({ _tag: Schema.Literal("Ping", "Eof") })
  )
)
