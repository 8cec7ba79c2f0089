/**
 * A look at spans without a tracer.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"

/**
 * Called when a span of this package begins, with its name (`tape.…`) and what it says by then; what it gives back is
 * called when the span ends, with what it failed with, or `undefined`.
 *
 * @since 0.1.0
 * @category spans
 */
export type SpanHook = (
  name: string,
  attributes: { readonly [name: string]: unknown }
) => ((error: unknown) => void) | undefined

/**
 * Calls a function when a span of this package begins, and when it ends. The tracer of the program goes on as it is, if
 * there is one; if there is none, this counts as one, and spans are opened. What the functions throw is dropped.
 *
 * @example
 * import { Observability } from "effect-tape"
 *
 * const slow: Array<string> = []
 * const Watched = Observability.onSpan((name, attributes) => {
 *   const began = performance.now()
 *   return () => {
 *     if (performance.now() - began > 1000) slow.push(`${name} of ${attributes["tape.run_id"]}`)
 *   }
 * })
 *
 * @since 0.1.0
 * @category spans
 */
export const onSpan = (hook: SpanHook): Layer.Layer<never> =>
  Layer.unwrapEffect(Effect.map(Effect.tracer, (tracer) => Layer.setTracer(watched(tracer, hook))))

// ---- internal ----

const watched = (tracer: Tracer.Tracer, hook: SpanHook): Tracer.Tracer =>
  Tracer.make({
    context: (run, fiber) => tracer.context(run, fiber),
    span: (name, parent, context, links, startTime, kind, options) => {
      const span = tracer.span(name, parent, context, links, startTime, kind, options)
      if (!name.startsWith("tape.")) return span
      const ended = harmless(() => hook(name, options?.attributes ?? {}))
      if (ended === undefined) return span
      // In place: a tracer knows its own spans by what they are made of.
      const end = span.end.bind(span)
      span.end = (endTime, exit) => {
        end(endTime, exit)
        harmless(() => ended(errorOf(exit)))
      }
      return span
    }
  })

const errorOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  exit._tag === "Success" ? undefined : Cause.squash(exit.cause)

/** Who looks on must not break what he looks at. */
const harmless = <A>(call: () => A): A | undefined => Option.getOrUndefined(Option.liftThrowable(call)())
