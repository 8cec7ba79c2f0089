/** Subjects, their encoding, the pattern grammar, and the text of payloads. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type EventEntry, RunStatus } from "effect-tape/proto"
import type { TapeError } from "./Expect.js"
import { refused, type Unmet } from "./Expect.js"
import { collect, seen, type World } from "./Fixtures.js"
import { type Scenario, scenario } from "./Scenario.js"

/** What the pattern delivers of the run: up to the last subject that it must, or, when there is none, in a moment. */
const delivered = (
  w: World,
  subjectPattern: string,
  fromGlobalSeq: bigint,
  runId: string,
  last: string | undefined
): Effect.Effect<Iterable<EventEntry>, TapeError | Unmet> => {
  const stream = w.tape
    .subscribeBySubject({ subjectPattern, fromGlobalSeq })
    .pipe(Stream.filter((entry) => entry.runId === runId))
  return last === undefined
    ? Stream.runCollect(Stream.interruptAfter(stream, "150 millis"))
    : collect(stream, (entry) => entry.subject === last)
}

export const subjects: ReadonlyArray<Scenario> = [
  scenario("EVT-04", "P0", "the pattern grammar", function* (w) {
    const from = yield* w.position
    const R = yield* w.run("a")
    yield* w.decide(R, 0)
    yield* w.decide(R, 1)
    yield* w.confirm(R, (yield* w.effect(R, 0, "sweep", 0)).idempotencyKey)
    yield* w.tape.awaitSignal({ runId: R, gateName: "g1" })
    yield* w.tape.sendSignal({ runId: R, gateName: "g1" })
    yield* w.endRun(R, RunStatus.FAILED)
    const began = `/tape/run/running/${w.app}/u/s-a/${R}`
    const [d0, d1] = [`/tape/decision/recorded/${R}/0`, `/tape/decision/recorded/${R}/1`]
    const [pending, confirmed] = [`/tape/effect/pending/sweep/${R}`, `/tape/effect/confirmed/sweep/${R}`]
    const [waiting, released] = [`/tape/gate/waiting/g1/${R}`, `/tape/gate/released/g1/${R}`]
    const failed = `/tape/run/failed/${w.app}/u/s-a/${R}`
    const all = [began, d0, d1, pending, confirmed, waiting, released, failed]
    const table: ReadonlyArray<readonly [pattern: string, matches: ReadonlyArray<string>]> = [
      ["", all],
      ["**", all],
      ["/**", all],
      ["/tape/**", all],
      ["tape/**", []],
      ["/tape/gate/**", [waiting, released]],
      ["/tape/gate/*", []],
      ["/tape/gate/*/*/*", [waiting, released]],
      ["/tape/*/failed/**", [failed]],
      ["/tape/effect/confirmed/sweep/*", [confirmed]],
      ["/tape/effect/confirmed/*", []],
      ["/tape/effect/confirmed/swee*/**", []],
      ["/tape/effect/**", [pending, confirmed]],
      ["/tape/effect", []],
      ["/tape/effect/", []],
      ["/tape/decision/recorded/*/0", [d0]],
      [`${d0}/**`, [d0]],
      [`${d0}/`, []],
      [d0, [d0]],
      [d0.toUpperCase(), []],
      [`/tape/run/*/${w.app}/*/*/*`, [began, failed]],
      [`/*/run/failed/${w.app}/**`, [failed]],
      ["/tape/run/failed/%/**", []]
    ]
    const results = yield* Effect.forEach(
      table,
      ([pattern, matches]) => delivered(w, pattern, from, R, matches.at(-1)),
      { concurrency: "unbounded" }
    )
    for (const [nth, [pattern, matches]] of table.entries()) {
      const subjects = Array.from(results[nth] ?? [], (entry) => entry.subject)
      assert.deepEqual(subjects, matches, `pattern ${pattern}`)
    }
    for (const pattern of ["/tape/**/x", "/tape/**/**", "**/"]) {
      yield* refused(Stream.runHead(w.tape.subscribeBySubject({ subjectPattern: pattern })), "InvalidRequest", "**")
    }
  }),

  scenario(
    "EVT-03-VALUES",
    "P0",
    "a pattern narrows the stream to one namespace, changes and deletions apart",
    function* (w) {
      const from = yield* w.position
      const [treasury, other] = [`treasury-${w.id}`, `other-${w.id}`]
      const write = (namespace: string, key: string) =>
        w.tape.writeValue({ namespace, key, valueJson: "1", ifVersion: -1n, writer: "w" })
      yield* write(treasury, "a")
      yield* write(other, "a")
      yield* w.tape.deleteValue({ namespace: treasury, key: "a" })
      yield* write(treasury, "last")
      const last = `/tape/value/changed/${treasury}/last`
      const changed = yield* w.bySubject(`/tape/value/changed/${treasury}/**`, from, (entry) => entry.subject === last)
      assert.deepEqual(
        changed.map((entry) => entry.subject),
        [`/tape/value/changed/${treasury}/a`, last]
      )
      const all = yield* w.bySubject(`/tape/value/*/${treasury}/*`, from, (entry) => entry.subject === last)
      assert.deepEqual(
        all.map((entry) => entry.subject),
        [`/tape/value/changed/${treasury}/a`, `/tape/value/deleted/${treasury}/a`, last]
      )
      assert.deepEqual(new Set(all.map((entry) => entry.runId)), new Set([""]))
      assert.equal(new Set(all.map((entry) => entry.seq)).size, 3, "(run_id, seq) is unique for them too")
    }
  ),

  scenario("RUL-SUBJECT-1", "P0", "the encoding of one dimension", function* (w) {
    const table = [
      ["a/b", "a%2Fb"],
      ["a b", "a%20b"],
      ["a*b", "a%2Ab"],
      ["50%", "50%25"],
      ["what?", "what%3F"],
      ["#1", "%231"],
      ["a\\b", "a%5Cb"],
      ["\t", "%09"],
      ["\u0001\u001f", "%01%1F"],
      ["\u007f", "%7F"],
      ["", "_"],
      ["_", "_"],
      ["a:b@c+d&e=f", "a:b@c+d&e=f"],
      ["~.-,;'\"<>|^`{}[]()!$", "~.-,;'\"<>|^`{}[]()!$"],
      ["é", "é"],
      ["日本", "日本"],
      ["𝒳 😀", "𝒳%20😀"],
      ["\u0085", "\u0085"]
    ] as const
    const runId = yield* w.run("a")
    for (const [nth, [tool, segment]] of table.entries()) {
      const { entries } = yield* w.journaledBy(runId, w.effect(runId, nth, tool, 0))
      assert.equal(entries[0]?.subject, `/tape/effect/pending/${segment}/${runId}`)
      assert.equal(entries[0]?.payload["tool"], tool)
    }
  }),

  scenario("RUL-SUBJECT-2", "P0", "every dimension is encoded, empty ones too", function* (w) {
    const odd = { appName: `${w.app} é/1`, userId: "", sessionId: "s*", invocationId: "" }
    const runId = yield* w.run("a", odd)
    const [entry] = yield* w.journal(runId)
    assert.equal(entry?.subject, `/tape/run/running/${w.app}%20é%2F1/_/s%2A/${runId}`)
    yield* w.endRun(runId, RunStatus.TERMINAL)
    const pattern = `/tape/run/*/${w.app}%20é%2F1/_/*/*`
    const entries = yield* w.bySubject(pattern, 0n, (entry) => entry.subject.startsWith("/tape/run/terminal/"))
    assert.equal(entries.length, 2)
  }),

  scenario("RUL-SUBJECT-3", "P0", "a pattern with non-ASCII text delivers", function* (w) {
    const runId = yield* w.run("a")
    const tool = `überweisung-日本-${w.id}`
    yield* w.effect(runId, 0, tool, 0)
    yield* w.confirm(runId, (yield* w.effect(runId, 1, tool, 0)).idempotencyKey)
    const entries = yield* w.bySubject(`/tape/effect/*/${tool}/**`, 0n, (entry) =>
      entry.subject.startsWith("/tape/effect/confirmed/")
    )
    assert.deepEqual(
      entries.map((entry) => entry.subject),
      ["pending", "pending", "confirmed"].map((verb) => `/tape/effect/${verb}/${tool}/${runId}`)
    )
  }),

  scenario(
    "RUL-PAYLOAD-1",
    "P1",
    "payloads are compact JSON, keys in order, texts and 64-bit numbers exact",
    function* (w) {
      const runId = yield* w.run("a")
      const big = 9_007_199_254_740_993n
      yield* w.tape.recordDecision({ runId, decisionIndex: big, model: 'é "q" \\ \n ', rationale: "\u0001" })
      const { seq } = yield* w.register(runId, "k", "undo")
      yield* w.attemptObligation(runId, seq, "e", big)
      const entries = (yield* w.journal(runId)).map(seen)
      for (const { text } of entries) {
        const keys = [...text.matchAll(/[{,]"((?:[^"\\]|\\.)*)":/g)].map((match) => match[1] ?? "")
        assert.deepEqual(keys, keys.toSorted(), text)
        assert.doesNotMatch(text, /[:,] /)
      }
      const [, decision] = entries
      assert.equal(decision?.payload["model"], 'é "q" \\ \n ')
      assert.equal(decision?.payload["rationale"], "\u0001")
      assert.ok(decision?.text.includes(`"decision_index":${big},`), decision?.text)
      assert.equal(decision?.subject, `/tape/decision/recorded/${runId}/${big}`)
      assert.ok(entries.at(-1)?.text.includes(`"next_attempt_at_ms":${big},`), entries.at(-1)?.text)
      const [found] = yield* w.bySubject(`/tape/decision/recorded/${runId}/${big}`, 0n, () => true)
      assert.equal(found?.runId, runId)
    }
  )
]
