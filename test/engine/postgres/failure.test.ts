import * as ChildProcess from "node:child_process"
import { assert, layer } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Schedule, Stream } from "effect"
import { Client } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { prepare } from "../../../src/engine/store/postgres/Statement.js"
import * as Postgres from "../../support/Postgres.js"
import { freshDatabase, openTape, proxy } from "./fixtures.js"

const commit = prepare("commit").name

/** Calls until one works; what is refused meanwhile must be UNAVAILABLE. */
const untilItWorks = <A>(call: Effect.Effect<A, { readonly _tag: string; readonly message: string }>) =>
  call.pipe(
    Effect.tapError((error) => Effect.sync(() => assert.strictEqual(error._tag, "Unavailable", error.message))),
    Effect.retry(Schedule.spaced("20 millis").pipe(Schedule.upTo("20 seconds")))
  )

/** Writers that never stop and a subscriber, while something happens to the database. */
const underLoad = <A, E, R>(event: (url: string) => Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { query } = yield* Postgres.Postgres
    const url = yield* freshDatabase
    // Every call is made once, so that each refusal is seen.
    const tape = yield* openTape(url, { retry: Schedule.stop })
    const { runId } = yield* tape.beginRun({ appName: "load" })
    const acknowledged: Array<string> = []
    const warm = yield* Deferred.make<void>()
    const recovered = yield* Deferred.make<void>()
    let isBack = false
    let isOver = false

    const seen: Array<bigint> = [1n]
    const subscriber = Effect.suspend(() =>
      tape
        .subscribeEvents({ fromGlobalSeq: seen.at(-1)! })
        .pipe(Stream.runForEach((entry) => Effect.sync(() => seen.push(entry.globalSeq))))
    )
    yield* Effect.fork(untilItWorks(subscriber))

    const write = (decisionIndex: bigint) =>
      Effect.matchEffect(tape.recordDecision({ runId, decisionIndex }), {
        onFailure: (error) => {
          assert.strictEqual(error._tag, "Unavailable", error.message)
          return Effect.sleep("10 millis")
        },
        onSuccess: () => {
          acknowledged.push(String(decisionIndex))
          return acknowledged.length > 50 ? Deferred.succeed(isBack ? recovered : warm, undefined) : Effect.void
        }
      })
    const writers = yield* Effect.fork(
      Effect.forEach(
        Array.from({ length: 16 }, (_, writer) => writer * 1_000_000),
        (first) =>
          Effect.iterate(first, { while: () => !isOver, body: (next) => Effect.as(write(BigInt(next)), next + 1) }),
        { concurrency: "unbounded", discard: true }
      )
    )
    yield* Deferred.await(warm)
    yield* event(url)
    yield* query(url, "select 1")
    isBack = true
    yield* Effect.timeout(Deferred.await(recovered), "15 seconds")
    isOver = true
    yield* Fiber.join(writers)

    const stored = yield* query(url, "select decision_index::text as index from decisions")
    const indexes = new Set(stored.map(({ index }) => index))
    assert.deepStrictEqual(
      acknowledged.filter((index) => !indexes.has(index)),
      []
    )
    const entries = stored.length + 1
    yield* Effect.void.pipe(
      Effect.repeat({ until: () => seen.length >= entries, schedule: Schedule.spaced("10 millis") }),
      Effect.timeout("5 seconds")
    )
    assert.deepStrictEqual(
      seen,
      Array.from({ length: entries }, (_, index) => BigInt(index + 1))
    )
  })

layer(Postgres.layer({ fsync: true }), { excludeTestServices: true })("when the database fails", (it) => {
  it.scoped("a COMMIT whose answer was lost counts once", () =>
    Effect.gen(function* () {
      const network = yield* proxy(yield* freshDatabase)
      const tape = yield* openTape(network.url)
      const { runId } = yield* tape.beginRun({ appName: "lost" })
      for (const [index, what] of (["answer", "request", "answer"] as const).entries()) {
        network.loseNext(what, commit)
        const { tokensSpent } = yield* tape.chargeBudget({ runId, tokens: 1n })
        assert.strictEqual(tokensSpent, BigInt(index + 1))
        assert.strictEqual(network.lost(), index + 1)
      }
      const { budget } = yield* tape.admitBudget({ runId })
      assert.strictEqual(budget?.tokensSpent, 3n)
    })
  )

  it.scoped("a connection that is lost before COMMIT is no reason to refuse a call", () =>
    Effect.gen(function* () {
      const network = yield* proxy(yield* freshDatabase)
      const tape = yield* openTape(network.url)
      const { runId } = yield* tape.beginRun({ appName: "lost" })
      const begin = prepare("begin isolation level read committed read write").name
      for (const what of ["request", "answer"] as const) {
        network.loseNext(what, begin)
        yield* tape.chargeBudget({ runId, tokens: 1n })
      }
      const { budget } = yield* tape.admitBudget({ runId })
      assert.strictEqual(budget?.tokensSpent, 2n)
    })
  )

  it.scoped("backends that are terminated: no acknowledged write is lost, and subscribers resume", () =>
    Effect.flatMap(Postgres.Postgres, ({ query }) =>
      underLoad((url) =>
        query(
          url,
          `select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and application_name = 'effect-tape'`
        )
      )
    )
  )

  it.scoped("kill -9 of a backend, after which the whole database recovers", () =>
    Effect.flatMap(Postgres.Postgres, ({ query }) =>
      underLoad((url) =>
        Effect.map(
          query(
            url,
            `select pid from pg_stat_activity
              where datname = current_database() and application_name = 'effect-tape' limit 1`
          ),
          (rows) => ChildProcess.execFileSync("kill", ["-9", String(rows[0]!["pid"])])
        )
      )
    )
  )

  for (const how of ["fast", "immediate"] as const) {
    it.scoped(`restarted under load (${how}): no acknowledged write is lost, and subscribers resume`, () =>
      Effect.flatMap(Postgres.Postgres, ({ restart }) => underLoad(() => restart(how)))
    )
  }

  it.scoped("while the database is down calls fail as UNAVAILABLE, at once, and work when it is back", () =>
    Effect.gen(function* () {
      const url = yield* freshDatabase
      const { start, stop } = yield* Postgres.Postgres
      const handlers = Context.get(yield* Layer.build(Engine.layerUrl(url)), Engine.Engine)
      const retrying = Client.fromHandlers(handlers)
      // Once each: our own client would try again until the database is back.
      const tape = Client.fromHandlers(handlers, { retry: Schedule.stop })
      const { runId } = yield* tape.beginRun({ appName: "down" })
      yield* stop("fast")
      const started = performance.now()
      const write = yield* Effect.flip(tape.recordDecision({ runId }))
      const read = yield* Effect.flip(tape.getRun({ runId }))
      assert.deepStrictEqual([write._tag, read._tag], ["Unavailable", "Unavailable"])
      assert.match(write.message, /the database cannot be reached/)
      assert.isBelow(performance.now() - started, 2_000)
      const patient = yield* Effect.fork(retrying.recordDecision({ runId, decisionIndex: 1n }))
      yield* start
      yield* Fiber.join(patient)
      yield* untilItWorks(tape.recordDecision({ runId }))
      assert.strictEqual((yield* untilItWorks(tape.getRun({ runId }))).runId, runId)
    })
  )
})
