/**
 * Spans of this package: when they are opened, and how they reach the tape.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

/**
 * The spans that stand for something that happened to a run, in the order of a run's life.
 *
 * @since 0.1.0
 * @category spans
 */
export const spanNames = [
  "tape.begin_run",
  "tape.resume_run",
  "tape.record_decision",
  "tape.begin_effect",
  "tape.complete_effect",
  "tape.reconcile_effect",
  "tape.dispatch_effect",
  "tape.compensate",
  "tape.redrive",
  "tape.await_signal",
  "tape.send_signal"
] as const

/**
 * One of {@link spanNames}.
 *
 * @since 0.1.0
 * @category spans
 */
export type SpanName = (typeof spanNames)[number]

export interface Attributes {
  readonly [name: string]: string | number | boolean
}

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

// Effect's own tracer makes spans that nobody sees.
const nobodys = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** Whether spans go anywhere: a tracer is installed, and tracing is not switched off here. */
export const isTraced = (fiber: AnyFiber): boolean =>
  fiber.currentTracer !== nobodys && fiber.getFiberRef(FiberRef.currentTracerEnabled)

/** In a span, if somebody traces. The attributes are made only then. */
export const inSpan = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  name: string,
  attributes: () => Attributes,
  kind: Tracer.SpanKind = "internal"
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) =>
    isTraced(fiber)
      ? // Nothing here needs a parent span, which is all that withSpan takes from R.
        (Effect.withSpan(self, name, { kind, captureStackTrace: false, attributes: attributes() }) as typeof self)
      : self
  )

/** As {@link inSpan}, for work that tells its trouble as a value: the span ends with it as its error. */
export const inSpanOf = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  name: SpanName,
  attributes: () => Attributes,
  troubleOf: (value: A) => string | undefined
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) => {
    if (!isTraced(fiber)) return self
    const told = Effect.flatMap(self, (value): Effect.Effect<A, Trouble<A>> => {
      const trouble = troubleOf(value)
      return trouble === undefined ? Effect.succeed(value) : Effect.fail(new Trouble({ trouble, value }))
    })
    return Effect.catchIf(
      inSpan(told, name, attributes, "client"),
      (error): error is Trouble<A> => error instanceof Trouble,
      ({ value }) => Effect.succeed(value)
    )
  })

/** W3C trace context of a span, as request metadata; `undefined` for one that is not to be told of. */
export const metadataOf = (current: Tracer.AnySpan): { readonly [key: string]: string } | undefined => {
  const span = told(current)
  if (span === undefined || !isTraceId(span.traceId) || !isSpanId(span.spanId)) return undefined
  const traceparent = `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`
  const parent = span._tag === "Span" ? told(Option.getOrUndefined(span.parent)) : undefined
  return parent !== undefined && isSpanId(parent.spanId)
    ? { traceparent, "tape-parent-span-id": parent.spanId }
    : { traceparent }
}

/** The span that an entry of the journal was written in, as a parent; none for an entry without trace context. */
export const parentOf = (traceId: string, spanId: string): Tracer.ExternalSpan | undefined =>
  isTraceId(traceId) && isSpanId(spanId) ? Tracer.externalSpan({ traceId, spanId, sampled: true }) : undefined

// ---- internal ----

class Trouble<A> extends Data.TaggedError("Trouble")<{ readonly trouble: string; readonly value: A }> {
  override get message(): string {
    return this.trouble
  }
}

/** Spans of a part that is not traced are left out. */
const told = (span: Tracer.AnySpan | undefined): Tracer.AnySpan | undefined => {
  let found = span
  while (found !== undefined && Context.get(found.context, Tracer.DisablePropagation)) {
    found = found._tag === "Span" ? Option.getOrUndefined(found.parent) : undefined
  }
  return found
}

const isTraceId = (id: string): boolean => /^(?!0+$)[0-9a-f]{32}$/.test(id)
const isSpanId = (id: string): boolean => /^(?!0+$)[0-9a-f]{16}$/.test(id)
