import * as Fs from "node:fs/promises"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { appendText } from "../internal/appendText.js"
import { type ConfigOr, resolve } from "./options.js"
import type { Compensated, Dispatched, Obligation, Observed, Protocol, Request } from "./protocol.js"

/**
 * Options of the log connector.
 *
 * @since 0.1.0
 * @category models
 */
export interface LogOptions {
  /** The file; its folder is made when missing. Defaults to `tape-outbox.jsonl` in the working directory. */
  readonly path?: string | undefined
}

export const make = Effect.fnUntraced(function* (given: ConfigOr<LogOptions>) {
  const { path = "tape-outbox.jsonl" } = yield* resolve<LogOptions>(given)
  // One line at a time from this process; between processes the operating system keeps appended lines whole.
  const turn = yield* Effect.makeSemaphore(1)
  return protocol(path, (kind, body) => turn.withPermits(1)(append(path, kind, body)))
})

const protocol = (path: string, write: (kind: string, body: object) => Effect.Effect<void, unknown>): Protocol => ({
  dispatch: (request) =>
    Effect.as(write("dispatch", bodyOf(request)), { _tag: "confirmed", response } satisfies Dispatched),
  observe: (request) =>
    Effect.map(
      Effect.orElseSucceed(read(path), () => Option.none<string>()),
      (text) => seen(text, request)
    ),
  compensate: (obligation) => {
    const { attempt, effectKey, kind, payload, runId } = obligation
    const body = { ...belongingOf(obligation), run_id: runId, effect_key: effectKey, kind, attempt, payload }
    return Effect.as(write("compensate", body), { _tag: "compensated", response } satisfies Compensated)
  }
})

const response = { logged: true }

const belongingOf = ({ app, tenantId }: Request | Obligation) => ({
  ...(tenantId === "" ? {} : { tenant_id: tenantId }),
  ...(app === "" ? {} : { app_name: app })
})

const bodyOf = (request: Request) => ({
  ...belongingOf(request),
  run_id: request.runId,
  idempotency_key: request.idempotencyKey,
  tool: request.tool,
  connector: request.connector,
  business_key: request.businessKey,
  semantics: request.semantics,
  attempt: request.attempt,
  payload: request.payload
})

const append = Effect.fnUntraced(function* (path: string, kind: string, body: object) {
  yield* appendText(path, `${JSON.stringify({ kind, ts_ms: yield* Clock.currentTimeMillis, body })}\n`)
})

/** None when the file cannot be read; a file that does not exist is an empty one. */
const read = (path: string): Effect.Effect<Option.Option<string>, unknown> =>
  Effect.tryPromise({ try: () => Fs.readFile(path, "utf8"), catch: (error) => error }).pipe(
    Effect.catchIf(isMissing, () => Effect.succeed("")),
    Effect.asSome
  )

const isMissing = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "ENOENT"

const Line = Schema.parseJson(
  Schema.Struct({
    kind: Schema.Literal("dispatch"),
    body: Schema.Struct({ run_id: Schema.String, idempotency_key: Schema.String })
  })
)

const decodeLine = Schema.decodeOption(Line)

const seen = (text: Option.Option<string>, request: Request): Observed => {
  if (Option.isNone(text)) return { _tag: "unknown", error: "the log cannot be read" }
  const count = text.value.split("\n").filter((line) => isOf(line, request)).length
  if (count === 0) return { _tag: "absent", conclusive: true }
  return { _tag: count === 1 ? "confirmed" : "duplicate", response }
}

const isOf = (line: string, request: Request): boolean =>
  // Cheap look first: a log is long and nearly all of its lines are about something else.
  line.includes(JSON.stringify(request.idempotencyKey)) &&
  Option.exists(
    decodeLine(line),
    ({ body }) => body.idempotency_key === request.idempotencyKey && body.run_id === request.runId
  )
