import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Dispatched, Observed, Protocol, Request } from "../../connectors/protocol.js"
import { chances, percent } from "../internal/chance.js"

/**
 * When a fault strikes: at the first dispatch that it applies to, at every one, or with a probability from 0 to 1.
 *
 * @since 0.1.0
 * @category models
 */
export type When = "once" | "always" | number

/**
 * Where a fault strikes.
 *
 * @since 0.1.0
 * @category models
 */
export interface FaultOptions {
  /** Only effects of this tool. Defaults to those of every tool. */
  readonly tool?: string | undefined
  /** Where probabilities are drawn from; the same seed strikes the same dispatches. Defaults to 0. */
  readonly seed?: number | undefined
}

/** What may happen to a dispatch. */
export type Mishap =
  /** It is booked, and the answer lost. */
  | { readonly _tag: "LoseAck" }
  /** It is lost on the way: nothing is booked, and nobody knows. */
  | { readonly _tag: "Lose" }
  /** It is booked twice. */
  | { readonly _tag: "Duplicate" }
  | { readonly _tag: "Delay"; readonly duration: Duration.DurationInput }
  /** There is no answer, ever. */
  | { readonly _tag: "Hang" }
  /** It is refused. */
  | { readonly _tag: "Fail"; readonly error: string; readonly final: boolean }

export interface Strike {
  readonly _tag: "Strike"
  readonly mishap: Mishap
  readonly when: When
  readonly options: FaultOptions
}

/** What happens to the first dispatch, to the second, and so on. */
export interface Script {
  readonly _tag: "Script"
  readonly steps: ReadonlyArray<ReadonlyArray<Mishap>>
  readonly options: FaultOptions
}

export type Fault = Strike | Script

/** The mishaps of a fault, however often it strikes. */
export const mishapsOf = (fault: Fault): ReadonlyArray<Mishap> =>
  fault._tag === "Strike" ? [fault.mishap] : fault.steps.flat()

/** A fault in words, as `TestConnector.describe` documents them. */
export const describe = (fault: Fault): string => {
  const on = fault.options.tool === undefined ? "" : `${fault.options.tool}: `
  if (fault._tag === "Script") {
    const steps = fault.steps.map((step) => `1*${step.length === 0 ? "off" : step.map(wordOf).join("+")}`)
    return on + [...steps, "off"].join("->")
  }
  const { mishap, when } = fault
  return on + (when === "always" ? "" : when === "once" ? "1*" : percent(when)) + wordOf(mishap)
}

/** The same connector, with faults; each life of it begins anew. Observing and compensating go through. */
export const faulty = <R>(protocol: Protocol<R>, faults: ReadonlyArray<Fault>): Protocol<R> => {
  const drawn = faults.map(draws)
  const twice = new Set<string>()
  const { compensate, observe } = protocol
  return {
    dispatch: (request) =>
      Effect.flatMap(
        Effect.forEach(drawn, (draw) => draw(request)),
        (mishaps) => suffered(protocol, request, mishaps.flat(), () => twice.add(request.idempotencyKey))
      ),
    observe:
      observe &&
      ((request) =>
        Effect.map(observe(request), (observed): Observed => {
          if (observed._tag !== "confirmed" || !twice.has(request.idempotencyKey)) return observed
          return { ...observed, _tag: "duplicate" }
        })),
    compensate: compensate && ((obligation) => compensate(obligation))
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// internal
// ---------------------------------------------------------------------------------------------------------------------

const wordOf = (mishap: Mishap): string => {
  switch (mishap._tag) {
    case "LoseAck":
      return "lose_ack"
    case "Lose":
      return "lose_request"
    case "Duplicate":
      return "duplicate"
    case "Delay":
      return `sleep(${Duration.toMillis(mishap.duration)})`
    case "Hang":
      return "hang"
    case "Fail":
      return `fail(${mishap.error})`
  }
}

type Draw = (request: Request) => Effect.Effect<ReadonlyArray<Mishap>>

const draws = (fault: Fault): Draw => {
  const { seed = 0, tool } = fault.options
  const isDrawn = chances(seed)
  let dispatches = 0
  const strikes = (when: When): Effect.Effect<boolean> => {
    if (when === "always") return Effect.succeed(true)
    if (when === "once") return Effect.succeed(dispatches === 1)
    return isDrawn(when)
  }
  return (request) =>
    Effect.suspend(() => {
      if (tool !== undefined && request.tool !== tool) return Effect.succeed([])
      dispatches += 1
      if (fault._tag === "Script") return Effect.succeed(fault.steps[dispatches - 1] ?? [])
      return Effect.map(strikes(fault.when), (strikes) => (strikes ? [fault.mishap] : []))
    })
}

const suffered = <R>(
  { dispatch }: Protocol<R>,
  request: Request,
  mishaps: ReadonlyArray<Mishap>,
  onDuplicate: () => void
): Effect.Effect<Dispatched, unknown, R> =>
  Effect.gen(function* () {
    let isLost = false
    let isDoubled = false
    for (const mishap of mishaps) {
      switch (mishap._tag) {
        case "Delay":
          yield* Effect.sleep(mishap.duration)
          break
        case "Hang":
          return yield* Effect.never
        case "Fail":
          return { _tag: "failed", error: mishap.error, final: mishap.final } satisfies Dispatched
        case "Lose":
          return { _tag: "unknown", error: "the request or its answer was lost" } satisfies Dispatched
        case "Duplicate":
          isDoubled = true
          break
        case "LoseAck":
          isLost = true
      }
    }
    const answer = yield* dispatch(request)
    if (isDoubled) {
      yield* dispatch(request)
      onDuplicate()
    }
    return isLost && answer._tag !== "failed"
      ? ({ _tag: "unknown", error: "the request or its answer was lost" } satisfies Dispatched)
      : answer
  })
