/** The tape dies at every call that writes, before it and right after, and nothing of it is seen but the time it took. */
import { randomUUID } from "node:crypto"
import { join } from "node:path"
import { type MessageShape, toJson } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Logger } from "effect"
import { type Client, type Errors, TapeClient } from "effect-tape"
import { RunStatus, Tape, TaskStatus } from "effect-tape/proto"
import { within } from "../conformance/Expect.js"
import { collect } from "../conformance/Fixtures.js"
import { keyed, type Rpc, type TapeService } from "../Durable.fixtures.js"
import { temporaryDirectory } from "../support/Harness.js"
import { serve } from "./TapeProcess.js"
import * as Treasury from "./Treasury.js"

/** Every call that writes: all but the streams and those that only look. */
const writing = (Object.keys(Tape.method) as ReadonlyArray<Rpc>).filter(
  (rpc) => Tape.method[rpc].methodKind === "unary" && (!/^(get|list|admit)[A-Z]/.test(rpc) || rpc === "listDueTimers")
)

/** Which call of an rpc is hit, where the first is not the one that matters. */
const which: { readonly [K in Rpc]?: (request: object) => boolean } = {
  beginEffect: (request) => Reflect.get(request, "toolName") === "execute_sweep",
  completeEffect: keyed("/post_ledger_batch/0"),
  listDueTimers: (request) => Reflect.get(request, "claim") === true,
  // Reactors keep their cursors in values.
  writeValue: (request) => Reflect.get(request, "namespace") === "treasury"
}

/** What a repeat says otherwise by the rules of the call: a lease is taken anew, a run was begun or compacted before. */
const otherwise: { readonly [K in Rpc]?: ReadonlyArray<string> } = {
  beginRun: ["resumed", "nextSeq"],
  resumeRun: ["leaseExpiresAtMs", "seqCursor"],
  compactRun: ["alreadyCompacted", "decisionsZeroed", "effectsZeroed", "bytesSaved"]
}

/** A call that the tape died in. */
interface Interrupted {
  readonly rpc: Rpc
  readonly repeat: (tape: TapeService) => Effect.Effect<unknown, unknown>
}

type At = "before" | "after"

/** One treasury; its tape dies in the first call of each rpc, and is started again on its file. */
const lives = (at: At) =>
  Effect.gen(function* () {
    const file = join(yield* temporaryDirectory, "tape.db")
    const treasury = yield* Treasury.make
    const deaths = new Set<Rpc>()
    const life = (died: Interrupted | undefined, last: string) =>
      Effect.scoped(
        Effect.gen(function* () {
          const server = yield* serve(file, "lean")
          if (died !== undefined) yield* repeated(server.tape, died, at === "after" ? last : undefined)
          const struck = yield* Deferred.make<Interrupted>()
          const tape = mortal(server.tape, at, deaths, struck)
          const work = yield* Effect.fork(
            treasury.work.pipe(Effect.provideService(TapeClient, tape), Effect.provide(quiet))
          )
          const doing = `what follows ${died?.rpc ?? "the start"}`
          yield* within(doing, Effect.raceFirst(Deferred.await(struck), Fiber.await(work)), "60 seconds")
          const wires = yield* treasury.bank.ledger
          assert.isAtMost(wires.length, 1, `wires, ${doing}`)
          if (!(yield* Deferred.isDone(struck))) {
            yield* Fiber.join(work)
            yield* verify(server.tape, treasury)
            return undefined
          }
          yield* within(`the end of ${doing}`, Fiber.interrupt(work))
          return { died: yield* Deferred.await(struck), last: yield* server.died }
        })
      )
    let next = yield* life(undefined, "")
    while (next !== undefined) next = yield* life(next.died, next.last)
    assert.sameMembers([...deaths], [...writing])
  })

/** A client in whose hands the tape dies, the first time that it calls what the tape has not died of yet. */
const mortal = (tape: TapeService, at: At, deaths: Set<Rpc>, struck: Deferred.Deferred<Interrupted>): TapeService => {
  let isDead = false
  return new Proxy(tape, {
    get: (target, name) => {
      const rpc = name as Rpc // only methods of the service are asked for
      if (Tape.method[rpc].methodKind !== "unary") return target[rpc]
      return (request: object, options?: Client.CallOptions) =>
        Effect.suspend(() => {
          const matters = which[rpc] ?? (() => true)
          if (deaths.has(rpc) || !writing.includes(rpc) || !matters(request)) {
            return callOf(target, rpc)(request, options)
          }
          // What a dying tape stores may never be called again, and so never be died of.
          if (isDead) return Effect.interruptible(Effect.never)
          isDead = true
          deaths.add(rpc)
          const metadata = { "tape-request-id": randomUUID(), ...options?.metadata }
          return Effect.ensuring(
            callOf(target, rpc)(request, { metadata: { ...metadata, "test-kill": at } }),
            Deferred.succeed(struck, { rpc, repeat: (tape) => callOf(tape, rpc)(request, { metadata }) })
          )
        })
    }
  })
}

/** The call that was interrupted, sent again twice: it is answered what it was answered, or would have been. */
const repeated = (tape: TapeService, { repeat, rpc }: Interrupted, recorded: string | undefined) =>
  Effect.gen(function* () {
    const told = (json: unknown): unknown =>
      JSON.parse(JSON.stringify(json, (field, value) => (otherwise[rpc]?.includes(field) === true ? undefined : value)))
    const { output } = Tape.method[rpc]
    const again = Effect.map(repeat(tape), (answer) => told(toJson(output, answer as MessageShape<typeof output>)))
    const first = yield* again
    if (recorded !== undefined) assert.deepStrictEqual(first, told(JSON.parse(recorded)), `${rpc}: what was recorded`)
    assert.deepStrictEqual(yield* again, first, `${rpc}: the same answer again`)
  })

/** One wire, one batch, one charge, a run that is over, and nothing that is still waiting for somebody. */
const verify = (tape: TapeService, treasury: Treasury) =>
  Effect.gen(function* () {
    assert.lengthOf(yield* treasury.bank.ledger, 1, "wires")
    assert.strictEqual(treasury.batches.size, 1, "ledger batches")
    const run = yield* tape.getRun({ runId: treasury.runId() })
    assert.strictEqual(RunStatus[run.status], "TERMINAL")
    const { budget } = yield* tape.admitBudget({ runId: run.runId })
    assert.strictEqual(budget?.usdSpent, 1, "charges")
    const journal = yield* collect(tape.subscribeRun({ runId: run.runId }), ({ seq }) => seq === run.seqCursor)
    assert.deepStrictEqual(
      journal.map(({ seq }) => seq),
      journal.map((_, index) => BigInt(index + 1))
    )
    const subjects = journal.map(({ subject }) => subject)
    const sweeps = subjects.filter((subject) => subject.startsWith("/tape/effect/confirmed/execute_sweep/"))
    const decisions = subjects.filter((subject) => subject.startsWith("/tape/decision/recorded/"))
    assert.deepStrictEqual([sweeps.length, decisions.length], [1, 1])

    const later = BigInt(Date.now() + 86_400_000)
    const { runs } = yield* tape.listRunsToRecover({ nowMs: later })
    const { effects: pending } = yield* tape.listPendingEffects({})
    const { effects: due } = yield* tape.listEffectsToDispatch({ nowMs: later })
    const { obligations } = yield* tape.listUnresolvedObligations({ nowMs: later })
    // The time limit of a gate that was opened while nobody drove the run is left to run out: it opens nothing any more.
    const timers = (yield* tape.listDueTimers({ nowMs: later })).timers.filter(({ kind }) => kind !== "gate_timeout")
    const { reactions } = yield* tape.listReactions({})
    const { tasks } = yield* tape.listTasks({})
    assert.deepStrictEqual({ runs, pending, due, obligations, timers, reactions }, nothing)
    assert.isTrue(
      tasks.every(({ status }) => status === TaskStatus.DONE),
      "tasks"
    )
  })

describe("a tape that is killed", () => {
  it.live(
    `CHA-07 · before and after each of the ${writing.length} calls that write: one wire, one batch, nothing is stuck`,
    () => Effect.scoped(Effect.forEach(["before", "after"] as const, lives, { concurrency: 2, discard: true })),
    { timeout: 240_000 }
  )
})

// ---- internal ----

type Treasury = Effect.Effect.Success<typeof Treasury.make>

const nothing = { runs: [], pending: [], due: [], obligations: [], timers: [], reactions: [] }

const quiet = Logger.remove(Logger.defaultLogger)

/** A call of the client by its name. */
const callOf = (tape: TapeService, rpc: string | symbol) =>
  // Only methods of the service are asked for.
  tape[rpc as Rpc] as (request: object, options?: Client.CallOptions) => Effect.Effect<unknown, Errors.TapeError>
