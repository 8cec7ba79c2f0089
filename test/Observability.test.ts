/** Spans and metrics; trace context and log lines have files of their own. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Metric, Option, TestClock } from "effect"
import { Client, Handlers, Observability, Reactors, TapeClient } from "effect-tape"
import { EffectDispatchMode, EffectStatus, ObligationStatus, RunStatus } from "effect-tape/proto"
import { fakeTape } from "./client/fake.js"
import { Tape, until } from "./Durable.fixtures.js"
import { bank, collecting, doubtful, endOf, life, trips } from "./Observability.fixtures.js"

const refused = Handlers.Refusal.unimplemented("not here")

const sent = bank(Effect.succeed({ _tag: "confirmed" }))

describe("spans", () => {
  it("TEN-04: are eleven", () => {
    assert.deepStrictEqual(
      [...Observability.spanNames],
      [
        "begin_run",
        "resume_run",
        "record_decision",
        "begin_effect",
        "complete_effect",
        "reconcile_effect",
        "dispatch_effect",
        "compensate",
        "redrive",
        "await_signal",
        "send_signal"
      ].map((name) => `tape.${name}`)
    )
  })

  it.effect("TEN-04: each begins and ends in a run's life, and says what it is about", () => {
    const { layer, named, spans } = collecting()
    return Effect.gen(function* () {
      const world = trips({ undo: Effect.void })
      const { recovered, runId } = yield* life(world, { paid: false })
      assert.deepStrictEqual(recovered, [{ _tag: "failed", runId, app: "trips", error: "not paid" }])
      yield* doubtful("doubt")
      yield* Reactors.reconcileOnce({ tools: [world.Book] })

      for (const name of Observability.spanNames) {
        assert.isAbove(named(name).length, 0, name)
        for (const span of named(name)) {
          assert.strictEqual(span.kind, "client")
          assert.match(endOf(span), name === "tape.redrive" ? /not paid/ : /^well$/, name)
        }
      }
      const about = (name: string) => Object.fromEntries(named(name)[0]?.attributes ?? [])
      const key = `${runId}/decision-0/wire_money/0`
      assert.deepInclude(about("tape.begin_run"), {
        "tape.app_name": "trips",
        "tape.run_id": runId,
        "tape.resumed": false
      })
      assert.include(about("tape.record_decision"), {
        "tape.run_id": runId,
        "tape.decision_index": 0,
        "tape.model": "m"
      })
      assert.deepStrictEqual(about("tape.dispatch_effect"), {
        "tape.run_id": runId,
        "tape.effect_key": key,
        "tape.connector": "bank.wire",
        "tape.tool": "wire_money"
      })
      assert.include(about("tape.compensate"), { "tape.run_id": runId })
      assert.include(about("tape.await_signal"), { "tape.gate": "ok", "tape.delivered": false })
      assert.isTrue(named("tape.begin_effect").some(({ attributes }) => attributes.get("tape.effect_key") === key))
      // What polls and lists has no span.
      assert.deepStrictEqual(
        [...new Set(spans.map(({ name }) => name))].filter((name) => name.startsWith("tape.reactors.")).toSorted(),
        ["tape.reactors.reconcile", "tape.reactors.recover"]
      )
      assert.isUndefined(spans.find(({ name }) => /list|claim|get/i.test(name)))
    }).pipe(Effect.provide([Tape, sent, layer]))
  })

  it.effect("TEN-04: a hook sees begin and end of each, with the error of those that failed", () => {
    const log: Array<string> = []
    const hook: Observability.SpanHook = (name) => {
      log.push(`${name} begins`)
      return (error) => log.push(`${name} ends${error instanceof Error ? `: ${error.message}` : ""}`)
    }
    return Effect.gen(function* () {
      const refusing = Client.fromHandlers(fakeTape({}))
      const calls = {
        begin_run: refusing.beginRun({}),
        resume_run: refusing.resumeRun({}),
        record_decision: refusing.recordDecision({}),
        begin_effect: refusing.beginEffect({}),
        complete_effect: refusing.completeEffect({}),
        reconcile_effect: refusing.reconcileEffect({}),
        await_signal: refusing.awaitSignal({}),
        send_signal: refusing.sendSignal({})
      }
      for (const [name, call] of Object.entries(calls)) {
        log.length = 0
        const error = yield* Effect.flip<unknown, { readonly message: string }, never>(call)
        assert.deepStrictEqual(log, [`tape.${name} begins`, `tape.${name} ends: ${error.message}`])
      }
      log.length = 0
      const fiber = yield* Effect.fork(life(trips({ undo: Effect.fail("the truck left") }), { paid: false }))
      const undone = Effect.sync(() => log.some((line) => line.startsWith("tape.compensate ends")))
      yield* until(Effect.map(undone, (is) => (is ? Option.some(is) : Option.none())))
      yield* Fiber.interrupt(fiber)
      assert.include(log, "tape.dispatch_effect ends: no funds")
    }).pipe(
      Effect.provide([
        Tape,
        bank(Effect.succeed({ _tag: "failed", error: "no funds", final: true })),
        Observability.onSpan(hook)
      ])
    )
  })

  it.effect("a hook that throws breaks nothing", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      assert.notStrictEqual((yield* tape.beginRun({ appName: "a", invocationId: "i" })).runId, "")
    }).pipe(
      Effect.provide([
        Tape,
        Observability.onSpan(() => {
          throw new Error("no")
        })
      ])
    )
  )

  it.effect("are not opened when nobody traces, or when tracing is switched off", () => {
    const seen: Array<string | undefined> = []
    const { layer, spans } = collecting()
    const tape = Client.fromHandlers(
      fakeTape({
        beginRun: () =>
          Effect.flatMap(Effect.option(Effect.currentSpan), (span) => {
            seen.push(Option.getOrUndefined(span)?.name)
            return refused
          })
      })
    )
    const call = Effect.ignore(tape.beginRun({}))
    return Effect.gen(function* () {
      yield* call
      assert.deepStrictEqual(seen, [undefined])
      yield* Effect.provide(Effect.withTracerEnabled(call, false), layer)
      assert.deepStrictEqual(spans, [])
      yield* Effect.provide(call, layer)
      assert.deepStrictEqual(
        spans.map(({ name }) => name),
        ["tape.begin_run"]
      )
    })
  })
})

const gauge = (metric: Metric.Metric.Gauge<number>) => Effect.map(Metric.value(metric), ({ value }) => value)
const count = (metric: Metric.Metric.Counter<number>, tags: { readonly [key: string]: string }) =>
  Effect.map(
    Metric.value(Object.entries(tags).reduce((tagged, [key, value]) => Metric.tagged(tagged, key, value), metric)),
    (state) => state.count
  )

describe("metrics", () => {
  it.effect("tell what a tape's runs, effects and obligations have come to", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const { metrics } = Observability
      const dispatched = { outcome: "confirmed", connector: "bank.wire" }
      const before = yield* Effect.all([
        count(metrics.dispatched, dispatched),
        count(metrics.recovered, { outcome: "finished" }),
        count(metrics.ticks, { reactor: "recover", outcome: "done" })
      ])
      yield* life(trips({ undo: Effect.void }), { paid: true })
      const after = yield* Effect.all([
        count(metrics.dispatched, dispatched),
        count(metrics.recovered, { outcome: "finished" }),
        count(metrics.ticks, { reactor: "recover", outcome: "done" })
      ])
      assert.deepStrictEqual(
        after.map((value, index) => value - (before[index] ?? 0)),
        [1, 1, 1]
      )

      const runId = yield* doubtful("one")
      yield* doubtful("two")
      yield* tape.registerCompensation({ runId, effectKey: "e", kind: "k" })
      const { seq } = yield* tape.registerCompensation({ runId, effectKey: "f", kind: "k" })
      yield* tape.resolveObligation({ runId, obligationSeq: seq, status: ObligationStatus.STUCK })
      const { runId: over } = yield* tape.beginRun({ appName: "over", invocationId: "i" })
      yield* tape.endRun({ runId: over, status: RunStatus.STUCK })
      yield* tape.beginEffect({
        runId,
        toolName: "t",
        callIndex: 7,
        dispatchMode: EffectDispatchMode.OUTBOX,
        connector: "nobody"
      })
      yield* TestClock.adjust("3 seconds")

      const sampled = Effect.all({
        running: gauge(metrics.runsRunning),
        stuck: gauge(metrics.runsStuck),
        unknown: gauge(metrics.effectsUnknown),
        pending: gauge(Metric.tagged(metrics.obligationsUnresolved, "state", "pending")),
        failed: gauge(Metric.tagged(metrics.obligationsUnresolved, "state", "stuck"))
      })
      yield* Layer.build(Observability.layerGauges({ interval: "10 seconds" }))
      const settled = (expected: Effect.Effect.Success<typeof sampled>) =>
        until(
          Effect.map(sampled, (now) =>
            JSON.stringify(now) === JSON.stringify(expected) ? Option.some(now) : Option.none()
          )
        )
      // Of the trip one compensation is registered, and never owed: it was paid.
      yield* settled({ running: 2, stuck: 1, unknown: 2, pending: 2, failed: 1 })
      assert.isAtLeast(yield* gauge(metrics.outboxLag), 0)

      const { effects } = yield* tape.listPendingEffects({ includeUnknown: true })
      yield* Effect.forEach(effects, ({ idempotencyKey, runId }) =>
        tape.reconcileEffect({ runId, idempotencyKey, resolvedStatus: EffectStatus.CONFIRMED })
      )
      yield* tape.endRun({ runId, status: RunStatus.TERMINAL })
      yield* TestClock.adjust("10 seconds")
      yield* settled({ running: 1, stuck: 1, unknown: 0, pending: 2, failed: 1 })
    }).pipe(Effect.scoped, Effect.provide([Tape, sent]))
  )
})
