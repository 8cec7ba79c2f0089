/** Runs that die, and the reactors that take them up. */
import { assert } from "@effect/vitest"
import { Effect, Option, Schedule, Schema } from "effect"
import { Durable, Reactors, TapeClient } from "effect-tape"
import { EffectStatus, RunStatus } from "effect-tape/proto"
import { eventually } from "../../conformance/Expect.js"
import { dedupingBank, ids, keyed, killedAt } from "../../Durable.fixtures.js"
import { overdue, runOf, type Scenario, tags } from "./Ways.js"

const short = Durable.layerSettings({ leaseTtl: "300 millis" })

/** An app of two tools at a counterparty that deduplicates. */
const booking = <const Name extends string>(name: Name) => {
  const bank = dedupingBank()
  const tool = <const Tool extends string>(tool: Tool) =>
    Durable.tool(tool, {
      input: Schema.String,
      output: Schema.String,
      run: (what, call) => bank.book(call.idempotencyKey, what)
    })
  const First = tool("first")
  const Second = tool("second")
  const app = Durable.app(name, {
    input: Schema.String,
    output: Schema.Array(Schema.String),
    tools: [First, Second],
    *run(what) {
      const plan = yield* Durable.decide({ model: "m", request: what, response: Schema.String }, Effect.succeed(what))
      return [yield* First(plan), yield* Second(plan)]
    }
  })
  return { app, bank }
}

/** The id of the only run of an app. */
const onlyRun = (app: string) =>
  Effect.flatMap(TapeClient, (tape) =>
    Effect.map(tape.listRunsToRecover({ nowMs: BigInt(Date.now() + 3_600_000), limit: 1000n }), ({ runs }) => {
      const run = runs.find(({ appName }) => appName === app)
      return run ?? assert.fail(`no run of ${app} is open`)
    })
  )

export const durable: ReadonlyArray<Scenario<TapeClient>> = [
  ...(["first", "second"] as const).map(
    (tool): Scenario<TapeClient> => ({
      title: `RUN-17, EFF-18: killed between ${tool}'s write and its record, taken up, each tool acted once`,
      run: Effect.gen(function* () {
        const tape = yield* TapeClient
        const { app, bank } = booking(`killed-at-${tool}`)
        const life = app.start(ids(tool), "truck")
        yield* killedAt({ rpc: "completeEffect", at: "before", matching: keyed(`/${tool}/0`) }, life)
        const run = yield* onlyRun(app.name)
        const { effect } = yield* tape.getEffect({
          runId: run.runId,
          idempotencyKey: `${run.runId}/decision-0/${tool}/0`
        })
        assert.strictEqual(effect?.status, EffectStatus.PENDING)
        yield* overdue(run)
        const reports = yield* Reactors.recoverOnce({ apps: [app] })
        assert.deepStrictEqual(tags(reports), ["finished"])
        assert.strictEqual(bank.rows.size, 2)
        assert.strictEqual((yield* tape.getRun({ runId: run.runId })).status, RunStatus.TERMINAL)
        const sent = bank.sent.length
        assert.deepStrictEqual(yield* app.start(ids(tool), "truck"), [...bank.rows.values()])
        assert.strictEqual(bank.sent.length, sent, "a finished run calls nobody")
      }).pipe(Effect.provide(short))
    })
  ),
  {
    title: "RUN-18: killed before any tool, taken up as a first run",
    run: Effect.gen(function* () {
      const { app, bank } = booking("killed-early")
      yield* killedAt({ rpc: "recordDecision", at: "before" }, app.start(ids("early"), "truck"))
      assert.lengthOf(bank.sent, 0)
      yield* overdue(yield* onlyRun(app.name))
      assert.deepStrictEqual(tags(yield* Reactors.recoverOnce({ apps: [app] })), ["finished"])
      assert.lengthOf(bank.sent, 2)
    }).pipe(Effect.provide(short))
  },
  {
    title: "EFF-17: a tool that is busy twice is run three times with one key",
    run: Effect.gen(function* () {
      const keys: Array<string> = []
      const Busy = Durable.tool("busy", {
        input: Schema.Void,
        output: Schema.String,
        error: Schema.String,
        retry: Schedule.recurs(3),
        run: (_, call) =>
          Effect.suspend(() => (keys.push(call.idempotencyKey) < 3 ? Effect.fail("busy") : Effect.succeed("done")))
      })
      const app = Durable.app("busy", { input: Schema.Void, tools: [Busy], run: () => Busy() })
      assert.strictEqual(yield* app.start(ids("busy"), undefined), "done")
      assert.lengthOf(keys, 3)
      assert.strictEqual(new Set(keys).size, 1)
    })
  },
  {
    title: "GATE-09, GATE-12: a timer opens a gate that nobody answers; the run goes on with a typed timeout",
    run: Effect.gen(function* () {
      const tape = yield* TapeClient
      const { runId } = yield* runOf("acc")
      yield* tape.awaitSignal({ runId, gateName: "cfo", payloadJson: "{}" })
      const payloadJson = JSON.stringify({ gate: "cfo", resolution: { approved: false } })
      yield* tape.setTimer({ runId, timerId: "g", kind: "gate_timeout", payloadJson, fireAtMs: 1n })
      const report = (yield* Reactors.timersOnce()).find((fired) => fired.runId === runId)
      assert.deepInclude(report, { _tag: "signalled", gate: "cfo", accepted: true })
      const { delivered, resolutionJson } = yield* tape.awaitSignal({ runId, gateName: "cfo", payloadJson: "{}" })
      assert.isTrue(delivered)
      assert.deepStrictEqual(JSON.parse(resolutionJson), { timed_out: true, approved: false })
      const { timers } = yield* tape.listDueTimers({ limit: 1000n })
      assert.notInclude(
        timers.map((timer) => timer.runId),
        runId
      )

      const app = Durable.app("asks-twice", {
        input: Schema.Void,
        output: Schema.String,
        *run() {
          const asked = (gate: string) => Durable.gate(gate, { resolution: Durable.Approval, timeout: "30 millis" })
          const first = yield* Effect.flip(asked("cfo"))
          const second = yield* Effect.flip(asked("ceo"))
          return [first, second].map(({ _tag, gate }) => `${_tag} ${gate}`).join(", ")
        }
      })
      assert.strictEqual(yield* app.start(ids("gates"), undefined), "GateTimedOut cfo, GateTimedOut ceo")
    })
  },
  {
    title: "TMR-08: timers redrive, settle and call; what fails is still there; the killed reactor's timer too",
    run: Effect.gen(function* () {
      const tape = yield* TapeClient
      const { app, bank } = booking("timed")
      yield* killedAt(
        { rpc: "completeEffect", at: "before", matching: keyed("/first/0") },
        app.start(ids("timed"), "truck")
      )
      const run = yield* onlyRun(app.name)
      const { runId } = yield* runOf("acc")
      const Check = Durable.tool("check", {
        input: Schema.String,
        output: Schema.String,
        run: Effect.succeed,
        statusCheck: () => Effect.succeed(Option.some("found"))
      })
      const { idempotencyKey: key } = yield* tape.beginEffect({ runId, toolName: "check", requestJson: '"x"' })
      yield* tape.completeEffect({ runId, idempotencyKey: key, status: EffectStatus.UNKNOWN })
      const set = (id: string, timerId: string, payload: unknown = {}) =>
        tape.setTimer({ runId: id, timerId, kind: timerId, payloadJson: JSON.stringify(payload), fireAtMs: 1n })
      yield* set(run.runId, "redrive")
      yield* set(runId, "reconcile", { key })
      yield* set(runId, "remind", { who: "cfo" })
      const called: Array<unknown> = []
      const pass = (onTimer: (timer: Reactors.DueTimer) => Effect.Effect<unknown, string>) =>
        Effect.map(Reactors.timersOnce({ apps: [app], tools: [Check], onTimer }), (fired) =>
          Object.fromEntries(fired.map(({ _tag, kind }) => [kind, _tag]))
        )
      yield* overdue(run)
      const killed = pass(() => Effect.succeed("done"))
      // Killed between the callback and its acknowledgement.
      yield* killedAt(
        { rpc: "cancelTimer", at: "before", matching: (asked) => Reflect.get(asked, "timerId") === "remind" },
        killed
      )
      assert.strictEqual((yield* pass(() => Effect.fail("no mail today")))["remind"], "failed")
      yield* pass(({ payload }) => Effect.sync(() => called.push(payload)))
      assert.deepStrictEqual(called, [{ who: "cfo" }])
      yield* eventually(
        "nothing is due",
        Effect.zipRight(
          pass(() => Effect.void),
          tape.listDueTimers({ limit: 1000n })
        ),
        ({ timers }) => timers.every((timer) => timer.runId !== run.runId && timer.runId !== runId)
      )
      assert.strictEqual((yield* tape.getRun({ runId: run.runId })).status, RunStatus.TERMINAL)
      assert.strictEqual(bank.rows.size, 2)
      assert.strictEqual((yield* tape.getEffect({ runId, idempotencyKey: key })).effect?.status, EffectStatus.CONFIRMED)
    }).pipe(Effect.provide(short))
  }
]
