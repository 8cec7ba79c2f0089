/** Effects as tasks of a queue: one task for one key, enqueued told from executed, undone as long as it can be. */
import { createHash } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { status } from "@grpc/grpc-js"
import { Effect, Layer, Redacted } from "effect"
import type * as Connectors from "../src/Connectors.js"
import { CloudTasks } from "../src/gcp/index.js"
import * as Outbox from "../src/Outbox.js"
import { connectorOf, google, obligation, quiet, request } from "./gcp.fixtures.js"
import { options as dispatching, intend, read, statusOf, tags } from "./Outbox.dispatcher.fixtures.js"
import { tape } from "./Reactions.fixtures.js"
import * as Bank from "./support/Bank.js"
import { queue, type Task } from "./support/google.js"

const target = { location: "europe-west1", queue: "wires", url: "https://bank.example/wires" } as const
const nameOf = (key: string) => `${queue}/tasks/${createHash("sha256").update(key).digest("hex")}`
const name = nameOf(request.idempotencyKey)

const made = (options: Partial<CloudTasks.ConnectorOptions> = {}, observe?: () => Effect.Effect<Connectors.Observed>) =>
  Effect.gen(function* () {
    const fake = yield* google()
    const layer = CloudTasks.connector("bank.wire", { ...target, doneWhen: "enqueued", ...options, observe })
    return { fake, connector: yield* connectorOf(Layer.provide(layer, fake.cloudTasks)) }
  })

/** The task is executed: it leaves the queue, and its name is remembered. */
const tried = (tasks: Map<string, Task>, dispatchCount: number) =>
  Effect.sync(() => {
    const task = tasks.get(name)
    if (task !== undefined) tasks.set(name, { ...task, dispatchCount })
  })

describe("dispatching to Cloud Tasks", () => {
  it.scopedLive("one key is one task, however often it is sent; another key is another task", () =>
    Effect.gen(function* () {
      const { connector, fake } = yield* made()
      assert.deepStrictEqual(yield* connector.dispatch(request), {
        _tag: "confirmed",
        externalRef: name,
        response: { task: name }
      })
      assert.deepInclude(yield* connector.dispatch({ ...request, attempt: 2 }), {
        _tag: "confirmed",
        response: { task: name, deduped: true }
      })
      // Keys that cleaning would have made the same.
      yield* connector.dispatch({ ...request, idempotencyKey: "a:b" })
      yield* connector.dispatch({ ...request, idempotencyKey: "a-b" })
      assert.deepStrictEqual([...fake.tasks.keys()], [name, nameOf("a:b"), nameOf("a-b")])
    })
  )

  it.scopedLive("a task posts the payload, says whose it is, and carries a token", () =>
    Effect.gen(function* () {
      const { connector, fake } = yield* made({
        headers: { "x-key": Redacted.make("secret"), "X-Tape-Run-Id": "forged" },
        serviceAccount: "agent@test.iam.gserviceaccount.com",
        dispatchDeadline: "90 seconds"
      })
      yield* connector.dispatch({ ...request, businessKey: "Zürich" })
      const task = fake.tasks.get(name)
      assert.deepInclude(task?.httpRequest, {
        url: target.url,
        headers: {
          "content-type": "application/json",
          "x-key": "secret",
          "x-tape-idempotency-key": request.idempotencyKey,
          "x-tape-run-id": request.runId,
          "x-tape-business-key": "Z%C3%BCrich"
        }
      })
      assert.strictEqual(task?.httpRequest.body.toString(), '{"amount":100}')
      assert.deepInclude(task?.httpRequest.oidcToken, {
        serviceAccountEmail: "agent@test.iam.gserviceaccount.com",
        audience: target.url
      })
      assert.strictEqual(Number(task?.dispatchDeadline?.seconds), 90)
      const oauth = yield* made({ serviceAccount: "a@b", tokenKind: "oauth" })
      yield* oauth.connector.dispatch(request)
      assert.deepInclude(oauth.fake.tasks.get(name)?.httpRequest.oauthToken, {
        serviceAccountEmail: "a@b",
        scope: "https://www.googleapis.com/auth/cloud-platform"
      })
    })
  )

  it.scopedLive("tells what did not happen from what may have, and does not repeat it by itself", () =>
    Effect.gen(function* () {
      const { connector, fake } = yield* made()
      const refusals = [
        [status.INVALID_ARGUMENT, { _tag: "failed", final: true }],
        [status.PERMISSION_DENIED, { _tag: "failed", final: true }],
        [status.RESOURCE_EXHAUSTED, { _tag: "failed", final: false }],
        [status.UNAVAILABLE, { _tag: "unknown" }]
      ] as const
      for (const [code, expected] of refusals) {
        fake.troubles.CreateTask.push({ code, books: code === status.UNAVAILABLE })
        assert.deepInclude(yield* connector.dispatch(request), expected, status[code])
      }
      assert.strictEqual(fake.count("CreateTask"), refusals.length)
      assert.deepInclude(yield* connector.dispatch(request), { response: { task: name, deduped: true } })
      const elsewhere = yield* made({ queue: "none" })
      assert.deepInclude(yield* elsewhere.connector.dispatch(request), { _tag: "failed", final: true })
    })
  )

  it.scopedLive("refuses options that cannot work", () =>
    Effect.gen(function* () {
      const { cloudTasks } = yield* google()
      const refused = (options: Partial<CloudTasks.ConnectorOptions>) =>
        Layer.build(CloudTasks.connector("bank.wire", { ...target, ...options })).pipe(
          Effect.provide(cloudTasks),
          Effect.flip,
          Effect.map(String)
        )
      assert.match(yield* refused({}), /give observeUrl or observe/)
      assert.match(yield* refused({ doneWhen: "enqueued", queue: "a/b" }), /queue/)
      assert.match(yield* refused({ doneWhen: "enqueued", url: "wires" }), /not an http\(s\) address/)
      assert.match(yield* refused({ observeUrl: "wires" }), /observeUrl/)
    })
  )
})

describe("observing a task", () => {
  it.scopedLive("enqueued: there it is, or nobody knows", () =>
    Effect.gen(function* () {
      const { connector, fake } = yield* made()
      assert.deepInclude(yield* connector.observe(request), { _tag: "unknown" })
      yield* connector.dispatch(request)
      assert.deepInclude(yield* connector.observe(request), { _tag: "confirmed", externalRef: name })
      fake.troubles.GetTask.push({ code: status.PERMISSION_DENIED })
      assert.deepInclude(yield* connector.observe(request), { _tag: "unknown" })
    })
  )

  it.scopedLive("executed: an absence counts only when no task waits, and is asked for once more", () =>
    Effect.gen(function* () {
      const absent: Connectors.Observed = { _tag: "absent", conclusive: true }
      const answers: Array<Connectors.Observed> = []
      const { connector, fake } = yield* made({ doneWhen: "executed" }, () =>
        Effect.sync(() => answers.shift() ?? absent)
      )
      assert.deepStrictEqual(yield* connector.dispatch(request), { _tag: "pending", externalRef: name })
      assert.deepStrictEqual(yield* connector.dispatch(request), { _tag: "pending", externalRef: name })
      assert.deepStrictEqual(yield* connector.observe(request), {
        _tag: "unknown",
        error: "it is in the queue, after 0 tries"
      })
      fake.tasks.delete(name)
      assert.deepStrictEqual(yield* connector.observe(request), absent)
      answers.push(absent, { _tag: "confirmed", externalRef: "w-1" })
      assert.deepInclude(yield* connector.observe(request), { _tag: "confirmed", externalRef: "w-1" })
      fake.troubles.GetTask.push({ code: status.UNAVAILABLE })
      assert.deepInclude(yield* connector.observe(request), { _tag: "unknown" })
    })
  )

  it.scopedLive("through the outbox: accepted, then confirmed once the bank has it, and one wire", () =>
    Effect.gen(function* () {
      const fake = yield* google()
      const bank = yield* Bank.make
      const connector = CloudTasks.connector("bank.wire", { ...target, url: bank.url, observeUrl: bank.searchUrl })
      yield* Effect.gen(function* () {
        const intent = yield* intend("bk-1")
        const now = { ...dispatching, backOff: "1 milli" } as const
        assert.deepStrictEqual(tags(yield* Outbox.dispatchOnce(now)), ["pending"])
        assert.strictEqual(yield* statusOf(intent), "PENDING")
        const [task] = fake.tasks.values()
        if (task === undefined) return assert.fail("no task")
        const { body, headers, url } = task.httpRequest
        yield* Effect.promise(() => fetch(url, { method: "POST", headers, body: new Uint8Array(body) }))
        fake.tasks.clear()
        const outcomes: Array<Outbox.Outcome> = []
        while (outcomes.length === 0) {
          yield* Effect.sleep("50 millis")
          outcomes.push(...(yield* Outbox.dispatchOnce(now)))
        }
        assert.deepInclude(outcomes[0], { _tag: "confirmed", observed: true })
        assert.strictEqual((yield* bank.ledger).length, 1)
        assert.strictEqual((yield* read(intent)).dispatchAttempts, 1)
      }).pipe(Effect.provide([tape, quiet]), Effect.provide(Layer.provide(connector, fake.cloudTasks)))
    })
  )
})

describe("compensating a task", () => {
  it.scopedLive("one that was never tried is deleted; what was tried needs the counterparty", () =>
    Effect.gen(function* () {
      const { connector, fake } = yield* made()
      yield* connector.dispatch(request)
      assert.deepStrictEqual(yield* connector.compensate(obligation), {
        _tag: "compensated",
        response: { deleted: name }
      })
      assert.strictEqual(fake.tasks.size, 0)
      assert.match(JSON.stringify(yield* connector.compensate(obligation)), /stuck.*has left its queue/)
      fake.remembered.clear()
      yield* connector.dispatch(request)
      yield* tried(fake.tasks, 3)
      fake.troubles.DeleteTask.push({ code: status.UNAVAILABLE })
      assert.deepInclude(yield* connector.compensate(obligation), { _tag: "pending" })
      assert.match(JSON.stringify(yield* connector.compensate(obligation)), /stuck.*was tried/)
      assert.strictEqual(fake.tasks.size, 0)
      fake.troubles.GetTask.push({ code: status.UNAVAILABLE })
      assert.deepInclude(yield* connector.compensate(obligation), { _tag: "pending" })
    })
  )

  it.scopedLive("what has left the queue is undone at compensateUrl", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const { connector } = yield* made({ compensateUrl: bank.url })
      assert.deepInclude(yield* connector.compensate(obligation), { _tag: "compensated" })
      const [undone] = yield* bank.ledger
      assert.deepInclude(undone, { idempotencyKey: request.idempotencyKey, payload: { id: 7 } })
    })
  )
})
