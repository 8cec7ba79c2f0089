/**
 * The way to a tape, as the client sees it.
 */
import type { DescMethod, DescMethodServerStreaming, DescMethodUnary, Message } from "@bufbuild/protobuf"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import * as Errors from "../Errors.js"
import type { Metadata } from "./call.js"
import { shapeOf } from "./shape.js"

export interface Outgoing {
  readonly metadata: Metadata
  /** What the caller allowed for the whole call, in milliseconds; `Infinity` is no limit. */
  readonly timeout: number
  /** What is left of it for this attempt. */
  readonly remaining: number
}

export interface Transport {
  /** Sends a request that has been checked, and gives the answer. Never dies. */
  readonly unary: (
    method: DescMethodUnary,
    request: Message,
    call: Outgoing
  ) => Effect.Effect<Message, Errors.TapeError>
  /** Opens a stream, back-pressured. Never dies. */
  readonly stream: (
    method: DescMethodServerStreaming,
    request: Message,
    call: Outgoing
  ) => Stream.Stream<Message, Errors.TapeError>
  /**
   * How the tape treats the repeat of a call that is not idempotent by nature: `"none"` carries no request ids,
   * `"unknown"` sends them without relying on them, `"honoured"` knows that a repeat gets the first answer.
   */
  readonly requestIds: () => "none" | "unknown" | "honoured"
  /** Whether the way is closed for good, so that sending again is in vain. */
  readonly isClosed: () => boolean
}

/** Why a call failed, whichever it was. */
export interface Reason {
  readonly code: number
  readonly detail: string
  readonly maybeApplied?: boolean | undefined
}

export const clientClosed: Reason = {
  code: Errors.Status.Unavailable,
  detail: "the client is closed",
  maybeApplied: false
}

/** The typed error of a failed call, with the ids its request names. */
export const failure = (method: DescMethod, request: Message, status: Reason): Errors.TapeError =>
  Errors.fromStatus({
    rpc: method.name,
    ids: shapeOf(method.input).ids(request),
    code: status.code,
    detail: status.detail,
    maybeApplied: status.maybeApplied
  })

export const tooLate = (method: DescMethod, request: Message, call: Outgoing): Errors.TapeError =>
  failure(method, request, { code: Errors.Status.DeadlineExceeded, detail: tooLateSentence(call.timeout) })

export const tooLateSentence = (timeout: number): string =>
  Number.isFinite(timeout) ? `no answer within ${Duration.format(Duration.millis(timeout))}` : "no answer in time"
