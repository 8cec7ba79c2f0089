/**
 * Calls that name themselves: a repeat gets the first answer, and nothing is done twice.
 */
import { createHash } from "node:crypto"
import type { DescMessage, DescMethodUnary, MessageShape } from "@bufbuild/protobuf"
import { fromBinary, toBinary } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import { type Call, Refusal } from "../../Handlers.js"
import type * as Journal from "../Journal.js"
import type { StoreError } from "../StoreError.js"
import { pageBytes } from "../store/Room.js"
import type { Transaction } from "../store/Transaction.js"
import { RequestIds } from "../store/tables.js"
import type { Answer } from "./common.js"

/** Metadata under which a call names itself. */
export const header = "tape-request-id"

/** How long an answer is kept, in milliseconds. */
export const keptMs = 3_600_000n

/** A ledger's function that is applied once for each request id; without an id it is applied as it is. */
export const once = <I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  request: MessageShape<I>,
  call: Call,
  ledger: (context: Journal.Context) => Answer<MessageShape<O>>
): ((context: Journal.Context) => Answer<MessageShape<O>>) => {
  const requestId = call.metadata[header]
  if (requestId === undefined || requestId === "") {
    return ledger
  }
  if (requestId.length > longest || requestId.includes("\u0000")) {
    return () => Refusal.invalid(`${header} is text of at most ${longest} characters`)
  }
  const key = { rpc: method.name, requestId }
  const digest = createHash("sha256").update(toBinary(method.input, request)).digest("hex")
  return (context) =>
    Effect.flatMap(held(context.tx, key), (row) => {
      if (row === undefined) {
        return Effect.tap(ledger(context), (answer) => {
          const response = Buffer.from(toBinary(method.output, answer)).toString("base64")
          context.tx.put(RequestIds, { ...key, digest, response, createdAtMs: context.tx.nowMs })
        })
      }
      return row.digest === digest
        ? Effect.succeed(fromBinary(method.output, Buffer.from(row.response, "base64")))
        : Refusal.invalid(`${header} ${JSON.stringify(requestId)} was given to another request`)
    })
}

/** Removes some answers that are not kept any longer, the oldest first, and tells how many. */
export const purge = (tx: Transaction, limit: number): Effect.Effect<number, StoreError> =>
  Effect.map(
    tx.selectWithin(
      RequestIds,
      "where created_at_ms <= ? order by created_at_ms limit ?",
      [tx.nowMs - keptMs, BigInt(limit)],
      { bytes: pageBytes }
    ),
    ({ rows }) => {
      rows.forEach(({ requestId, rpc }) => tx.remove(RequestIds, { rpc, requestId }))
      return rows.length
    }
  )

const longest = 200

const held = (tx: Transaction, key: { readonly rpc: string; readonly requestId: string }) =>
  Effect.map(tx.get(RequestIds, key), (row) =>
    row !== undefined && row.createdAtMs + keptMs > tx.nowMs ? row : undefined
  )
