import { type DescService } from "@bufbuild/protobuf"
import { Effect, Stream } from "effect"
import { Tape } from "../../src/gen/tape/v1/tape_pb.js"
import { type Handlers, Refusal } from "../../src/Handlers.js"

/** Handlers that refuse every call but the given ones. */
export const fakeTape = (given: Partial<Handlers<typeof Tape>>): Handlers<typeof Tape> => {
  const service: DescService = Tape
  const rest: { [name: string]: unknown } = {}
  for (const method of service.methods) {
    const refusal = Refusal.unimplemented(`${method.name} is not part of this test`)
    rest[method.localName] = () => (method.methodKind === "unary" ? Effect.fail(refusal) : Stream.fail(refusal))
  }
  return { ...(rest as Handlers<typeof Tape>), ...given }
}
