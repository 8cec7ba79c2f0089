/**
 * What a tape and its programs can be watched by: spans, trace context, metrics, log lines.
 *
 * **Spans** are opened only when a tracer is installed (`Effect.withTracer`, `Layer.setTracer`, the layers of
 * `@effect/opentelemetry`, or {@link onSpan}); Effect's own, which nobody sees, does not count. Their kind is `client`; one that fails
 * ends with its error, and so does one whose trouble is told as an outcome. Nothing is opened for polling, for streams
 * and for single rows.
 *
 * | span                    | of                                          | attributes, each with the prefix `tape.`                           |
 * | ----------------------- | ------------------------------------------- | ------------------------------------------------------------------ |
 * | `tape.begin_run`        | BeginRun                                    | `app_name` `session_id` `invocation_id` `lease_owner`; `run_id` `resumed` |
 * | `tape.resume_run`       | ResumeRun                                   | `run_id` `lease_owner`                                             |
 * | `tape.record_decision`  | RecordDecision                              | `run_id` `decision_index` `model`                                  |
 * | `tape.begin_effect`     | BeginEffect                                 | `run_id` `decision_index` `tool` `connector`; `effect_key` `status` |
 * | `tape.complete_effect`  | CompleteEffect                              | `run_id` `effect_key`; `status`                                    |
 * | `tape.reconcile_effect` | ReconcileEffect                             | `run_id` `effect_key`; `status`                                    |
 * | `tape.dispatch_effect`  | a dispatcher's turn, from its claim on      | `run_id` `effect_key` `connector` `tool`                           |
 * | `tape.compensate`       | undoing one effect, by its run or a drainer | `run_id` `effect_key` `kind`                                       |
 * | `tape.redrive`          | a run that recovery or a timer takes up     | `run_id` `app_name`                                                |
 * | `tape.await_signal`     | AwaitSignal                                 | `run_id` `gate`; `delivered`                                       |
 * | `tape.send_signal`      | SendSignal                                  | `run_id` `gate`; `accepted`                                        |
 *
 * What is after the semicolon is known from the answer. Beside them there are `tape.task` (the handler of a reaction, kind
 * `consumer`: `reaction` `reaction_id` `task_id` `subject` `attempt`) and `tape.reactors.<name>` (one pass: `reactor`).
 *
 * **Trace context** (W3C) goes with every call, tracer or not: `traceparent` is that of the span the call is made in, and
 * the entries it writes carry it. The handler of a reaction runs in `tape.task`, a child of the span that the entry was
 * written in, so what it calls belongs to the same trace. A `traceparent` of one's own (`Client.withMetadata`) goes before;
 * so does a `tracestate`, of which Effect's spans know nothing. HTTP connectors and webhooks send `traceparent` as well.
 *
 * **Metrics** are `effect/Metric`s, all in {@link metrics}; those of the whole tape are kept by {@link layerGauges}.
 *
 * **Log lines** carry what they are about as annotations: runs their ids, effects their key, reactors their name;
 * {@link layerJsonLog} writes them as one JSON object each.
 *
 * ```ts
 * import { Observability, TapeLive } from "effect-tape"
 * import { Layer } from "effect"
 *
 * // `NodeSdk.layer(…)` of @effect/opentelemetry, merged with these, exports spans and metrics.
 * const Watching = Layer.mergeAll(Observability.layerJsonLog, Layer.provide(Observability.layerGauges(), TapeLive))
 * ```
 *
 * @since 0.1.0
 */
export { type GaugeOptions, layerGauges } from "./observability/gauges.js"
export { onSpan, type SpanHook } from "./observability/hook.js"
export { jsonLogger, layerJsonLog, logFields } from "./observability/log.js"
export * as metrics from "./observability/metrics.js"
export { type SpanName, spanNames } from "./observability/tracing.js"
