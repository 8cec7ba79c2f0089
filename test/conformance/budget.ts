/** Section G: budgets. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import { RunStatus } from "effect-tape/proto"
import { refused } from "./Expect.js"
import type { World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

const cap = (w: World, runId: string, usdCap: number, tokenCap = 0n) => w.tape.setBudget({ runId, usdCap, tokenCap })
const charge = (w: World, runId: string, usd: number, tokens = 0n) => w.tape.chargeBudget({ runId, usd, tokens })
const admit = (w: World, runId: string, usdEstimate: number, tokenEstimate = 0n) =>
  w.tape.admitBudget({ runId, usdEstimate, tokenEstimate })
const admitted = (w: World, runId: string, usdEstimate: number, tokenEstimate = 0n) =>
  Effect.map(admit(w, runId, usdEstimate, tokenEstimate), (answer) => answer.admitted)

export const budget: ReadonlyArray<Scenario> = [
  scenario("BUD-01", "P0", "a run over its cap is refused, with the reason and the budget", function* (w) {
    const runId = yield* w.run("a")
    yield* cap(w, runId, 1.0)
    const first = yield* admit(w, runId, 0.5)
    assert.deepEqual([first.admitted, first.reason], [true, ""])
    assert.equal((yield* charge(w, runId, 0.9)).usdSpent, 0.9)
    const second = yield* admit(w, runId, 0.5)
    assert.equal(second.admitted, false)
    assert.notEqual(second.reason, "")
    assert.deepEqual([second.budget?.runId, second.budget?.usdCap, second.budget?.usdSpent], [runId, 1.0, 0.9])
  }),

  scenario("BUD-02", "P0", "no cap, zero and negative caps admit anything", function* (w) {
    const runId = yield* w.run("a")
    assert.equal(yield* admitted(w, runId, 1e9, 1_000_000n), true)
    for (const [usd, tokens] of [
      [0, 0n],
      [-1, -1n]
    ] as const) {
      const state = yield* cap(w, runId, usd, tokens)
      assert.deepEqual([state.usdCap, state.tokenCap], [usd, tokens])
      assert.equal(yield* admitted(w, runId, 1e9, 1_000_000n), true)
    }
  }),

  scenario("BUD-03", "P1", "exactly at the cap is admitted", function* (w) {
    const runId = yield* w.run("a")
    yield* cap(w, runId, 1.0, 10n)
    yield* charge(w, runId, 0.4, 4n)
    assert.equal(yield* admitted(w, runId, 0.6), true)
    assert.equal(yield* admitted(w, runId, 0.6000001), false)
    assert.equal(yield* admitted(w, runId, 0, 6n), true)
    assert.equal(yield* admitted(w, runId, 0, 7n), false)
  }),

  scenario("BUD-05", "P0", "100 parallel charges all count", function* (w) {
    const runId = yield* w.run("a")
    yield* w.race(100, () => charge(w, runId, 0.01, 7n))
    const { budget } = yield* admit(w, runId, 0)
    assert.ok(Math.abs((budget?.usdSpent ?? 0) - 1) < 1e-9)
    assert.equal(budget?.tokensSpent, 700n)
  }),

  scenario("BUD-09", "P2", "admission reserves nothing", function* (w) {
    const runId = yield* w.run("a")
    yield* cap(w, runId, 1.0)
    assert.deepEqual([yield* admitted(w, runId, 0.6), yield* admitted(w, runId, 0.6)], [true, true])
  }),

  scenario(
    "RUL-BUD-1",
    "P0",
    "the reason names the first cap passed, what was spent and what was asked",
    function* (w) {
      const runId = yield* w.run("a")
      yield* cap(w, runId, 1.5, 100n)
      yield* charge(w, runId, 1.25, 90n)
      const usd = yield* admit(w, runId, 0.5, 50n)
      for (const part of ["1.50", "1.25", "0.50"]) assert.ok(usd.reason.includes(part), usd.reason)
      const tokens = yield* admit(w, runId, 0.1, 50n)
      for (const part of ["100", "90", "50"]) assert.ok(tokens.reason.includes(part), tokens.reason)
      assert.deepEqual([usd.admitted, tokens.admitted], [false, false])
    }
  ),

  scenario("RUL-BUD-2", "P0", "new caps keep what was spent, and a charge may pass the cap", function* (w) {
    const runId = yield* w.run("a")
    const charged = yield* charge(w, runId, 5, 50n)
    assert.deepEqual([charged.usdCap, charged.tokenCap, charged.usdSpent, charged.tokensSpent], [0, 0n, 5, 50n])
    const capped = yield* cap(w, runId, 1, 10n)
    assert.deepEqual([capped.usdSpent, capped.tokensSpent], [5, 50n])
    assert.equal((yield* charge(w, runId, 1, 1n)).usdSpent, 6)
    assert.equal((yield* charge(w, runId, -2.5, -1n)).usdSpent, 3.5)
    assert.equal(yield* admitted(w, runId, 0), false)
  }),

  scenario("RUL-BUD-3", "P0", "a budget names a run that exists, except when it is only read", function* (w) {
    const runId = `no-such-run-${w.id}`
    yield* refused(cap(w, runId, 1), "NotFound")
    yield* refused(charge(w, runId, 1), "NotFound")
    const { admitted, budget, reason } = yield* admit(w, runId, 1e9, 1_000_000n)
    assert.deepEqual([admitted, reason], [true, ""])
    assert.deepEqual([budget?.usdCap, budget?.tokenCap, budget?.usdSpent, budget?.tokensSpent], [0, 0n, 0, 0n])
  }),

  scenario("RUL-BUD-4", "P1", "budgets journal nothing, and an ended run can still be charged", function* (w) {
    const runId = yield* w.run("a")
    yield* w.endRun(runId, RunStatus.TERMINAL)
    const { answer, entries } = yield* w.journaledBy(runId, charge(w, runId, 0.25, 1n))
    assert.deepEqual([answer.usdSpent, entries], [0.25, []])
  }),

  scenario("RUL-BUD-5", "P1", "money is IEEE doubles: 0.1 + 0.2 is over 0.3; tokens are 64-bit", function* (w) {
    const runId = yield* w.run("a")
    yield* cap(w, runId, 0.3, 9_007_199_254_740_993n)
    yield* charge(w, runId, 0.1, 9_007_199_254_740_992n)
    assert.equal(yield* admitted(w, runId, 0.2), false)
    assert.equal(yield* admitted(w, runId, 0.1, 1n), true)
    assert.equal(yield* admitted(w, runId, 0.1, 2n), false)
  })
]
