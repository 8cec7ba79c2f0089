import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Client } from "effect-tape"
import { EffectStatus, HandlerKind, ObligationStatus, RunStatus } from "effect-tape/proto"
import { type Tape, type World, world } from "../conformance/Fixtures.js"
import { temporaryDirectory } from "../support/Harness.js"
import { type Program, serve } from "./TapeProcess.js"

/** One life of the server: the steps, then SIGKILL right after the last one is acknowledged. */
const life = <A, E>(file: string, steps: (w: World) => Effect.Effect<A, E>, program: Program = "lean") =>
  Effect.scoped(
    Effect.gen(function* () {
      const { kill, tape } = yield* serve(file, program)
      const answer = yield* steps(yield* Effect.provideService(world, Client.TapeClient, tape))
      yield* kill
      return answer
    })
  )

const text = '{ "n":1.0, "big":9007199254740993, "s":"é 😀" }'
const R = "R"

/** Every call of RUN-16, each made in a life of its own; and what must be seen of it in every later life. */
const calls: ReadonlyArray<
  readonly [
    name: string,
    call: (tape: Tape, runId: string) => Effect.Effect<unknown, unknown>,
    look: (tape: Tape, runId: string) => Effect.Effect<unknown, unknown>
  ]
> = [
  ...[0n, 1n, 2n, 3n, 4n].map(
    (decisionIndex) =>
      [
        `RecordDecision ${decisionIndex}`,
        (tape: Tape, runId: string) =>
          tape.recordDecision({ runId, decisionIndex, requestJson: text, responseJson: text, rationale: "é" }),
        (tape: Tape, runId: string) =>
          Effect.map(tape.getDecision({ runId, decisionIndex }), ({ decision }) => decision)
      ] as const
  ),
  [
    "BeginEffect",
    (tape, runId) => tape.beginEffect({ runId, toolName: "t", customKey: "K", requestJson: text }),
    (tape, runId) =>
      Effect.map(tape.beginEffect({ runId, toolName: "t", customKey: "K" }), ({ idempotencyKey, seq }) => ({
        idempotencyKey,
        seq
      }))
  ],
  [
    "CompleteEffect",
    (tape, runId) =>
      tape.completeEffect({ runId, idempotencyKey: "K", status: EffectStatus.CONFIRMED, responseJson: text }),
    (tape, runId) => Effect.map(tape.getEffect({ runId, idempotencyKey: "K" }), ({ effect }) => effect)
  ],
  [
    "RegisterCompensation",
    (tape, runId) => tape.registerCompensation({ runId, effectKey: "K", kind: "undo", payloadJson: text }),
    (tape, runId) => Effect.map(tape.listObligations({ runId }), ({ obligations }) => obligations[0])
  ],
  [
    "ChargeBudget",
    (tape, runId) => tape.chargeBudget({ runId, usd: 0.1, tokens: 7n }),
    (tape, runId) => Effect.map(tape.admitBudget({ runId }), ({ budget }) => budget)
  ],
  [
    "SetTimer",
    (tape, runId) => tape.setTimer({ runId, timerId: "t", fireAtMs: 5n, kind: "k", payloadJson: text }),
    (tape) => Effect.map(tape.listDueTimers({ nowMs: 5n }), ({ timers }) => timers[0])
  ],
  [
    "WriteValue",
    (tape) => tape.writeValue({ namespace: "n", key: "k", valueJson: text, ifVersion: -1n, writer: "é" }),
    (tape) => Effect.map(tape.getValue({ namespace: "n", key: "k" }), ({ value }) => value)
  ],
  [
    "AppendEvent",
    (tape) =>
      Effect.map(tape.appendEvent({ appName: "a", event: { id: "e", contentJson: text } }), ({ event }) => event),
    (tape) => Effect.map(tape.getSession({ appName: "a" }), ({ session }) => session?.events[0])
  ],
  [
    "RegisterReaction",
    (tape) => tape.registerReaction({ subjectPattern: "/none", handlerKind: HandlerKind.TASK }),
    (tape) => Effect.map(tape.listReactions({}), ({ reactions }) => reactions[0])
  ]
]

describe("a server that is killed", () => {
  it.live(
    "RUN-16 · loses nothing it has acknowledged, one SIGKILL after each call",
    () =>
      Effect.gen(function* () {
        const file = join(yield* temporaryDirectory, "tape.db")
        const runId = yield* life(file, (w) => w.run("a", { sessionId: R }), "tape serve")
        const acknowledged: Array<unknown> = []
        for (const [nth, [name, call]] of calls.entries()) {
          const steps = (w: World) =>
            Effect.gen(function* () {
              for (const [before, [earlier, , look]] of calls.slice(0, nth).entries()) {
                const seen = yield* look(w.tape, runId)
                assert.deepEqual(seen, acknowledged[before], `${earlier} reads back before ${name}`)
              }
              return yield* call(w.tape, runId)
            })
          const answer = yield* life(file, steps)
          acknowledged.push(name === "BeginEffect" ? keyOf(answer) : answer)
        }
        yield* life(file, (w) => w.tape.awaitSignal({ runId, gateName: "cfo" }))
        yield* life(file, (w) =>
          Effect.gen(function* () {
            for (const [nth, [name, , look]] of calls.entries()) {
              assert.deepEqual(yield* look(w.tape, runId), acknowledged[nth], name)
            }
            const run = yield* w.getRun(runId)
            assert.deepEqual([run.status, run.waitingOnGate], [RunStatus.WAITING, "cfo"])
            const journal = yield* w.journal(runId)
            assert.deepEqual(
              journal.map((entry) => [entry.seq, entry.kind]),
              ["run", ...Array.from({ length: 5 }, () => "decision"), "effect", "effect", "obligation", "gate"].map(
                (kind, n) => [BigInt(n + 1), kind]
              )
            )
          })
        )
      }).pipe(Effect.scoped),
    { timeout: 120_000 }
  )

  it.live(
    "GATE-08 · a run that was parked before is released after",
    () =>
      Effect.gen(function* () {
        const file = join(yield* temporaryDirectory, "tape.db")
        const runId = yield* life(file, (w) =>
          Effect.tap(w.run("a"), (runId) => w.tape.awaitSignal({ runId, gateName: "cfo" }))
        )
        yield* life(file, (w) =>
          Effect.gen(function* () {
            const sent = yield* w.tape.sendSignal({ runId, gateName: "cfo", resolutionJson: '{"ok":true}' })
            assert.deepEqual([sent.accepted, sent.runStatus], [true, RunStatus.RUNNABLE])
          })
        )
        yield* life(file, (w) =>
          Effect.gen(function* () {
            const run = yield* w.getRun(runId)
            assert.deepEqual([run.status, run.waitingOnGate], [RunStatus.RUNNABLE, ""])
            const { runs } = yield* w.tape.listRunsToRecover({})
            assert.deepEqual(
              runs.map((run) => run.runId),
              [runId]
            )
            const { resolutionJson } = yield* w.tape.awaitSignal({ runId, gateName: "cfo" })
            assert.equal(resolutionJson, '{"ok":true}')
          })
        )
      }).pipe(Effect.scoped),
    { timeout: 60_000 }
  )

  it.live(
    "an open claim survives, and so does an obligation's",
    () =>
      Effect.gen(function* () {
        const file = join(yield* temporaryDirectory, "tape.db")
        const held = yield* life(file, (w) =>
          Effect.gen(function* () {
            const runId = yield* w.run("a")
            const { idempotencyKey } = yield* w.out(runId, "bk")
            const { effect } = yield* w.claim(runId, idempotencyKey, "A")
            const { seq } = yield* w.register(runId, idempotencyKey, "undo")
            const { obligation } = yield* w.claimObligation(runId, seq, "A")
            return { runId, idempotencyKey, seq, effect, obligation }
          })
        )
        yield* life(file, (w) =>
          Effect.gen(function* () {
            const claimed = yield* w.claim(held.runId, held.idempotencyKey, "B")
            assert.deepEqual([claimed.acquired, claimed.effect], [false, held.effect])
            const owed = yield* w.claimObligation(held.runId, held.seq, "B")
            assert.deepEqual([owed.acquired, owed.obligation], [false, held.obligation])
            assert.equal(owed.obligation?.status, ObligationStatus.COMMITTED)
          })
        )
      }).pipe(Effect.scoped),
    { timeout: 60_000 }
  )
})

// ---- internal ----

const keyOf = (answer: unknown): unknown =>
  typeof answer === "object" && answer !== null && "idempotencyKey" in answer && "seq" in answer
    ? { idempotencyKey: answer.idempotencyKey, seq: answer.seq }
    : answer
