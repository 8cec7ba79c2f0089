import { assert, describe, it } from "@effect/vitest"
import { Cause, type Console, Effect, FastCheck, Fiber, Layer, Logger, Redacted, Schema, TestClock } from "effect"
import { Durable, Observability, Outbox, Reactors } from "effect-tape"
import { ids, signal, Tape, waitingAt } from "./Durable.fixtures.js"
import { bank, doubtful, trips } from "./Observability.fixtures.js"

/** Keeps the lines of the JSON logger. */
const collecting = () => {
  const lines: Array<string> = []
  const layer = Logger.replace(
    Logger.defaultLogger,
    Logger.map(Observability.jsonLogger, (line) => void lines.push(line))
  )
  return { lines, layer }
}

const linesOf = <A, E>(program: Effect.Effect<A, E>) => {
  const { layer, lines } = collecting()
  return Effect.as(Effect.provide(program, layer), lines)
}

describe("a log line", () => {
  it.effect("TEN-03: is one JSON object whose known fields are in their order, whatever follows them", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(1_764_201_600_120)
      const [line] = yield* linesOf(
        Effect.logWarning("sent", { lease_owner: "host:1", amount: 100, 1: "one", note: "" }).pipe(
          Effect.annotateLogs({
            reactor: "recover",
            decisionIndex: 0,
            idempotency_key: "k",
            seq: 7n,
            sessionId: "s",
            invocation_id: "i",
            runId: "r",
            appName: "a",
            tenant_id: "t",
            zone: "b",
            area: undefined,
            done: false
          })
        )
      )
      assert.strictEqual(
        line,
        '{"ts":1764201600.120,"level":"WARN","msg":"sent","tenant_id":"t","app_name":"a","run_id":"r","invocation_id":"i",' +
          '"session_id":"s","seq":7,"effect_key":"k","decision_index":0,"reactor":"recover","lease_owner":"host:1",' +
          '"done":false,"zone":"b","1":"one","amount":100}'
      )
      assert.deepStrictEqual(Object.keys(JSON.parse(line ?? "")).slice(1, 14), [...Observability.logFields])
    })
  )

  it.effect("TEN-03: holds the law of its order for any fields, and never throws", () => {
    const cyclic: { self?: unknown } = {}
    cyclic.self = [cyclic]
    const hostile = {
      get field() {
        throw new Error("no")
      }
    }
    const odd = FastCheck.constantFrom<ReadonlyArray<unknown>>(
      [cyclic],
      [hostile],
      [2n ** 70n],
      [-3n],
      [Number.NaN],
      [new Error("e")],
      [Symbol("s")],
      [() => 1],
      [new Map([[1, 2]])],
      [Proxy.revocable({}, {})],
      [0],
      [false],
      [""],
      [null],
      [undefined],
      ["\u2028\n\ud800"],
      [{ toJSON: () => cyclic }]
    ).map(([value]) => value)
    const value = FastCheck.oneof(odd, FastCheck.jsonValue())
    const name = FastCheck.oneof(
      FastCheck.constantFrom(...Observability.logFields, "runId", "leaseOwner", "idempotencyKey", "__proto__", "cause"),
      FastCheck.string()
    )
    const fields = FastCheck.uniqueArray(FastCheck.tuple(name, value), { selector: ([name]) => name, maxLength: 8 })
    const rank = new Map<string, number>(Observability.logFields.map((field, index) => [field, index]))
    return Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(fields, fields, value, async (annotations, extras, part) => {
          const [line = "", ...others] = await Effect.runPromise(
            linesOf(
              Effect.logInfo("text", part, Object.fromEntries(extras)).pipe(
                Effect.annotateLogs(Object.fromEntries(annotations))
              )
            )
          )
          assert.deepStrictEqual(others, [])
          assert.notInclude(line, "\n")
          const written: { readonly [name: string]: unknown } = JSON.parse(line)
          const keys = Object.keys(written)
          assert.deepStrictEqual(
            keys.filter((key) => rank.has(key)),
            Observability.logFields.filter((field) => keys.includes(field))
          )
          assert.match(line, /^\{"ts":\d+\.\d{3},"level":"INFO","msg":"/)
          for (const [key, value] of Object.entries(written)) {
            if (key !== "msg") assert.isFalse(value === null || value === "", key)
          }
          // What has no place of its own comes after what has one; JavaScript puts keys like "1" first when it parses.
          const places = keys.filter((key) => !/^\d+$/.test(key)).map((key) => (rank.has(key) ? 0 : 1))
          assert.deepStrictEqual(places, places.toSorted())
          for (const [name, value] of extras) {
            if (value === 0 || value === false) {
              if (!rank.has(name) && !aliases.has(name)) assert.strictEqual(written[name], value)
            }
          }
        }),
        { numRuns: 200 }
      )
    )
  })

  it.effect("takes any value: numbers too large, cycles, errors, secrets, causes", () =>
    Effect.gen(function* () {
      const cyclic: { name: string; self?: unknown } = { name: "c" }
      cyclic.self = cyclic
      const twice = { a: 1 }
      const [line] = yield* linesOf(
        Effect.logError("it", 1n, new Error("e"), ["x"], {
          big: 2n ** 64n,
          cyclic,
          both: [twice, twice],
          nan: Number.NaN,
          error: new TypeError("t"),
          key: Redacted.make("secret"),
          level: "mine",
          msg: "mine",
          ts: 0
        }).pipe(Effect.withLogSpan("pass"))
      )
      assert.deepStrictEqual(JSON.parse(line ?? ""), {
        ts: 0,
        level: "ERROR",
        msg: 'it 1 Error: e ["x"]',
        big: "18446744073709551616",
        cyclic: { name: "c", self: "[cyclic]" },
        both: [twice, twice],
        nan: "NaN",
        error: "TypeError: t",
        key: "<redacted>",
        spans: { pass: 0 }
      })
      const [failed] = yield* linesOf(Effect.logError("died", Cause.die(new Error("why"))))
      assert.match(JSON.parse(failed ?? "").cause, /^Error: why\n/)
    })
  )

  it.effect("says in which span it was written, and what is said last of a field counts, unless it is nothing", () =>
    Effect.gen(function* () {
      const { layer, lines } = collecting()
      const span = yield* Effect.log("in", { run_id: "r2", effect_key: null }).pipe(
        Effect.annotateLogs({ runId: "r1", effect_key: "k" }),
        Effect.zipRight(Effect.currentSpan),
        Effect.withSpan("mine"),
        Effect.provide(layer)
      )
      const { traceId: trace_id, spanId: span_id } = span
      assert.include(JSON.parse(lines[0] ?? ""), { run_id: "r2", effect_key: "k", trace_id, span_id })
    })
  )

  it.effect("goes to standard error by the console of the program", () =>
    Effect.gen(function* () {
      const errors: Array<unknown> = []
      const console = yield* Effect.console
      const said: Console.Console = {
        ...console,
        unsafe: { ...console.unsafe, error: (...line) => void errors.push(...line) }
      }
      yield* Effect.log("100%s").pipe(Effect.provide(Observability.layerJsonLog), Effect.withConsole(said))
      assert.deepStrictEqual(errors, ['{"ts":0.000,"level":"INFO","msg":"100%s"}'])
    })
  )
})

const aliases = new Set(["runId", "leaseOwner", "idempotencyKey", "cause"])

describe("what the SDK logs", () => {
  it.effect("names the run, the decision, the effect and the reactor it is about", () => {
    const { layer, lines } = collecting()
    const parsed = () => lines.map((line): { readonly [field: string]: unknown } => JSON.parse(line))
    const saying = (msg: string) => parsed().find((line) => line["msg"] === msg)
    return Effect.gen(function* () {
      const world = trips({ undo: Effect.log("undoing") })
      const first = yield* Effect.fork(world.app.start(ids("i"), "truck"))
      const { leaseOwner, runId } = yield* waitingAt("ok")
      const run = { app_name: "trips", run_id: runId, invocation_id: "i", session_id: "s" }
      assert.include(saying("thinking"), { ...run, decision_index: 0 })
      assert.include(saying("waiting"), run)
      assert.isString(saying("waiting")?.["lease_owner"])
      assert.strictEqual(leaseOwner, "")
      yield* Fiber.interrupt(first)

      yield* Outbox.dispatchOnce({ tools: [world.Wire], jitter: false })
      const effect_key = `${runId}/decision-0/wire_money/0`
      assert.include(saying("sending"), { run_id: runId, effect_key })
      assert.include(saying("wire_money: confirmed"), { run_id: runId, effect_key, connector: "bank.wire" })

      yield* signal(runId, "ok", { paid: false })
      yield* Reactors.recoverOnce({ apps: [world.app] })
      assert.include(saying("undoing"), { ...run, effect_key: `${runId}/decision-0/book/0`, reactor: "recover" })
      assert.include(
        parsed().find(({ msg }) => String(msg).includes("was recovered")),
        { run_id: runId, reactor: "recover" }
      )
      yield* doubtful("doubt")
      yield* Reactors.reconcileOnce({ tools: [world.Book] })
      assert.include(
        parsed().find(({ msg }) => String(msg).startsWith("book: confirmed")),
        { reactor: "reconcile" }
      )
    }).pipe(Effect.provide([Tape, bank(Effect.as(Effect.log("sending"), { _tag: "confirmed" })), layer]))
  })

  it.effect("a tool's body logs its key", () => {
    const { layer, lines } = collecting()
    const Say = Durable.tool("say", {
      input: Schema.String,
      output: Schema.String,
      run: (what) => Effect.as(Effect.log(what), what)
    })
    const app = Durable.app("says", { input: Schema.String, tools: [Say], run: (what) => Say(what) })
    return Effect.gen(function* () {
      yield* app.start(ids("i"), "hello")
      const line = lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === "hello")
      assert.strictEqual(line?.effect_key, `${line?.run_id}/no-decision/say/0`)
    }).pipe(Effect.provide(Layer.merge(Tape, layer)))
  })
})
