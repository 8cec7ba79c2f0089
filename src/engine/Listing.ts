/**
 * Lists: no more is read than an answer has room for, and no answer is larger than a message may be.
 */
import { type DescMessage, type Message, toBinary } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import { Refusal } from "../Handlers.js"
import type { Answer } from "./ledgers/common.js"
import type { Snapshot } from "./store/Store.js"
import type { Reader } from "./store/Transaction.js"
import { atMost } from "./Validate.js"

/** A list that the caller may take up again where it ends: what there is no room for is left out. */
export const some = <A extends Message>(
  snapshot: Snapshot,
  output: DescMessage,
  maxBytes: number,
  ledger: (reader: Reader) => Answer<A>
): Answer<A> => Effect.map(ledger(bounded(snapshot, maxBytes, () => {})), (answer) => fitting(output, answer, maxBytes))

/** What an answer has room for. */
export interface Limits {
  readonly maxMessageBytes: number
  readonly maxListed: number
}

/**
 * A list that is only worth something as a whole: what there is no room for is not left out in silence. The ledger asks
 * for one row more than may be listed, to tell whether there is one.
 */
export const whole = <A>(
  snapshot: Snapshot,
  hint: string,
  { maxListed, maxMessageBytes }: Limits,
  ledger: (reader: Reader) => Answer<A>
): Answer<A> =>
  Effect.suspend(() => {
    let beyond: string | undefined
    const reader = bounded(snapshot, maxMessageBytes, (rows, isAll) => {
      beyond ??= rows > maxListed ? `has more than ${maxListed} items` : undefined
      beyond ??= isAll ? undefined : `takes more than ${maxMessageBytes} bytes`
    })
    return Effect.flatMap(ledger(reader), (answer) =>
      beyond === undefined ? Effect.succeed(answer) : Refusal.exhausted(`the answer ${beyond}: ${hint}`)
    )
  })

/** Reads whose every query ends where the room does. */
const bounded = (snapshot: Snapshot, bytes: number, look: (rows: number, isAll: boolean) => void): Reader => ({
  ...snapshot,
  select: (table, clause, parameters) =>
    Effect.map(snapshot.selectWithin(table, clause, parameters, { bytes }), ({ isAll, rows }) => {
      look(rows.length, isAll)
      return rows
    })
})

/** The answer with as many of its items as a message may have, but at least one. */
const fitting = <A extends Message>(output: DescMessage, answer: A, maxBytes: number): A => {
  const field = output.fields.find((field) => field.fieldKind === "list" && field.listKind === "message")
  if (atMost(answer) <= maxBytes || field?.fieldKind !== "list" || field.listKind !== "message") {
    return answer
  }
  const items: unknown = Object.getOwnPropertyDescriptor(answer, field.localName)?.value
  if (!Array.isArray(items)) {
    return answer
  }
  let room = maxBytes
  const end = items.findIndex((item: Message, index) => {
    room -= toBinary(field.message, item).length + itemBytes
    return index > 0 && room < 0
  })
  return end === -1 ? answer : { ...answer, [field.localName]: items.slice(0, end) }
}

/** What stands before each item in a message. */
const itemBytes = 6
