/** Which entries a relay takes, and where the journal ends. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Client from "../Client.js"
import * as Errors from "../Errors.js"
import type { EventEntry } from "../gen/tape/v1/tape_pb.js"
import { namespace } from "./cursorValue.js"

export interface Selection {
  readonly pattern: string
  /** A CEL expression, or nothing. */
  readonly where: string
}

export const make = (pattern = "/tape/**", where = ""): Effect.Effect<Selection, Errors.InvalidRequest> =>
  pattern.split("/").slice(0, -1).includes("**")
    ? Effect.fail(
        new Errors.InvalidRequest({
          rpc: "SubscribeBySubject",
          detail: "** is only allowed as the last segment of a pattern",
          ids: { subject_pattern: pattern }
        })
      )
    : Effect.succeed({ pattern, where })

/** The entries after a cursor, for ever. */
export const tail = (selection: Selection, after: bigint) =>
  Client.tailBySubject({
    subjectPattern: selection.pattern,
    predicateCel: selection.where,
    fromGlobalSeq: after
  })

/**
 * The entries after a cursor, up to the head. A stream of selected entries is silent about those it leaves out, so those
 * from the head on are all selected: when the first of them comes, everything before it has come.
 */
export const upTo = (selection: Selection, after: bigint, head: bigint) =>
  Client.tailBySubject({
    predicateCel: `global_seq >= ${head} || (${conditionOf(selection)})`,
    fromGlobalSeq: after
  }).pipe(Stream.takeWhile((entry) => entry.globalSeq < head))

/** Fails where the tape refuses the selection: the entry at the head comes at once, and with it the verdict. */
export const check = (selection: Selection, head: bigint) => Stream.runDrain(upTo(selection, head - 1n, head))

const conditionOf = ({ pattern, where }: Selection): string =>
  // The line's end closes a comment in which the expression may end.
  where.trim() === "" ? patternCondition(pattern) : `${patternCondition(pattern)} && (${where}\n)`

/** A pattern in CEL. */
const patternCondition = (pattern: string): string => {
  if (pattern === "" || pattern === "**") return "true"
  const segments = pattern.split("/")
  const isOpen = segments.at(-1) === "**"
  const fixed = isOpen ? segments.slice(0, -1) : segments
  if (!fixed.includes("*")) {
    const text = fixed.join("/")
    const equal = `subject == ${quoted(text)}`
    return isOpen ? `(${equal} || subject.startsWith(${quoted(`${text}/`)}))` : equal
  }
  const regex = fixed.map((segment) => (segment === "*" ? "[^/]*" : escaped(segment))).join("/")
  return `subject.matches(${quoted(`^${regex}${isOpen ? "(/.*)?" : ""}$`)})`
}

const quoted = (text: string): string => JSON.stringify(text)

const escaped = (text: string): string => text.replaceAll(/[\\^$.|?*+()[\]{}]/g, "\\$&")

/** Whether an entry is about what relays keep in the tape; the `:` may come encoded. */
export const isOwn = (entry: EventEntry): boolean => entry.kind === "value" && ownSubject.test(entry.subject)

const ownSubject = new RegExp(`^/tape/value/[^/]+/${namespace.replace(":", "(:|%3a)")}/`, "i")

/**
 * The journal's end, now: everything committed before has a smaller global_seq. The tape does not tell it, so a value is
 * written, and looked up in the journal.
 */
export const head = (name: string): Effect.Effect<bigint, Errors.TapeError, Client.TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* Client.TapeClient
    const key = `${name}/head`
    const mark = yield* tape.writeValue({ namespace, key, valueJson: "null", ifVersion: -1n, writer: "relay" })
    const marks = Client.tailEvents({ kind: "value", subjectPattern: "/tape/value/changed/*/*", fromTsMs: mark.tsMs })
    const isMark = (entry: EventEntry) =>
      isOwn(entry) &&
      Option.exists(
        decodeMark(entry.payloadJson),
        (payload) => payload.namespace === namespace && payload.key === key && payload.version >= mark.version
      )
    const found = yield* Stream.runHead(Stream.filter(marks, isMark)).pipe(
      Effect.timeoutFail({ duration: "30 seconds", onTimeout: () => notFound(key) })
    )
    return Option.isSome(found) ? found.value.globalSeq : yield* Effect.dieMessage("a tail has no end")
  })

const notFound = (key: string) =>
  new Errors.DeadlineExceeded({
    rpc: "SubscribeEvents",
    detail: "a value was written, but its entry did not come within 30 seconds",
    ids: { namespace, key }
  })

const decodeMark = Schema.decodeOption(
  Schema.parseJson(
    Schema.Struct({
      namespace: Schema.String,
      key: Schema.String,
      version: Schema.Union(Schema.BigIntFromNumber, Schema.BigInt)
    })
  )
)
