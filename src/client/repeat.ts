/**
 * Which calls may be sent again when their answer was lost, and how.
 */
import type { DescMethodUnary, DescService, Message, MessageShape } from "@bufbuild/protobuf"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Errors from "../Errors.js"
import type { Tape } from "../gen/tape/v1/tape_pb.js"
import type { Outgoing, Transport } from "./transport.js"

/** Waits between two attempts of a call: 50 ms, doubled to at most 1 s, jittered, six times. */
export const defaultRetry: Schedule.Schedule<unknown, Errors.Unavailable> = Schedule.exponential("50 millis").pipe(
  Schedule.union(Schedule.spaced("1 second")),
  Schedule.jittered,
  Schedule.intersect(Schedule.recurs(6))
)

/** Metadata under which a call that is not idempotent by nature names itself. */
export const requestIdKey = "tape-request-id"

/** What a server answers under {@link requestIdKey} when it honours request ids. */
export const requestIdVersion = "v1"

/** Sends a request, and sends it again as far as the policy, the nature of the rpc and the deadline allow. */
export const send = (
  transport: Transport,
  method: DescMethodUnary,
  request: Message,
  call: Outgoing,
  retry: Schedule.Schedule<unknown, Errors.Unavailable>
): Effect.Effect<Message, Errors.TapeError> => {
  const until = live.unsafeCurrentTimeMillis() + call.remaining
  if (isIdempotent(method, request)) {
    const attempt = (remaining: number) => transport.unary(method, request, { ...call, remaining })
    return Effect.catchTag(transport.unary(method, request, call), "Unavailable", (error) =>
      again(attempt, () => !transport.isClosed(), until, retry, error)
    )
  }
  if (transport.requestIds() === "none") return transport.unary(method, request, call)
  // A caller that names the call itself means to repeat it, perhaps in another life.
  const named = { ...call, metadata: { [requestIdKey]: requestId(), ...call.metadata } }
  const attempt = (remaining: number) => transport.unary(method, request, { ...named, remaining })
  return Effect.catchTag(transport.unary(method, request, named), "Unavailable", (error) =>
    again(
      attempt,
      (error) => !transport.isClosed() && (!error.maybeApplied || transport.requestIds() === "honoured"),
      until,
      retry,
      error
    )
  )
}

// ---- internal ----

/**
 * Whether repeating the call is harmless by its nature. The calls of the table are not, for the requests its functions
 * say: they count, claim, or make something new each time.
 */
const isIdempotent = (method: DescMethodUnary, request: Message): boolean => {
  if (!Object.hasOwn(repeats, method.localName)) return true
  // the table's type binds each function to the request of its method
  const repeat = repeats[method.localName as keyof typeof repeats] as (request: Message) => boolean
  return !repeat(request)
}

type Repeats<S extends DescService> = {
  readonly [K in keyof S["method"]]?: S["method"][K] extends DescMethodUnary<infer I>
    ? (request: MessageShape<I>) => boolean
    : never
}

// a browser has `randomUUID` for pages of https and of localhost only
const requestId = (): string =>
  typeof crypto.randomUUID === "function"
    ? crypto.randomUUID()
    : Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")

const always = (): boolean => true

const repeats = {
  appendEvent: ({ event }) => event === undefined || event.id === "",
  cancelTimer: always,
  chargeBudget: always,
  claimEffectDispatch: always,
  claimObligation: always,
  claimTasks: always,
  createSession: always,
  deleteSession: always,
  deleteValue: always,
  endRun: always,
  listDueTimers: ({ claim }) => claim,
  nackTask: always,
  recordDispatchAttempt: always,
  recordObligationAttempt: always,
  registerReaction: ({ reactionId }) => reactionId === "",
  setTimer: ({ timerId }) => timerId === "",
  writeValue: always
} satisfies Repeats<typeof Tape>

// a call's time is real, its rests included, whatever the fiber's clock says
const live = Clock.make()

const again = (
  attempt: (remaining: number) => Effect.Effect<Message, Errors.TapeError>,
  may: (error: Errors.Unavailable) => boolean,
  until: number,
  retry: Schedule.Schedule<unknown, Errors.Unavailable>,
  first: Errors.Unavailable
): Effect.Effect<Message, Errors.TapeError> => {
  if (!may(first)) return Effect.fail(first)
  return Effect.flatMap(Schedule.driver(retry), (driver) => {
    const left = () => until - live.unsafeCurrentTimeMillis()
    const next = (last: Errors.Unavailable): Effect.Effect<Message, Errors.TapeError> =>
      driver.next(last).pipe(
        Effect.isSuccess, // a failure says that the policy has no further attempt
        Effect.timeoutOption(left()),
        Effect.withClock(live),
        Effect.flatMap((go) =>
          Option.contains(go, true) && left() > 0
            ? Effect.catchTag(attempt(left()), "Unavailable", (error) => {
                const sum = last.maybeApplied ? new Errors.Unavailable({ ...error, maybeApplied: true }) : error
                return may(error) ? next(sum) : Effect.fail(sum)
              })
            : Effect.fail(last)
        )
      )
    return next(first)
  })
}
