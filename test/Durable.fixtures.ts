/**
 * A tape in memory, clients that die at a chosen call, and counters.
 */
import { Deferred, Effect, Fiber, Layer, Option, Schema, Stream, TestClock } from "effect"
import { Client, type Errors, TapeClient } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { RunStatus } from "effect-tape/proto"
import * as Durable from "../src/Durable.js"

export type TapeService = TapeClient["Type"]
export type Rpc = keyof TapeService

/** A new, empty tape for each test. */
export const Tape = Layer.effect(
  TapeClient,
  Effect.map(Engine.Engine, (engine) => Client.fromHandlers(engine))
).pipe(Layer.provide(Engine.layerUrl("memory:")))

export const ids = (invocation: string) => ({ user: "u", session: "s", invocation })

/** Every unary call goes through `around`; streams are left alone. */
export const wrapped = (
  tape: TapeService,
  around: (
    rpc: Rpc,
    request: object,
    call: Effect.Effect<unknown, Errors.TapeError>
  ) => Effect.Effect<unknown, Errors.TapeError>
): TapeService =>
  new Proxy(tape, {
    get: (target, name) => {
      const rpc = name as Rpc // only methods of the service are asked for
      const method = target[rpc] as (request: object, options?: object) => unknown
      return (request: object, options?: object) => {
        const call = method(request, options)
        return Effect.isEffect(call) ? around(rpc, request, call as Effect.Effect<unknown, Errors.TapeError>) : call
      }
    }
  })

export interface Death {
  /** Any unary call when left out. */
  readonly rpc?: Rpc
  /** Before: the tape never hears of the call. After: its answer is never heard. */
  readonly at: "before" | "after"
  /** Which of the matching calls; 1 is the first. Defaults to 1. */
  readonly nth?: number
  readonly matching?: (request: object) => boolean
}

const hang = Effect.interruptible(Effect.never)

/** Runs until the process "dies" at the given call: nothing is heard of it from there on. */
export const killedAt = <A, E>(death: Death, life: Effect.Effect<A, E, TapeClient>) =>
  Effect.gen(function* () {
    const died = yield* Deferred.make<void>()
    let seen = 0
    let dead = false
    const tape = wrapped(yield* TapeClient, (rpc, request, call) =>
      Effect.suspend(() => {
        if (dead) return hang
        const { at, matching = () => true, nth = 1 } = death
        if (rpc !== (death.rpc ?? rpc) || !matching(request) || ++seen !== nth) return call
        dead = true
        const last = at === "before" ? Effect.void : Effect.ignore(call)
        return Effect.zipRight(Effect.zipRight(last, Deferred.succeed(died, undefined)), hang)
      })
    )
    const fiber = yield* Effect.forkDaemon(Effect.provideService(life, TapeClient, tape))
    yield* Effect.raceFirst(
      Deferred.await(died),
      Effect.zipRight(Fiber.join(fiber), Effect.dieMessage("it ended before the call it was to die at"))
    )
    // Not awaited: of what it would still say in dying nothing is heard either.
    yield* Fiber.interruptFork(fiber)
  })

/** The dead process's lease runs out. */
export const leaseRunsOut = TestClock.adjust("3 minutes")

/** Matches calls about the effect of a tool, by the end of its key. */
export const keyed = (end: string) => (request: object) => String(Reflect.get(request, "idempotencyKey")).endsWith(end)

/** A model that answers each question in its order, and counts. */
export const scriptedModel = (...answers: ReadonlyArray<string>) => {
  const asked: Array<string> = []
  const ask = (question: string) =>
    Effect.sync(() => {
      asked.push(question)
      return answers[Number(question.slice(1))] ?? "?"
    })
  return { asked, ask }
}

/** A counterparty that dedupes on the idempotency key, and counts what it was sent. */
export const dedupingBank = () => {
  const rows = new Map<string, string>()
  const sent: Array<string> = []
  return {
    rows,
    sent,
    book: (key: string, what: string) =>
      Effect.sync(() => {
        sent.push(key)
        if (!rows.has(key)) rows.set(key, `${what}#${rows.size + 1}`)
        return rows.get(key) ?? ""
      })
  }
}

/** The row of the run that was begun first. */
export const firstRun = Effect.gen(function* () {
  const tape = yield* TapeClient
  const [entry] = yield* tape
    .subscribeBySubject({ subjectPattern: "/tape/run/running/**" })
    .pipe(Stream.take(1), Stream.runCollect)
  return yield* tape.getRun({ runId: entry?.runId ?? "" })
})

/** The subjects of a run's journal, without what names the run. */
export const journalOf = (run: { readonly runId: string; readonly seqCursor: bigint }) =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.subscribeRun({ runId: run.runId, fromSeq: 0n }).pipe(
      Stream.take(Number(run.seqCursor)),
      Stream.map((entry) => entry.subject.replace("/tape/", "").replace(`/${run.runId}`, "")),
      Stream.runCollect,
      Effect.map((subjects) => Array.from(subjects))
    )
  )

export const Echo = Durable.tool("echo", {
  input: Schema.String,
  output: Schema.String,
  run: (what) => Effect.succeed(what)
})

/** A program that waits in its middle until it is let on. */
export const gated = () =>
  Effect.gen(function* () {
    const reached = yield* Deferred.make<void>()
    const go = yield* Deferred.make<void>()
    let lives = 0
    let interrupted = 0
    const app = Durable.app("gated", {
      input: Schema.String,
      output: Schema.String,
      tools: [Echo],
      *run(what) {
        lives++
        yield* Deferred.succeed(reached, undefined)
        yield* Effect.onInterrupt(Deferred.await(go), () => Effect.sync(() => interrupted++))
        return yield* Echo(what)
      }
    })
    return { app, go, reached, counts: () => ({ lives, interrupted }) }
  })

/** Lets fibers and the in-process tape go on until `done`; the clock stands still. */
export const until = <A, R>(look: Effect.Effect<Option.Option<A>, never, R>) =>
  Effect.gen(function* () {
    for (let turn = 0; turn < 2000; turn++) {
      const found = yield* look
      if (Option.isSome(found)) return found.value
      yield* Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
    }
    return yield* Effect.dieMessage("it did not happen")
  })

export const ended = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) => Effect.flatten(until(Fiber.poll(fiber)))

/** As {@link ended}, while time passes. */
export const endedInTime = <A, E>(fiber: Fiber.RuntimeFiber<A, E>) =>
  Effect.flatten(until(Effect.zipRight(TestClock.adjust("250 millis"), Fiber.poll(fiber))))

/** Lets the run come to its gate, and tells its id. */
export const waitingAt = (gate: string) =>
  until(
    Effect.flatMap(TapeClient, (tape) =>
      tape.subscribeBySubject({ subjectPattern: "/tape/run/running/**" }).pipe(
        Stream.take(1),
        Stream.runCollect,
        Effect.flatMap(([entry]) => tape.getRun({ runId: entry?.runId ?? "" })),
        Effect.map((run) =>
          run.waitingOnGate === gate && run.status === RunStatus.WAITING ? Option.some(run) : Option.none()
        ),
        Effect.orDie
      )
    )
  )

export const signal = (runId: string, gateName: string, resolution: unknown) =>
  Effect.flatMap(TapeClient, (tape) => tape.sendSignal({ runId, gateName, resolutionJson: JSON.stringify(resolution) }))
