/** Messages, within Pub/Sub's limits. */
import { createHash } from "node:crypto"

/**
 * A message to publish.
 *
 * @since 0.1.0
 * @category models
 */
export interface Message {
  readonly data: string
  /** Keys of at most 256 bytes, values of at most 1,024. */
  readonly attributes?: { readonly [key: string]: string } | undefined
  /** Messages that share it are delivered in order, where the subscription asks for it. Defaults to none. */
  readonly orderingKey?: string | undefined
}

/** The first name that is not empty, as an ordering key; a longer one than Pub/Sub takes is hashed. */
export const orderingKeyOf = (...names: ReadonlyArray<string>): string => {
  const name = names.find((name) => name !== "") ?? ""
  return Buffer.byteLength(name) > longestKey ? createHash("sha256").update(name).digest("hex") : name
}

/** Attributes without the empty ones. */
export const attributesOf = (attributes: { readonly [key: string]: string }): { readonly [key: string]: string } =>
  Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== ""))

/** Empty where it is too long to be an attribute: cut short it would be another's name. */
export const ifShort = (text: string): string => (Buffer.byteLength(text) > longestValue ? "" : text)

/** What one call may carry, in order. */
export const pieces = (messages: ReadonlyArray<Message>): ReadonlyArray<ReadonlyArray<Message>> => {
  const pieces: Array<Array<Message>> = []
  let room = 0
  for (const message of messages) {
    const size = sizeOf(message)
    const piece = pieces.at(-1)
    if (piece === undefined || piece.length >= mostMessages || size > room) {
      pieces.push([message])
      room = mostBytes - size
    } else {
      piece.push(message)
      room -= size
    }
  }
  return pieces
}

const longestKey = 1024
const longestValue = 1024
const mostMessages = 1000
/** The limit is 10 MB, with what frames the messages. */
const mostBytes = 9_000_000

const sizeOf = ({ attributes = {}, data, orderingKey = "" }: Message): number =>
  [data, orderingKey, ...Object.entries(attributes).flat()].reduce((sum, text) => sum + Buffer.byteLength(text) + 8, 0)
