/** What the calls of a store have in common, whatever its schema. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { TapeClient } from "../Client.js"
import { defaultResume, resuming } from "../client/tail.js"
import * as Errors from "../Errors.js"
import type { ValueRecord } from "../gen/tape/v1/tape_pb.js"
import { hasRecord, type WatchedRecord } from "./reading.js"

/** Of many programs that update one value at once one gets through at a time, wherefore the waits differ widely. */
export const defaultRetry: Schedule.Schedule<unknown, Errors.Conflict> = Schedule.exponential("10 millis").pipe(
  Schedule.union(Schedule.spaced("500 millis")),
  Schedule.jitteredWith({ min: 0.1, max: 1.9 }),
  Schedule.intersect(Schedule.recurs(20))
)

interface Write {
  readonly namespace: string
  readonly key: string
  readonly valueJson: string
  readonly writer: string
}

/** Writes where nothing is. A deletion is a version, which the write after it has to name. */
export const writeAbsent = (
  tape: TapeClient["Type"],
  request: Write,
  ifVersion = 0n
): Effect.Effect<ValueRecord, Errors.TapeError> =>
  Effect.catchTag(tape.writeValue({ ...request, ifVersion }), "Conflict", (conflict) =>
    Effect.flatMap(tape.getValue({ namespace: request.namespace, key: request.key }), ({ value }) =>
      value?.deleted === true ? writeAbsent(tape, request, value.version) : Effect.fail(conflict)
    )
  )

/** `WatchValue` that survives its connection. */
export const watchFrom = (
  namespace: string,
  key: string,
  after: bigint,
  resume: Schedule.Schedule<unknown, Errors.TapeError> = defaultResume
): Stream.Stream<WatchedRecord, Errors.TapeError, TapeClient> =>
  resuming(
    "WatchValue",
    after,
    (fromVersion) =>
      Stream.unwrap(
        Effect.map(TapeClient, (tape) => Stream.filter(tape.watchValue({ namespace, key, fromVersion }), hasRecord))
      ),
    ({ value }) => value.version,
    resume
  )

/** The version on the wire, where a negative one would mean any. */
export const versionOf = (
  rpc: string,
  { key, namespace }: { readonly namespace: string; readonly key: string },
  version: number | bigint
): Effect.Effect<bigint, Errors.InvalidRequest> =>
  version >= 0 && (typeof version === "bigint" || Number.isSafeInteger(version))
    ? Effect.succeed(BigInt(version))
    : Effect.fail(
        new Errors.InvalidRequest({ rpc, detail: `${version} is not a version: 0, 1, 2 …`, ids: { namespace, key } })
      )
