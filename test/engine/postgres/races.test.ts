import { assert, layer } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { EffectDispatchMode, RunStatus } from "effect-tape/proto"
import * as Postgres from "../../support/Postgres.js"
import { openTape, openTapes, rival, waitingForLocks } from "./fixtures.js"

const unbounded = { concurrency: "unbounded" } as const

layer(Postgres.layer(), { excludeTestServices: true })("two servers on one database", (it) => {
  it.scoped("concurrent first BeginRuns make one run, and everyone gets it", () =>
    Effect.gen(function* () {
      const { tapes, url } = yield* openTapes(3)
      for (const invocationId of ["a", "b", "c", "d", "e"]) {
        const answers = yield* Effect.all(
          Array.from({ length: 24 }, (_, index) =>
            tapes[index % tapes.length]!.beginRun({ appName: "race", invocationId })
          ),
          unbounded
        )
        assert.strictEqual(new Set(answers.map(({ runId }) => runId)).size, 1)
        assert.strictEqual(answers.filter(({ resumed }) => !resumed).length, 1)
      }
      const { query } = yield* Postgres.Postgres
      assert.deepStrictEqual(yield* query(url, "select count(*)::int as runs from runs"), [{ runs: 5 }])
    })
  )

  it.scoped("a row that another server is inserting at this moment is the one that the loser answers", () =>
    Effect.gen(function* () {
      const { tapes, url } = yield* openTapes(1)
      const other = yield* rival(url)
      const { runId } = yield* tapes[0]!.beginRun({ appName: "race", invocationId: "1" })
      yield* other("begin")
      yield* other(`insert into runs select '00000000-0000-4000-8000-00000000000a', app_name, user_id, session_id, '2',
        status, seq_cursor, lease_owner, lease_expires_at_ms, started_at_ms, ended_at_ms, waiting_on_gate, tenant_id,
        actor, subject, agent_id, aiplex_instance_id, gateway_route, scopes_json, labels_json, detail_json,
        compacted_at_ms from runs where run_id = '${runId}'`)
      const loser = yield* Effect.fork(tapes[0]!.beginRun({ appName: "race", invocationId: "2" }))
      yield* waitingForLocks(url, 1)
      yield* other("commit")
      const answer = yield* Fiber.join(loser)
      assert.strictEqual(answer.runId, "00000000-0000-4000-8000-00000000000a")
      assert.isTrue(answer.resumed)
    })
  )

  it.scoped("one business key makes one effect, whichever run and server asks", () =>
    Effect.gen(function* () {
      const { tapes, url } = yield* openTapes(2)
      const runs = yield* Effect.all(
        Array.from({ length: 10 }, (_, index) =>
          tapes[index % 2]!.beginRun({ appName: "race", invocationId: String(index) })
        )
      )
      const answers = yield* Effect.all(
        runs.map(({ runId }, index) =>
          tapes[index % 2]!.beginEffect({
            runId,
            toolName: "pay",
            dispatchMode: EffectDispatchMode.OUTBOX,
            connector: "bank",
            businessKey: "order-1"
          })
        ),
        unbounded
      )
      assert.strictEqual(new Set(answers.map(({ idempotencyKey }) => idempotencyKey)).size, 1)
      const { query } = yield* Postgres.Postgres
      assert.deepStrictEqual(yield* query(url, "select count(*)::int as effects from effects"), [{ effects: 1 }])
    })
  )

  it.scoped("no charge is lost, and the journal of a run has no gap, when all servers write to one run", () =>
    Effect.gen(function* () {
      const { tapes, url } = yield* openTapes(3)
      const { runId } = yield* tapes[0]!.beginRun({ appName: "sum" })
      yield* Effect.all(
        Array.from({ length: 300 }, (_, index) => {
          const tape = tapes[index % tapes.length]!
          return index % 2 === 0
            ? Effect.asVoid(tape.chargeBudget({ runId, tokens: 1n }))
            : Effect.asVoid(tape.recordDecision({ runId, decisionIndex: BigInt(index) }))
        }),
        unbounded
      )
      const { budget } = yield* tapes[1]!.admitBudget({ runId })
      assert.strictEqual(budget?.tokensSpent, 150n)
      const { query } = yield* Postgres.Postgres
      const entries = yield* query(url, "select seq::int, global_seq::int from journal order by global_seq")
      assert.deepStrictEqual(
        entries.map(({ seq }) => seq),
        Array.from({ length: 151 }, (_, index) => index + 1)
      )
      assert.deepStrictEqual(
        entries.map(({ global_seq }) => global_seq),
        Array.from({ length: 151 }, (_, index) => index + 1)
      )
    })
  )

  it.scoped("a change that another server has not committed yet is waited for, not overwritten", () =>
    Effect.gen(function* () {
      const { tapes, url } = yield* openTapes(1)
      const [tape] = tapes
      const other = yield* rival(url)
      const { runId } = yield* tape!.beginRun({ appName: "wait" })
      yield* tape!.chargeBudget({ runId, tokens: 1n })
      // Who finds the deadlock gives way: the one that has waited for a second when there is one.
      const givesWay = Effect.gen(function* () {
        yield* other("begin")
        yield* other(`update budgets set tokens_spent = 100 where run_id = '${runId}'`)
        const charge = yield* Effect.fork(tape!.chargeBudget({ runId, tokens: 7n }))
        yield* waitingForLocks(url, 1)
        // The server holds the run and waits for the budget; now the other way round.
        const crossed = yield* Effect.exit(other(`update runs set detail_json = 'seen' where run_id = '${runId}'`))
        yield* other("commit")
        const { tokensSpent } = yield* Fiber.join(charge)
        if (Exit.isSuccess(crossed)) assert.strictEqual(tokensSpent, 107n)
        return Exit.isSuccess(crossed)
      })
      yield* Effect.repeat(givesWay, { until: (server) => server, times: 5 })
      assert.strictEqual((yield* tape!.getRun({ runId })).runId, runId)
    })
  )

  it.scoped("each due timer is claimed once", () =>
    Effect.gen(function* () {
      const { tapes } = yield* openTapes(2)
      const { runId } = yield* tapes[0]!.beginRun({ appName: "timers" })
      const ids = Array.from({ length: 60 }, (_, index) => `timer-${index}`)
      yield* Effect.forEach(ids, (timerId) => tapes[0]!.setTimer({ runId, timerId, fireAtMs: 1n }), unbounded)
      const claims = yield* Effect.all(
        Array.from({ length: 30 }, (_, index) => tapes[index % 2]!.listDueTimers({ limit: 3n, claim: true })),
        unbounded
      )
      const claimed = claims.flatMap(({ timers }) => timers.map(({ timerId }) => timerId))
      assert.strictEqual(claimed.length, new Set(claimed).size)
      const rest = yield* tapes[1]!.listDueTimers({ limit: 100n, claim: true })
      assert.sameMembers([...claimed, ...rest.timers.map(({ timerId }) => timerId)], ids)
    })
  )

  it.scoped("what one server ends, another one does not go on with", () =>
    Effect.gen(function* () {
      const { url } = yield* openTapes(0)
      const [first, second] = yield* Effect.all([openTape(url), openTape(url)])
      const { runId } = yield* first!.beginRun({ appName: "end" })
      yield* second!.recordDecision({ runId })
      yield* second!.endRun({ runId, status: RunStatus.TERMINAL })
      const refused = yield* Effect.flip(first!.recordDecision({ runId, decisionIndex: 1n }))
      assert.match(refused.message, /finished/)
    })
  )
})
