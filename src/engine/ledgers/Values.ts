/**
 * Values that programs share: versioned, written by compare-and-set, watched.
 */
import { create } from "@bufbuild/protobuf"
import * as Effect from "effect/Effect"
import type {
  DeleteValueRequest,
  GetValueRequest,
  GetValueResponse,
  WriteValueRequest
} from "../../gen/tape/v1/tape_pb.js"
import { DeleteValueResponseSchema, GetValueResponseSchema, ValueRecordSchema } from "../../gen/tape/v1/tape_pb.js"
import { Refusal } from "../../Handlers.js"
import * as Journal from "../Journal.js"
import type { StoreError } from "../StoreError.js"
import * as Subject from "../Subject.js"
import type { Reader } from "../store/Transaction.js"
import { type ValueRow, Values, ValueVersions } from "../store/tables.js"

/** Writes the next version; `if_version` 0 only creates, n replaces exactly version n, negative replaces any. */
export const write = Effect.fnUntraced(function* (context: Journal.Context, request: WriteValueRequest) {
  const { ifVersion, key, namespace } = request
  const held = yield* context.tx.get(Values, { namespace, key })
  const version = held?.version ?? 0n
  if (ifVersion >= 0n && ifVersion !== version) {
    const name = `${JSON.stringify(namespace)}/${JSON.stringify(key)}`
    return yield* Refusal.conflict(`version conflict on ${name}: version ${version} is held, ${ifVersion} was expected`)
  }
  return create(ValueRecordSchema, yield* writeNext(context, held, request))
})

/** Writes the version after the one that is held. */
export const writeNext = (
  context: Journal.Context,
  held: ValueRow | undefined,
  request: Pick<WriteValueRequest, "namespace" | "key" | "valueJson" | "writer">
): Effect.Effect<ValueRow, StoreError> => {
  const { key, namespace, valueJson, writer } = request
  const version = (held?.version ?? 0n) + 1n
  const row = { namespace, key, valueJson, version, tsMs: context.tx.nowMs, writer, deleted: false }
  const value = { key, namespace, value_json: valueJson, version }
  return Effect.as(change(context, row, "changed", { key, namespace, value, version, writer }), row)
}

/** The current record. A deleted one is not found, but shown. */
export const get = (reader: Reader, { key, namespace }: GetValueRequest): Effect.Effect<GetValueResponse, StoreError> =>
  Effect.map(reader.get(Values, { namespace, key }), (row) =>
    create(
      GetValueResponseSchema,
      row === undefined ? { found: false } : { found: !row.deleted, value: create(ValueRecordSchema, row) }
    )
  )

/** Leaves a tombstone, which has a version of its own; versions go on after it. */
export const remove = Effect.fnUntraced(function* (context: Journal.Context, request: DeleteValueRequest) {
  const { key, namespace } = request
  const row = yield* context.tx.get(Values, { namespace, key })
  if (row === undefined) {
    return create(DeleteValueResponseSchema, { deleted: false, version: 0n })
  }
  const version = row.version + 1n
  const tombstone = { ...row, valueJson: "", version, tsMs: context.tx.nowMs, deleted: true }
  yield* change(context, tombstone, "deleted", { deleted: true, key, namespace, version })
  return create(DeleteValueResponseSchema, { deleted: true, version })
})

/** The subjects under which changes of a key are journaled. */
export const subjectsOf = (namespace: string, key: string): ReadonlyArray<string> => [
  Subject.make("value", "changed", namespace, key),
  Subject.make("value", "deleted", namespace, key)
]

const change = (context: Journal.Context, row: ValueRow, verb: "changed" | "deleted", payload: Journal.Payload) =>
  Effect.map(
    Journal.appendUnowned(context, {
      kind: "value",
      subject: Subject.make("value", verb, row.namespace, row.key),
      payload
    }),
    (seq) => {
      const { key, namespace, version, writer } = row
      context.tx.put(Values, row)
      context.tx.put(ValueVersions, { namespace, key, version, seq, writer })
    }
  )
