/** Calls of outbox tools: what they record, what they give back, and what they refuse. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Option, Schema, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import {
  EffectDispatchMode,
  type EffectRecord,
  EffectResolution,
  EffectSemantics,
  EffectStatus,
  RunStatus
} from "effect-tape/proto"
import * as Durable from "../src/Durable.js"
import { isEnvelope } from "../src/outbox/envelope.js"
import { tool } from "../src/outbox/tool.js"
import { firstRun, ids, killedAt, leaseRunsOut, Tape } from "./Durable.fixtures.js"

const Wire = Schema.Struct({ account: Schema.String, amount: Schema.Number })
const Wired = Schema.Struct({ wireId: Schema.String })
class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}

const WireMoney = tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input: Wire,
  output: Wired,
  error: Refused,
  businessKey: (wire) => `${wire.account}:${wire.amount}`,
  waitForResult: true
})

const Notify = tool("notify", {
  connector: "slack",
  semantics: "at_least_once",
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.String
})

const PendingWire = tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input: Wire,
  output: Wired,
  businessKey: (wire) => `${wire.account}:${wire.amount}`
})

const wiring = Durable.app("wiring", {
  input: Wire,
  output: Schema.String,
  error: Refused,
  tools: [WireMoney],
  *run(wire) {
    return (yield* WireMoney(wire)).wireId
  }
})

/** What a dispatcher would find, as soon as there is something. */
const due: Effect.Effect<EffectRecord, never, TapeClient> = Effect.gen(function* () {
  const tape = yield* TapeClient
  while (true) {
    const { effects } = yield* Effect.orDie(tape.listEffectsToDispatch({}))
    if (effects[0] !== undefined) return effects[0]
    yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
  }
})

const keyOf = ({ idempotencyKey, runId }: EffectRecord) => ({ idempotencyKey, runId })

const complete = (row: EffectRecord, status: EffectStatus, json: { responseJson?: string; errorJson?: string }) =>
  Effect.flatMap(TapeClient, (tape) => tape.completeEffect({ ...keyOf(row), status, ...json }))

const answer = '{"external_ref":"W-1","wireId":"W-1"}'

describe("a call", () => {
  it.effect(
    "OUT-18 · of a non-idempotent tool records the intent under its business key, and is told that it is pending",
    () =>
      Effect.gen(function* () {
        const got: Array<unknown> = []
        const app = Durable.app("pending", {
          input: Wire,
          output: Schema.Void,
          tools: [PendingWire],
          *run(wire) {
            got.push(yield* PendingWire(wire))
          }
        })
        // Nobody provides a connector: there is nothing that a call could be sent through.
        yield* app.start(ids("i"), { account: "ACME-1", amount: 100 })
        const row = yield* due
        const run = yield* firstRun
        assert.deepInclude(row, {
          idempotencyKey: `${run.runId}/no-decision/wire_money/0`,
          status: EffectStatus.PENDING,
          dispatchMode: EffectDispatchMode.OUTBOX,
          semantics: EffectSemantics.NON_IDEMPOTENT,
          businessKey: "ACME-1:100",
          connector: "bank.wire",
          requestJson: '{"account":"ACME-1","amount":100}',
          responseJson: "",
          dispatchAttempts: 0,
          dispatchClaimedBy: ""
        })
        const [pending] = got
        assert.hasAllKeys(pending, ["idempotencyKey", "await"])
        assert.strictEqual(Reflect.get(Object(pending), "idempotencyKey"), row.idempotencyKey)
      }).pipe(Effect.provide(Tape))
  )

  it.effect("records the intent and does nothing else", () =>
    Effect.gen(function* () {
      const app = Durable.app("notifying", {
        input: Schema.Struct({ text: Schema.String }),
        output: Schema.String,
        tools: [Notify],
        *run(note) {
          const pending = yield* Notify(note)
          return pending.idempotencyKey
        }
      })
      const key = yield* app.start(ids("i"), { text: "hello" })
      const row = yield* due
      const run = yield* firstRun
      assert.strictEqual(run.status, RunStatus.TERMINAL)
      assert.strictEqual(key, `${run.runId}/no-decision/notify/0`)
      assert.strictEqual(row.idempotencyKey, key)
      assert.strictEqual(row.status, EffectStatus.PENDING)
      assert.strictEqual(row.dispatchMode, EffectDispatchMode.OUTBOX)
      assert.strictEqual(row.semantics, EffectSemantics.IDEMPOTENT)
      assert.strictEqual(row.connector, "slack")
      assert.strictEqual(row.requestJson, '{"text":"hello"}')
    }).pipe(Effect.provide(Tape))
  )

  it.effect("with waitForResult gives the output when the effect is confirmed", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.fork(wiring.start(ids("i"), { account: "ACME-1", amount: 100 }))
      const row = yield* due
      assert.strictEqual(row.semantics, EffectSemantics.NON_IDEMPOTENT)
      assert.strictEqual(row.businessKey, "ACME-1:100")
      assert.strictEqual((yield* firstRun).status, RunStatus.RUNNING)
      yield* complete(row, EffectStatus.CONFIRMED, { responseJson: answer })
      assert.strictEqual(yield* Fiber.join(fiber), "W-1")
      assert.strictEqual(yield* wiring.start(ids("i"), { account: "ACME-1", amount: 100 }), "W-1")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("waits out an UNKNOWN until a reconciler settles it", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const fiber = yield* Effect.fork(wiring.start(ids("i"), { account: "ACME-1", amount: 100 }))
      const row = yield* due
      yield* tape.claimEffectDispatch({ ...keyOf(row), claimer: "d" })
      yield* tape.recordDispatchAttempt({ ...keyOf(row), error: "ack lost", nextDispatchAtMs: 0n })
      yield* TestClock.adjust("1 minute")
      assert.isTrue(Option.isNone(yield* Fiber.poll(fiber)))
      yield* tape.recordExternalObservation({
        ...keyOf(row),
        resolution: EffectResolution.CONFIRMED,
        responseJson: answer
      })
      assert.strictEqual(yield* Fiber.join(fiber), "W-1")
    }).pipe(Effect.provide(Tape))
  )

  it.effect("fails with the declared error, or with EffectFailed", () =>
    Effect.gen(function* () {
      const typed = yield* Effect.fork(Effect.flip(wiring.start(ids("1"), { account: "a", amount: 1 })))
      yield* complete(yield* due, EffectStatus.FAILED, { errorJson: '{"_tag":"Refused","why":"closed"}' })
      const refused = yield* Fiber.join(typed)
      assert.isTrue(refused instanceof Refused && refused.why === "closed")

      const untyped = yield* Effect.fork(Effect.flip(wiring.start(ids("2"), { account: "b", amount: 2 })))
      yield* complete(yield* due, EffectStatus.FAILED, { errorJson: '{"final":true,"attempts":5,"last":"503"}' })
      const failed = yield* Fiber.join(untyped)
      assert.instanceOf(failed, Durable.EffectFailed)
      assert.include(failed.message, "503")
      assert.deepStrictEqual(yield* Effect.flip(wiring.start(ids("2"), { account: "b", amount: 2 })), failed)
    }).pipe(Effect.provide(Tape))
  )

  it.effect("survives its process, and is recorded once", () =>
    Effect.gen(function* () {
      const input = { account: "ACME-1", amount: 100 }
      yield* killedAt(
        { rpc: "beginEffect", at: "after", matching: (request) => Reflect.get(request, "toolName") === "wire_money" },
        wiring.start(ids("i"), input)
      )
      const row = yield* due
      yield* complete(row, EffectStatus.CONFIRMED, { responseJson: answer })
      yield* leaseRunsOut
      assert.strictEqual(yield* wiring.start(ids("i"), input), "W-1")
      const { effects } = yield* Effect.flatMap(TapeClient, (tape) => tape.listEffectsToDispatch({}))
      assert.deepStrictEqual(effects, [])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("with the business key of another run gets that run's effect", () =>
    Effect.gen(function* () {
      const input = { account: "ACME-1", amount: 100 }
      const first = yield* Effect.fork(wiring.start(ids("1"), input))
      const row = yield* due
      const second = yield* Effect.fork(wiring.start(ids("2"), input))
      yield* Effect.yieldNow()
      yield* complete(row, EffectStatus.CONFIRMED, { responseJson: answer })
      assert.deepStrictEqual(yield* Fiber.join(Fiber.zip(first, second)), ["W-1", "W-1"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("gives up waiting after waitTimeout; Pending.await waits for itself", () =>
    Effect.gen(function* () {
      const Impatient = tool("impatient", {
        connector: "slack",
        semantics: "idempotent",
        input: Schema.Struct({}),
        output: Schema.String,
        waitForResult: true,
        waitTimeout: "3 seconds"
      })
      const app = Durable.app("waiting", {
        input: Schema.Void,
        tools: [Impatient, Notify],
        *run() {
          const error = yield* Effect.flip(Impatient({}))
          const pending = yield* Notify({ text: "x" })
          return [error._tag, yield* pending.await]
        }
      })
      const fiber = yield* Effect.fork(app.start(ids("i"), undefined))
      yield* due
      let row = yield* due
      while (row.toolName !== "notify") {
        yield* TestClock.adjust("1 second")
        const { effects } = yield* Effect.flatMap(TapeClient, (tape) =>
          tape.listEffectsToDispatch({ connector: "slack" })
        )
        row = effects.find((effect) => effect.toolName === "notify") ?? row
      }
      // An answer that is no object stands under `value`.
      yield* complete(row, EffectStatus.CONFIRMED, { responseJson: '{"external_ref":"n-1","value":"sent"}' })
      assert.deepStrictEqual(yield* Fiber.join(fiber), ["EffectUnknown", "sent"])
    }).pipe(Effect.provide(Tape))
  )

  it.effect("asks for a scope that the run must have; one that it has not ends the run", () =>
    Effect.gen(function* () {
      const Scoped = tool("scoped", {
        connector: "bank.wire",
        semantics: "non_idempotent",
        input: Wire,
        output: Wired,
        statusCheck: () => Effect.succeed(Option.none()),
        scope: "wires:send"
      })
      const app = Durable.app("scopes", {
        input: Wire,
        output: Schema.String,
        tools: [Scoped],
        run: (wire) => Effect.map(Scoped(wire), (pending) => pending.idempotencyKey)
      })
      const wire = { account: "a", amount: 1 }
      const denied = yield* Effect.flip(app.start({ ...ids("1"), scopes: ["wires:read"] }, wire))
      assert.instanceOf(denied, Durable.ScopeDenied)
      assert.include(denied.message, "wires:send")
      assert.strictEqual((yield* firstRun).status, RunStatus.FAILED)
      const key = yield* app.start({ ...ids("2"), scopes: ["wires:send"] }, wire)
      assert.include(key, "scoped")
      assert.strictEqual((yield* due).scope, "wires:send")
    }).pipe(Effect.provide(Tape))
  )
})

describe("an envelope", () => {
  it.effect("OUT-20 · is the intent in plain JSON, and is recognised", () =>
    Effect.gen(function* () {
      const envelope = yield* WireMoney.envelope({ account: "ACME-1", amount: 100 })
      assert.deepStrictEqual(envelope, {
        __outbox__: true,
        connector: "bank.wire",
        tool: "wire_money",
        semantics: "non_idempotent",
        wait_for_result: true,
        human_gate: false,
        payload: { account: "ACME-1", amount: 100 },
        business_key: "ACME-1:100"
      })
      const { wait_for_result } = yield* PendingWire.envelope({ account: "ACME-1", amount: 100 })
      assert.isFalse(wait_for_result)
      assert.isTrue(isEnvelope(envelope))
      assert.isFalse(isEnvelope({ wireId: "W-1" }))
      assert.isFalse(isEnvelope({ __outbox__: "true" }))
      assert.isFalse(isEnvelope(null))
    })
  )

  it.effect("is refused for an empty business key", () =>
    Effect.gen(function* () {
      const Empty = tool("empty", {
        connector: "bank.wire",
        semantics: "non_idempotent",
        input: Wire,
        output: Wired,
        businessKey: () => ""
      })
      assert.include((yield* Effect.flip(Empty.envelope({ account: "a", amount: 1 }))).message, "empty text")
    })
  )
})

describe("a definition", () => {
  const refusal = (make: () => unknown): string => {
    try {
      make()
      return "nothing"
    } catch (error) {
      assert.instanceOf(error, Durable.ToolMisconfigured)
      return error.message
    }
  }
  const base = { connector: "bank.wire", input: Wire, output: Wired } as const

  it("OUT-19 · without a safety net is refused, also where the compiler cannot see it", () => {
    const none: undefined = undefined
    assert.include(
      refusal(() => tool("t", { ...base, semantics: "non_idempotent", businessKey: none })),
      "needs a safety net"
    )
    const nets = [
      () => tool("t", { ...base, semantics: "non_idempotent", businessKey: () => "k" }),
      () => tool("t", { ...base, semantics: "non_idempotent", statusCheck: () => Effect.succeed(Option.none()) }),
      () => tool("t", { ...base, semantics: "non_idempotent", compensate: () => Effect.void }),
      () => tool("t", { ...base, semantics: "non_idempotent", humanGate: true })
    ]
    assert.deepStrictEqual(nets.map(refusal), ["nothing", "nothing", "nothing", "nothing"])
  })

  it("OUT-19 · of an inline tool has no business key and no connector, and is never non-idempotent", () => {
    const inline = { input: Wire, output: Wired, run: () => Effect.succeed({ wireId: "W-1" }) }
    // A program without types can say anything.
    const untyped = (more: object) => refusal(() => Durable.tool("t", { ...inline, ...more } as typeof inline))
    assert.strictEqual(untyped({}), "nothing")
    assert.include(untyped({ businessKey: () => "k" }), "businessKey is an option of Outbox.tool")
    assert.include(untyped({ connector: "bank.wire" }), "connector is an option of Outbox.tool")
    assert.include(untyped({ semantics: "non_idempotent" }), 'unknown semantics "non_idempotent"')
  })

  it("OUT-19 · needs a name, a connector, known semantics and an object to send", () => {
    assert.include(
      refusal(() => tool("", { ...base, semantics: "idempotent" })),
      "needs a name"
    )
    assert.include(
      refusal(() => tool("t", { ...base, connector: "", semantics: "idempotent" })),
      "needs a connector"
    )
    assert.include(
      // A program without types can say anything.
      refusal(() => tool("t", { ...base, semantics: "sometimes" as "idempotent" })),
      'unknown semantics "sometimes"'
    )
    assert.include(
      refusal(() => tool("t", { ...base, semantics: "idempotent", input: Schema.String })),
      "must encode to a JSON object"
    )
    assert.include(
      refusal(() => tool("t", { ...base, semantics: "idempotent", output: Schema.DateFromSelf })),
      "its output cannot be journaled"
    )
  })

  it("tells the dispatcher what it needs", () => {
    assert.strictEqual(WireMoney.name, "wire_money")
    assert.strictEqual(WireMoney.connector, "bank.wire")
    assert.strictEqual(WireMoney.compensation, undefined)
    assert.strictEqual(WireMoney.statusCheck, undefined)
  })
})
