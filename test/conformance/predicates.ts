/** EVT-06: predicates over journal entries. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { refused, within } from "./Expect.js"
import { collect, record, type World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

/** A run with one decision per index, and what a predicate lets through of it up to the last that it must. */
const decisions = (w: World, count: number) =>
  Effect.gen(function* () {
    const from = yield* w.position
    const runId = yield* w.run("a")
    for (let index = 0; index < count; index++) yield* w.decide(runId, index, { model: `m${index}` })
    const selected = (predicateCel: string, last: number, fromGlobalSeq = from) =>
      Effect.map(
        collect(
          w.tape.subscribeBySubject({
            subjectPattern: `/tape/decision/recorded/${runId}/*`,
            predicateCel,
            fromGlobalSeq
          }),
          (entry) => entry.subject.endsWith(`/${last}`)
        ),
        (entries) => entries.map((entry) => Number(entry.subject.split("/").at(-1)))
      )
    return { runId, from, selected }
  })

export const predicates: ReadonlyArray<Scenario> = [
  scenario("EVT-06", "P1", "only entries for which the predicate is true arrive", function* (w) {
    const { runId, selected } = yield* decisions(w, 6)
    const journal = yield* w.journal(runId)
    const fourth = record(journal[4])
    const table: ReadonlyArray<readonly [predicate: string, ...expected: ReadonlyArray<number>]> = [
      ["", 0, 1, 2, 3, 4, 5],
      ["  \n ", 0, 1, 2, 3, 4, 5],
      ["true", 0, 1, 2, 3, 4, 5],
      ["payload.decision_index == 3", 3],
      ['payload.model == "m5"', 5],
      ["payload.decision_index >= 2 && payload.decision_index % 2 == 0", 2, 4],
      [`run_id == "${runId}" && kind == "decision" && schema_version == 1`, 0, 1, 2, 3, 4, 5],
      [`subject.endsWith("/2") || seq == 5`, 2, 3],
      [`seq > 4 && global_seq >= ${fourth.globalSeq}`, 3, 4, 5],
      [`ts_ms > 0 && ts_ms < ${fourth.tsMs + 1n} && seq == 5`, 3],
      ['trace_id == ""', 0, 1, 2, 3, 4, 5],
      ['["m1", "m4"].exists(m, m == payload.model)', 1, 4],
      ['payload.model.matches("^m[35]$")', 3, 5],
      ["has(payload.model) && !has(payload.missing) && size(payload.model) == 2", 0, 1, 2, 3, 4, 5],
      ["payload.decision_index == 4.0 || payload.decision_index == 1u", 1, 4]
    ]
    for (const [predicate, ...expected] of table) {
      assert.deepEqual(yield* selected(predicate, record(expected.at(-1))), expected, predicate)
    }
  }),

  scenario("EVT-06-ERRORS", "P1", "entries on which evaluation fails are skipped, the stream goes on", function* (w) {
    const { selected } = yield* decisions(w, 6)
    const table: ReadonlyArray<readonly [predicate: string, ...expected: ReadonlyArray<number>]> = [
      ["payload.decision_index == 1 ? payload.missing == 1 : true", 0, 2, 3, 4, 5],
      ["10 / (payload.decision_index - 2) > 0", 3, 4, 5],
      ["payload.decision_index > 3 ? true : payload.model", 4, 5],
      ["payload.decision_index < 5 ? unknown_variable : true", 5]
    ]
    for (const [predicate, ...expected] of table) {
      const outcome = yield* Effect.either(selected(predicate, record(expected.at(-1))))
      // a name that nothing has may be found out when it is compiled, too
      if (outcome._tag === "Left" && predicate.includes("unknown_variable")) {
        assert.equal(outcome.left._tag, "InvalidRequest")
      } else {
        assert.deepEqual(outcome._tag === "Right" ? outcome.right : outcome.left, expected, predicate)
      }
    }
  }),

  scenario("RUL-CEL-1", "P0", "what does not parse is refused, on a stream and in a reaction", function* (w) {
    for (const predicateCel of ["seq >", "1 +* 2", "payload.", '"open', "a b", ")", "f(", "[1,", "seq = 1"]) {
      yield* refused(
        Stream.runHead(w.tape.subscribeBySubject({ subjectPattern: "/x", predicateCel })),
        "InvalidRequest"
      )
      yield* refused(
        w.tape.registerReaction({ subjectPattern: `/${w.id}`, handlerKind: 2, predicateCel }),
        "InvalidRequest"
      )
    }
    assert.deepEqual((yield* w.tape.listReactions({ subjectPattern: `/${w.id}` })).reactions, [])
  }),

  scenario("RUL-CEL-2", "P0", "64-bit integers are compared exactly", function* (w) {
    const runId = yield* w.run("a")
    const big = 9_007_199_254_740_993n
    yield* w.decide(runId, 0)
    yield* w.tape.recordDecision({ runId, decisionIndex: big - 1n })
    yield* w.tape.recordDecision({ runId, decisionIndex: big })
    const entries = yield* collect(
      w.tape.subscribeBySubject({
        subjectPattern: `/tape/decision/recorded/${runId}/*`,
        predicateCel: `payload.decision_index == ${big}`
      }),
      () => true
    )
    assert.equal(entries[0]?.subject, `/tape/decision/recorded/${runId}/${big}`)
  }),

  scenario("RUL-CEL-3", "P0", "hostile predicates neither stall nor break the server", function* (w) {
    const { from, runId } = yield* decisions(w, 20)
    yield* w.decide(runId, 99, { rationale: "a".repeat(50_000) })
    const hostile = [
      `${"(".repeat(20_000)}1${")".repeat(20_000)} == 1`,
      `${"!".repeat(50_000)}true`,
      `1${" + 1".repeat(100_000)} > 0`,
      `${"[".repeat(5_000)}${"]".repeat(5_000)} == []`,
      `"x" == "${"y".repeat(1_000_000)}"`,
      'payload.rationale.matches("^(a+)+$")',
      'payload.rationale.matches("^(a|a)*b$")',
      'payload.rationale.matches("(.*)*(.*)*(.*)*x")',
      `[1,2,3,4,5,6,7,8,9,10].all(a, ${"[1,2,3,4,5,6,7,8,9,10].all(b, ".repeat(9)}a > 0${")".repeat(10)}`,
      `${"payload.rationale + ".repeat(400)}"" == ""`,
      'payload.rationale.matches("[")',
      "payload"
    ]
    for (const predicateCel of hostile) {
      const stream = w.tape.subscribeBySubject({
        subjectPattern: "/tape/decision/**",
        predicateCel,
        fromGlobalSeq: from
      })
      const reading = yield* Effect.forkScoped(Effect.either(Stream.runDrain(stream)))
      for (let n = 0; n < 3; n++) yield* within("the server answers", w.getRun(runId), "3 seconds")
      yield* Effect.sleep("20 millis")
      yield* within("the server answers", w.decide(runId, 1), "3 seconds")
      const ended = reading.unsafePoll()
      if (ended !== null && ended._tag === "Success" && ended.value._tag === "Left") {
        assert.ok(["InvalidRequest", "ResourceExhausted"].includes(ended.value.left._tag), ended.value.left.message)
      }
      yield* reading.interruptAsFork(reading.id())
    }
  })
]
