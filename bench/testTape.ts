/**
 * What a test of two days at a gate costs, against Effect's own `TestClock.adjust` with nobody asleep, round by round in
 * one run: `npx vite-node --config vitest.config.ts bench/testTape.ts`. The first round is cold, the others are warm.
 */
import { performance } from "node:perf_hooks"
import { Effect, Exit, Layer, Logger, Schema, Scope, TestClock, TestContext } from "effect"
import { Durable, Outbox } from "effect-tape"
import { TestConnector, TestTape } from "effect-tape/testing"

const rounds = Number(process.env["TAPE_BENCH_ROUNDS"] ?? 60)

const Wire = Schema.Struct({ wireId: Schema.String })

const WireMoney = Outbox.tool("wire_money", {
  connector: "bank.wire",
  semantics: "non_idempotent",
  input: Schema.Struct({ account: Schema.String }),
  output: Wire,
  businessKey: ({ account }) => account,
  waitForResult: true
})

const Settle = Durable.app("treasury", {
  input: Schema.String,
  output: Wire,
  tools: [WireMoney],
  *run(account) {
    yield* Durable.sleep("49 hours")
    return yield* WireMoney({ account })
  }
})

const ids = { user: "u", session: "s", invocation: "i" }
const tape = TestTape.layer({ connectors: { "bank.wire": TestConnector.confirms(({ id }) => ({ wireId: id })) } })

/** The times of a round, in milliseconds. */
const times = new Map<string, Array<number>>()

const timed = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.tap(effect, () =>
      Effect.sync(() => times.set(name, [...(times.get(name) ?? []), performance.now() - start]))
    )
  })

const test = (where: string) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const context = yield* timed(`${where}: opening`, Layer.buildWithScope(tape, scope))
    yield* Effect.gen(function* () {
      const fiber = yield* Effect.fork(Settle.start(ids, "ACME"))
      yield* timed(`${where}: to the gate`, TestTape.awaitGate("sleep/0"))
      yield* timed(`${where}: adjust("2 days") at the gate`, TestClock.adjust("2 days"))
      const rest = Effect.zipRight(TestClock.adjust("1 hour"), fiber)
      yield* timed(`${where}: the gate's time, and to the end`, rest)
      yield* TestTape.exactlyOnce("bank.wire")
    }).pipe(Effect.provide(context), Effect.scoped)
    yield* timed(`${where}: closing`, Scope.close(scope, Exit.void))
  })

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? 0

const alone = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.runPromise(Effect.provide(effect, Logger.remove(Logger.defaultLogger)))

for (let round = 0; round <= rounds; round++) {
  await alone(timed("empty adjust", TestClock.adjust("2 days")).pipe(Effect.provide(TestContext.TestContext)))
  // The tape's clock alone, and with the test's own beside it.
  await alone(timed("it.live: whole", test("it.live")))
  await alone(timed("it.effect: whole", test("it.effect")).pipe(Effect.provide(TestContext.TestContext)))
}
const empty = median(times.get("empty adjust") ?? [])
for (const [name, all] of times) {
  const warm = median(all.slice(1))
  console.log(
    `${name.padEnd(42)} cold ${(all[0] ?? 0).toFixed(1).padStart(6)} ms  warm ${warm.toFixed(2).padStart(6)} ms  ` +
      `${(warm / empty).toFixed(2).padStart(6)} of an empty adjust`
  )
}
