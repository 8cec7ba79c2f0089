/** Section J: the journal's streams. */
import * as assert from "node:assert/strict"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type EventEntry, RunStatus } from "effect-tape/proto"
import type { TapeError } from "./Expect.js"
import { refused, within } from "./Expect.js"
import { collect, record, type World } from "./Fixtures.js"
import { open } from "./Open.js"
import { type Scenario, scenario } from "./Scenario.js"

/** Waits until the clock shows a later millisecond than the entry's. */
const passed = function* (w: World, tsMs: bigint) {
  while ((yield* w.now) <= tsMs) yield* Effect.sleep("1 millis")
}

const subjects = (entries: ReadonlyArray<{ readonly subject: string }>) => entries.map((entry) => entry.subject)

const refusedStream = <A>(stream: Stream.Stream<A, TapeError>, ...words: ReadonlyArray<string>) =>
  refused(Stream.runHead(stream), "InvalidRequest", ...words)

export const events: ReadonlyArray<Scenario> = [
  scenario("EVT-01", "P0", "every entry has a subject, a version, and a rising global_seq", function* (w) {
    const runId = yield* w.run("a")
    yield* w.decide(runId, 0)
    yield* w.effect(runId, 0, "t", 0)
    const last = yield* w.endRun(runId, RunStatus.TERMINAL)
    const entries = yield* collect(
      w.tape.subscribeBySubject({ subjectPattern: "/tape/**" }),
      (entry) => entry.runId === runId && entry.seq === last.seqCursor
    )
    let before = 0n
    for (const entry of entries) {
      assert.ok(entry.globalSeq > before)
      before = entry.globalSeq
      assert.ok(entry.subject.startsWith("/tape/"))
      assert.equal(entry.schemaVersion, 1)
    }
  }),

  scenario("EVT-02", "P0", "each event has its subject", function* (w) {
    const from = yield* w.position
    const R = yield* w.run("a")
    yield* w.decide(R, 0)
    const outcomes = [
      [2, "confirmed"],
      [3, "failed"],
      [4, "unknown"]
    ] as const
    for (const [status, tool] of outcomes) {
      yield* w.complete(R, (yield* w.effect(R, 0, tool, 0)).idempotencyKey, status)
    }
    const { idempotencyKey } = yield* w.effect(R, 1, "t", 0)
    yield* w.tape.reconcileEffect({ runId: R, idempotencyKey, resolvedStatus: 2 })
    const { seq } = yield* w.register(R, idempotencyKey, "undo")
    yield* w.claimObligation(R, seq, "A")
    yield* w.resolve(R, seq, 3)
    yield* w.tape.awaitSignal({ runId: R, gateName: "g" })
    yield* w.tape.sendSignal({ runId: R, gateName: "g" })
    yield* w.endRun(R, RunStatus.TERMINAL)
    const end = `/tape/run/terminal/${w.app}/u/s-a/${R}`
    const entries = yield* w.bySubject("/tape/**", from, (entry) => entry.subject === end)
    assert.deepEqual(subjects(entries.filter((entry) => entry.runId === R)), [
      `/tape/run/running/${w.app}/u/s-a/${R}`,
      `/tape/decision/recorded/${R}/0`,
      ...outcomes.flatMap(([, tool]) => [`/tape/effect/pending/${tool}/${R}`, `/tape/effect/${tool}/${tool}/${R}`]),
      `/tape/effect/pending/t/${R}`,
      `/tape/effect/reconciled/t/${R}`,
      `/tape/effect/confirmed/t/${R}`,
      `/tape/obligation/registered/undo/${R}`,
      `/tape/obligation/committed/undo/${R}`,
      `/tape/obligation/compensated/undo/${R}`,
      `/tape/gate/waiting/g/${R}`,
      `/tape/gate/released/g/${R}`,
      end
    ])
  }),

  scenario("EVT-03", "P0", "a pattern narrows the stream to one run", function* (w) {
    const from = yield* w.position
    const [one, two] = [yield* w.run("1"), yield* w.run("2")]
    yield* w.decide(one, 0)
    const stream = yield* open(
      w.tape.subscribeBySubject({ subjectPattern: `/tape/decision/recorded/${one}/**`, fromGlobalSeq: from })
    )
    assert.equal((yield* stream.next).subject, `/tape/decision/recorded/${one}/0`)
    yield* w.decide(two, 0)
    yield* w.effect(one, 0, "t", 0)
    yield* w.decide(one, 1)
    assert.equal((yield* stream.next).subject, `/tape/decision/recorded/${one}/1`)
  }),

  scenario("EVT-07", "P0", "a reader that reconnects at random loses nothing and repeats nothing", function* (w) {
    const from = yield* w.position
    const runIds = yield* Effect.forEach(Array.from({ length: 20 }), (_, n) => w.run(`${n}`), { concurrency: 4 })
    yield* Effect.forkScoped(
      Effect.forEach(
        Array.from({ length: 1980 }, (_, n) => n),
        (n) => w.decide(runIds[n % 20] ?? "", n),
        { concurrency: 8 }
      )
    )
    const read: Array<EventEntry> = []
    let cursor = from
    let random = 7
    const own = new Set(runIds)
    while (read.length < 2000) {
      random = (random * 1103515245 + 12345) % 2147483648
      const chunk = yield* w.tape
        .subscribeBySubject({ subjectPattern: "/tape/**", fromGlobalSeq: cursor })
        .pipe(Stream.take(Math.min(1 + (random % 17), 2000 - read.length)), Stream.runCollect, (reading) =>
          within("2,000 events are read", reading)
        )
      for (const entry of chunk) {
        assert.ok(entry.globalSeq > cursor)
        cursor = entry.globalSeq
        if (own.has(entry.runId)) read.push(entry)
      }
    }
    const journals = yield* Effect.forEach(runIds, (runId) => w.journal(runId))
    const expected = journals
      .flatMap((entries, n) => entries.map((entry) => ({ at: entry.globalSeq, id: `${runIds[n]}/${entry.seq}` })))
      .toSorted((a, b) => Number(a.at - b.at))
    assert.equal(expected.length, 2000)
    assert.deepEqual(
      read.map((entry) => `${entry.runId}/${entry.seq}`),
      expected.map((entry) => entry.id)
    )
  }),

  scenario("EVT-09", "P1", "SubscribeEvents: run, kind, pattern and position combine", function* (w) {
    const from = yield* w.position
    const [one, two] = [yield* w.run("1"), yield* w.run("2")]
    for (const runId of [one, two]) {
      yield* w.decide(runId, 0)
      yield* w.effect(runId, 0, "t", 0)
      yield* w.decide(runId, 1)
      yield* w.effect(runId, 1, "u", 0)
    }
    const { subscribeEvents } = w.tape
    const last = (subject: string) => (entry: EventEntry) => entry.subject === subject
    const all = yield* collect(subscribeEvents({ runId: one }), last(`/tape/effect/pending/u/${one}`))
    assert.deepEqual(
      all.map((entry) => [entry.runId, entry.seq]),
      [1n, 2n, 3n, 4n, 5n].map((seq) => [one, seq])
    )
    for (const fromGlobalSeq of [0n, from]) {
      const decisions = yield* collect(
        subscribeEvents({ runId: two, kind: "decision", fromGlobalSeq }),
        last(`/tape/decision/recorded/${two}/1`)
      )
      assert.deepEqual(subjects(decisions), [`/tape/decision/recorded/${two}/0`, `/tape/decision/recorded/${two}/1`])
      const tools = yield* collect(
        subscribeEvents({ runId: one, subjectPattern: "/tape/*/pending/**", fromGlobalSeq }),
        last(`/tape/effect/pending/u/${one}`)
      )
      assert.deepEqual(subjects(tools), [`/tape/effect/pending/t/${one}`, `/tape/effect/pending/u/${one}`])
      const both = yield* collect(
        subscribeEvents({ kind: "decision", subjectPattern: `/tape/decision/recorded/${one}/*`, fromGlobalSeq }),
        last(`/tape/decision/recorded/${one}/1`)
      )
      assert.equal(both.length, 2)
    }
    const after = record(all[2]).globalSeq
    const rest = yield* collect(
      subscribeEvents({ runId: one, fromGlobalSeq: after }),
      last(`/tape/effect/pending/u/${one}`)
    )
    assert.deepEqual(
      rest.map((entry) => entry.seq),
      [4n, 5n],
      "the position is exclusive"
    )
  }),

  scenario("RUL-EVT-1", "P1", "from_ts_ms is an inclusive filter, and only without a position", function* (w) {
    const from = yield* w.position
    const runId = yield* w.run("a")
    for (let index = 0; index < 4; index++) {
      const { tsMs } = yield* w.decide(runId, index)
      yield* passed(w, tsMs)
    }
    const journal = yield* w.journal(runId)
    const last = (entry: EventEntry) => entry.seq === 5n
    const fromTsMs = record(journal[3]).tsMs
    const later = yield* collect(w.tape.subscribeEvents({ runId, fromTsMs }), last)
    assert.deepEqual(
      later.map((entry) => entry.seq),
      [4n, 5n]
    )
    const narrowed = yield* collect(
      w.tape.subscribeEvents({ fromTsMs, subjectPattern: `/tape/decision/recorded/${runId}/*` }),
      last
    )
    assert.equal(narrowed.length, 2)
    const future = (yield* w.now) + 3_600_000n
    const all = yield* collect(w.tape.subscribeEvents({ runId, fromTsMs: future, fromGlobalSeq: from }), last)
    assert.equal(all.length, 5)
  }),

  scenario("EVT-15", "P0", "an entry reaches the three streams within a second", function* (w) {
    const runId = yield* w.run("a")
    const streams: ReadonlyArray<{ readonly next: Effect.Effect<{ readonly subject: string }, unknown> }> = [
      yield* open(w.tape.subscribeRun({ runId })),
      yield* open(w.tape.subscribeEvents({ runId })),
      yield* open(w.tape.subscribeBySubject({ subjectPattern: `/tape/*/*/**`, fromGlobalSeq: yield* w.position }))
    ]
    yield* Effect.forEach(streams.slice(0, 2), (stream) => stream.next)
    for (let index = 0; index < 20; index++) {
      yield* w.decide(runId, index)
      for (const stream of streams) {
        assert.equal((yield* stream.next).subject, `/tape/decision/recorded/${runId}/${index}`)
      }
    }
  }),

  scenario("EVT-17", "P1", "the caller's trace context is on the entry", function* (w) {
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    const runId = yield* w.run("a")
    const contexts: ReadonlyArray<
      readonly [metadata: { readonly [key: string]: string }, expected: ReadonlyArray<string>]
    > = [
      [{}, ["", "", ""]],
      [{ traceparent }, ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", ""]],
      [
        { traceparent, "tape-parent-span-id": "0123456789abcdef" },
        ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "0123456789abcdef"]
      ],
      [{ traceparent, "tape-parent-span-id": "xyz" }, ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", ""]],
      [{ traceparent: "00-nonsense-01" }, ["", "", ""]],
      [{ traceparent: `00-${"0".repeat(32)}-00f067aa0ba902b7-01` }, ["", "", ""]]
    ]
    for (const [index, [metadata, expected]] of contexts.entries()) {
      const { seq } = yield* w.tape.recordDecision({ runId, decisionIndex: BigInt(index) }, { metadata })
      const entry = record((yield* w.journal(runId)).find((entry) => entry.seq === seq))
      assert.deepEqual([entry.traceId, entry.spanId, entry.parentSpanId], expected)
      const [event] = yield* collect(
        w.tape.subscribeEvents({ runId, fromGlobalSeq: entry.globalSeq - 1n }),
        (event) => event.seq === seq
      )
      assert.deepEqual([event?.traceId, event?.spanId, event?.parentSpanId], expected)
    }
  }),

  scenario("RUL-EVT-2", "P0", "seq has no gaps, and rises with global_seq, under 64 racing writers", function* (w) {
    const runId = yield* w.run("a")
    yield* w.race(64, (n) =>
      Effect.asVoid<unknown, TapeError, never>(n % 2 === 0 ? w.decide(runId, n) : w.effect(runId, n, "t", 0))
    )
    const entries = yield* w.journal(runId)
    assert.deepEqual(
      entries.map((entry) => entry.seq),
      Array.from({ length: 65 }, (_, n) => BigInt(n + 1))
    )
    for (const [n, entry] of entries.entries()) {
      if (n > 0) assert.ok(entry.globalSeq > record(entries[n - 1]).globalSeq)
    }
  }),

  scenario(
    "RUL-EVT-3",
    "P0",
    "SubscribeRun starts with from_seq, waits beyond the end, and outlives the run",
    function* (w) {
      const runId = yield* w.run("a")
      for (let index = 0; index < 4; index++) yield* w.decide(runId, index)
      const stream = yield* open(w.tape.subscribeRun({ runId, fromSeq: 3n }))
      for (const seq of [3n, 4n, 5n]) assert.equal((yield* stream.next).seq, seq)
      const ahead = yield* open(w.tape.subscribeRun({ runId, fromSeq: 7n }))
      yield* w.endRun(runId, RunStatus.TERMINAL)
      assert.equal((yield* stream.next).seq, 6n)
      yield* w.register(runId, "k", "late")
      assert.equal((yield* stream.next).kind, "obligation")
      assert.equal((yield* ahead.next).seq, 7n)
    }
  ),

  scenario("RUL-EVT-4", "P1", "both kinds of stream show one entry alike", function* (w) {
    const runId = yield* w.run("a")
    const [mine] = yield* w.journal(runId)
    const [event] = yield* collect(w.tape.subscribeEvents({ runId }), () => true)
    const { $typeName: _a, ...a } = record(mine)
    const { $typeName: _b, runId: owner, ...b } = record(event)
    assert.deepEqual([owner, b], [runId, a])
  }),

  scenario("RUL-EVT-5", "P1", "a pattern that cannot be is refused on both streams", function* (w) {
    for (const subjectPattern of ["/tape/**/x", "**/x", "/tape/**/**"]) {
      yield* refusedStream(w.tape.subscribeBySubject({ subjectPattern }), "**")
      yield* refusedStream(w.tape.subscribeEvents({ subjectPattern }), "**")
    }
  }),

  scenario("RUL-EVT-6", "P1", "a reader that is slow holds no writer back and misses nothing", function* (w) {
    const runId = yield* w.run("a")
    const stream = w.tape.subscribeRun({ runId })
    const pulled = yield* open(Stream.rechunk(stream, 1).pipe(Stream.tap(() => Effect.sleep("1 millis"))))
    yield* Effect.forEach(
      Array.from({ length: 300 }, (_, n) => n),
      (n) => w.decide(runId, n),
      { concurrency: 32 }
    )
    for (let seq = 1n; seq <= 301n; seq++) assert.equal((yield* pulled.next).seq, seq)
  })
]
