/** Declaring reactions, one constructor for each kind of entry. */
import * as Schema from "effect/Schema"
import * as Subject from "../internal/Subject.js"
import * as events from "./events.js"
import { type Action, make, type Reaction, type ReactionOptions } from "./reaction.js"

/**
 * Which values a reaction is about.
 *
 * @since 0.1.0
 * @category models
 */
export interface ValueTarget {
  /** `*` is any namespace. */
  readonly namespace: string
  /** Defaults to every key, as does an empty one; `*` is any key. */
  readonly key?: string | undefined
}

/**
 * Reacts to values being written. `value` decodes the value from its parsed JSON; one that it does not fit goes to the
 * dead letters at once, with the reason. It defaults to the parsed JSON as it is.
 *
 * @example
 * import { Reactions } from "effect-tape"
 * import { Effect, Schema } from "effect"
 *
 * export const Repricing = Reactions.onValueChanged("reprice", {
 *   namespace: "treasury",
 *   key: "fx",
 *   value: Schema.Number,
 *   where: "double(payload.value.value_json) > 1.1",
 *   maxConcurrency: 8,
 *   debounce: "500 millis",
 *   run: ({ value, version }) => Effect.log(`the rate is ${value}, version ${version}`)
 * })
 *
 * @since 0.1.0
 * @category declaring
 */
export const onValueChanged = <A = unknown, I = unknown, IR = never, R = never>(
  name: string,
  options: ReactionOptions &
    ValueTarget & { readonly value?: Schema.Schema<A, I, IR> | undefined } & Action<events.ValueChanged<A>, R>
): Reaction<R | IR> =>
  make<events.ValueChanged<A>, R | IR>(
    name,
    valuePattern("changed", options),
    options,
    // Without a schema nothing is inferred for A, so it is its default, unknown.
    events.valueChanged(options.value ?? (Schema.Unknown as unknown as Schema.Schema<A, I, IR>))
  )

/**
 * Reacts to values being deleted.
 *
 * @since 0.1.0
 * @category declaring
 */
export const onValueDeleted = <R = never>(
  name: string,
  options: ReactionOptions & ValueTarget & Action<events.ValueDeleted, R>
): Reaction<R> => make(name, valuePattern("deleted", options), options, events.valueDeleted)

/**
 * Which effects a reaction is about.
 *
 * @since 0.1.0
 * @category models
 */
export interface EffectTarget {
  /** Defaults to every tool, as does `*`. */
  readonly tool?: string | undefined
}

/**
 * Reacts to effects that are confirmed.
 *
 * @since 0.1.0
 * @category declaring
 */
export const onEffectConfirmed = <R = never>(
  name: string,
  options: ReactionOptions & EffectTarget & Action<events.EffectChanged, R>
): Reaction<R> => make(name, effectPattern("confirmed", options), options, events.effectChanged)

/**
 * Reacts to effects that are known to have failed.
 *
 * @since 0.1.0
 * @category declaring
 */
export const onEffectFailed = <R = never>(
  name: string,
  options: ReactionOptions & EffectTarget & Action<events.EffectChanged, R>
): Reaction<R> => make(name, effectPattern("failed", options), options, events.effectChanged)

/**
 * Reacts to effects of which nobody knows whether they happened.
 *
 * @since 0.1.0
 * @category declaring
 */
export const onEffectUnknown = <R = never>(
  name: string,
  options: ReactionOptions & EffectTarget & Action<events.EffectChanged, R>
): Reaction<R> => make(name, effectPattern("unknown", options), options, events.effectChanged)

/**
 * Reacts to decisions being recorded.
 *
 * @since 0.1.0
 * @category declaring
 */
export const onDecision = <R = never>(
  name: string,
  options: ReactionOptions & Action<events.DecisionRecorded, R>
): Reaction<R> => make(name, "/tape/decision/recorded/**", options, events.decisionRecorded)

/**
 * Reacts to gates: `released` when a run has its answer, `waiting` when it begins to wait.
 *
 * @since 0.1.0
 * @category declaring
 */
export const onGate = <R = never>(
  name: string,
  options: ReactionOptions & {
    /** Defaults to every gate, as does `*`. */
    readonly gate?: string | undefined
    /** Defaults to `released`. */
    readonly verb?: "released" | "waiting" | undefined
  } & Action<events.GateChanged, R>
): Reaction<R> =>
  make(name, `/tape/gate/${options.verb ?? "released"}/${segment(options.gate, "*")}/**`, options, events.gateChanged)

/**
 * Reacts to runs that come into a status.
 *
 * @since 0.1.0
 * @category declaring
 */
export const onRun = <R = never>(
  name: string,
  options: ReactionOptions & {
    /** Defaults to `terminal`: finished well. `*` is any. */
    readonly status?: "running" | "terminal" | "failed" | "stuck" | "cancelled" | "compensating" | "*" | undefined
  } & Action<events.RunChanged, R>
): Reaction<R> => make(name, `/tape/run/${options.status ?? "terminal"}/**`, options, events.runChanged)

/**
 * Reacts to entries whose subject matches `pattern`: segment by segment, `*` is exactly one, `**` (only last) any number
 * of them; the empty pattern is every entry. `payload` decodes the entry's payload from its parsed JSON; it defaults to
 * the parsed JSON as it is.
 *
 * @since 0.1.0
 * @category declaring
 */
export const on = <A = unknown, I = unknown, IR = never, R = never>(
  name: string,
  options: ReactionOptions & {
    readonly pattern: string
    readonly payload?: Schema.Schema<A, I, IR> | undefined
  } & Action<events.Matched<A>, R>
): Reaction<R | IR> =>
  make<events.Matched<A>, R | IR>(
    name,
    options.pattern,
    options,
    // As in onValueChanged.
    events.matched(options.payload ?? (Schema.Unknown as unknown as Schema.Schema<A, I, IR>))
  )

/**
 * A text as it stands in a subject, for patterns of {@link on}: characters with a meaning become `%XX`, empty becomes `_`.
 *
 * @since 0.1.0
 * @category encoding
 */
export const encodeSegment: (text: string) => string = Subject.encode

/** Wildcards pass. */
const segment = (text: string | undefined, byDefault: string): string =>
  text === undefined || text === "" ? byDefault : text === "*" || text === "**" ? text : Subject.encode(text)

const valuePattern = (verb: string, { key, namespace }: ValueTarget): string =>
  `/tape/value/${verb}/${namespace === "*" ? namespace : Subject.encode(namespace)}/${segment(key, "**")}`

const effectPattern = (verb: string, { tool }: EffectTarget): string => `/tape/effect/${verb}/${segment(tool, "*")}/**`
