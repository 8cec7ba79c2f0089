import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Either, FastCheck, Runtime, TestClock } from "effect"
import { TapeClient } from "effect-tape"
import { HandlerKind, type Task, TaskStatus } from "effect-tape/proto"
import { tasks, tasksWhen, write } from "../fixtures/matcher-tape.js"
import { tapeOverStore as tape } from "./ledgerFixtures.js"

const taskCount = 4
const leaseMs = 1_000
const backoffMs = 100
const dlqAfterN = 3

/** What is known of a task, by anybody who has seen all calls. */
interface Known {
  status: TaskStatus
  attempts: number
  owner: string
  expiresAt: number
  nextAt: number
  finishedBy: string
  error: string
}

type Command =
  | { readonly _tag: "Claim"; readonly owner: string; readonly max: number }
  | { readonly _tag: "Complete"; readonly owner: string; readonly task: number }
  | { readonly _tag: "Nack"; readonly owner: string; readonly task: number; readonly permanent: boolean }
  | { readonly _tag: "Wait"; readonly ms: number }

const owner = FastCheck.constantFrom("A", "B", "C")
const task = FastCheck.nat(taskCount - 1)
const commands = FastCheck.array(
  FastCheck.oneof(
    {
      weight: 4,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("Claim" as const),
        owner,
        max: FastCheck.integer({ min: 1, max: taskCount })
      })
    },
    { weight: 3, arbitrary: FastCheck.record({ _tag: FastCheck.constant("Complete" as const), owner, task }) },
    {
      weight: 3,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("Nack" as const),
        owner,
        task,
        permanent: FastCheck.constantFrom(false, false, true)
      })
    },
    {
      weight: 3,
      arbitrary: FastCheck.record({
        _tag: FastCheck.constant("Wait" as const),
        ms: FastCheck.constantFrom(1, 99, 100, 200, 400, leaseMs, leaseMs + 1)
      })
    }
  ),
  { minLength: 5, maxLength: 40 }
)

const unowned = { owner: "", expiresAt: 0 }

/** A claim hands out as many as it can, of those that it may, the fresh ones in order and first. */
const checkClaim = (model: ReadonlyArray<Known>, claimed: ReadonlyArray<number>, max: number, now: number): void => {
  const indexes = model.map((_, index) => index)
  const isSilent = (known: Known) => known.status === TaskStatus.CLAIMED && known.expiresAt < now
  const silent = indexes.filter((index) => isSilent(model[index]!) && model[index]!.attempts < dlqAfterN)
  const due = indexes.filter((index) => model[index]!.status === TaskStatus.PENDING && model[index]!.nextAt <= now)
  const fresh = due.filter((index) => model[index]!.nextAt === 0)
  assert.lengthOf(claimed, Math.min(max, silent.length + due.length))
  assert.strictEqual(new Set(claimed).size, claimed.length)
  assert.isTrue(claimed.every((index) => silent.includes(index) || due.includes(index)))
  const freshClaimed = claimed.filter((index) => fresh.includes(index))
  assert.deepStrictEqual(freshClaimed, fresh.slice(0, freshClaimed.length))
  if (claimed.some((index) => due.includes(index) && !fresh.includes(index))) {
    assert.strictEqual(freshClaimed.length, fresh.length)
  }
}

const seenOf = (found: Task): Known => ({
  status: found.status,
  attempts: found.attempts,
  owner: found.leaseOwner,
  expiresAt: Number(found.leaseExpiresAtMs),
  nextAt: Number(found.nextAttemptAtMs),
  finishedBy: "",
  error: found.lastError
})

let sequences = 0

const follow = (script: ReadonlyArray<Command>) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    sequences += 1
    const namespace = `model-${sequences}`
    yield* tape.registerReaction({
      reactionId: namespace,
      subjectPattern: `/tape/value/changed/${namespace}/**`,
      handlerKind: HandlerKind.TASK,
      bootstrapFromHead: true,
      retryBackoffMs: backoffMs,
      dlqAfterN
    })
    for (let index = 0; index < taskCount; index++) {
      yield* write(`${index}`, "1", namespace)
    }
    const ids = (yield* tasksWhen(taskCount, namespace)).map(({ taskId }) => taskId)
    const model = ids.map(
      (): Known => ({ status: TaskStatus.PENDING, attempts: 0, ...unowned, nextAt: 0, finishedBy: "", error: "" })
    )

    for (const command of script) {
      const now = yield* Clock.currentTimeMillis
      switch (command._tag) {
        case "Wait": {
          yield* TestClock.adjust(command.ms)
          break
        }
        case "Claim": {
          const answer = yield* tape.claimTasks({
            reactionId: namespace,
            shard: -1,
            owner: command.owner,
            max: command.max,
            leaseMs: BigInt(leaseMs)
          })
          const claimed = answer.tasks.map(({ taskId }) => ids.indexOf(taskId))
          checkClaim(model, claimed, command.max, now)
          model.forEach((known, index) => {
            if (claimed.includes(index)) {
              Object.assign(known, {
                status: TaskStatus.CLAIMED,
                attempts: known.attempts + 1,
                owner: command.owner,
                expiresAt: now + leaseMs
              })
            } else if (known.status === TaskStatus.CLAIMED && known.expiresAt < now && known.attempts >= dlqAfterN) {
              const error = `lease expired after attempt ${known.attempts}, last owner ${known.owner}`
              Object.assign(known, { status: TaskStatus.DLQ, ...unowned, error })
            }
          })
          break
        }
        case "Complete":
        case "Nack": {
          const known = model[command.task]!
          const request = { taskId: ids[command.task]!, owner: command.owner }
          const isHeld = known.status === TaskStatus.CLAIMED && known.owner === command.owner
          if (command._tag === "Complete") {
            const isRepeat = known.status === TaskStatus.DONE && known.finishedBy === command.owner
            const outcome = yield* Effect.either(tape.completeTask(request))
            assert.strictEqual(Either.isRight(outcome), isHeld || isRepeat)
            if (isHeld) {
              Object.assign(known, { status: TaskStatus.DONE, ...unowned, finishedBy: command.owner })
            }
          } else {
            const outcome = yield* Effect.either(
              tape.nackTask({ ...request, permanent: command.permanent, error: `by ${command.owner}` })
            )
            assert.strictEqual(Either.isRight(outcome), isHeld)
            if (isHeld) {
              const isDead = command.permanent || known.attempts >= dlqAfterN
              Object.assign(known, {
                ...unowned,
                error: `by ${command.owner}`,
                ...(isDead
                  ? { status: TaskStatus.DLQ }
                  : { status: TaskStatus.PENDING, nextAt: now + backoffMs * 2 ** (known.attempts - 1) })
              })
            }
          }
        }
      }
      const seen = (yield* tasks(namespace)).map(seenOf)
      assert.deepStrictEqual(
        seen,
        model.map((known) => ({ ...known, finishedBy: "" }))
      )
    }
    yield* tape.deregisterReaction({ reactionId: namespace })
  })

describe("tasks", () => {
  it.effect(
    "have one owner at a time and end once, whatever is called in whatever order",
    () =>
      Effect.gen(function* () {
        const runtime = yield* Effect.runtime<TapeClient>()
        yield* Effect.promise(() =>
          FastCheck.assert(
            FastCheck.asyncProperty(commands, (script) => Runtime.runPromise(runtime)(follow(script))),
            { numRuns: 200 }
          )
        )
      }).pipe(Effect.provide(tape)),
    { timeout: 120_000 }
  )
})
