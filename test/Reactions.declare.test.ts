/** What can be declared, and how it is registered. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, FastCheck, Schema } from "effect"
import { TapeClient } from "../src/Client.js"
import { Subject as EngineSubject } from "../src/engine/index.js"
import { HandlerKind, TaskStatus } from "../src/gen/tape/v1/tape_pb.js"
import { patternProblem } from "../src/internal/Subject.js"
import * as Reactions from "../src/Reactions.js"
import { idOf, options, tags, tape, tasksWhen, write } from "./Reactions.fixtures.js"

const run = () => Effect.void

describe("patterns", () => {
  const cases: ReadonlyArray<readonly [string, Reactions.Reaction<unknown>, string]> = [
    ["no key", Reactions.onValueChanged("r", { namespace: "n", run }), "/tape/value/changed/n/**"],
    [
      "RCT-25 · an empty key",
      Reactions.onValueChanged("r", { namespace: "n", key: "", run }),
      "/tape/value/changed/n/**"
    ],
    ["RCT-25 · any key", Reactions.onValueChanged("r", { namespace: "n", key: "*", run }), "/tape/value/changed/n/*"],
    [
      "a key",
      Reactions.onValueChanged("r", { namespace: "a b", key: "x/y:z@é", run }),
      "/tape/value/changed/a%20b/x%2Fy:z@é"
    ],
    ["a deleted value", Reactions.onValueDeleted("r", { namespace: "*", run }), "/tape/value/deleted/*/**"],
    ["any tool", Reactions.onEffectConfirmed("r", { run }), "/tape/effect/confirmed/*/**"],
    ["a tool", Reactions.onEffectFailed("r", { tool: "wire money", run }), "/tape/effect/failed/wire%20money/**"],
    ["unknown", Reactions.onEffectUnknown("r", { tool: "t", run }), "/tape/effect/unknown/t/**"],
    ["decisions", Reactions.onDecision("r", { run }), "/tape/decision/recorded/**"],
    ["gates", Reactions.onGate("r", { run }), "/tape/gate/released/*/**"],
    ["a gate", Reactions.onGate("r", { gate: "cfo", verb: "waiting", run }), "/tape/gate/waiting/cfo/**"],
    ["runs", Reactions.onRun("r", { run }), "/tape/run/terminal/**"],
    ["failed runs", Reactions.onRun("r", { status: "failed", run }), "/tape/run/failed/**"],
    ["custom", Reactions.on("r", { pattern: "/tape/policy", run }), "/tape/policy"]
  ]
  for (const [what, reaction, pattern] of cases) {
    it(what, () => assert.strictEqual(reaction.subjectPattern, pattern))
  }

  it("encode as the engine does", () => {
    const text = FastCheck.oneof(
      FastCheck.string({ unit: "binary" }),
      FastCheck.string({ unit: FastCheck.constantFrom(..." /*%?#\\:@+=_~é\t".split("")) })
    )
    FastCheck.assert(
      FastCheck.property(text, (text) => {
        assert.strictEqual(Reactions.encodeSegment(text), EngineSubject.encode(text))
        assert.strictEqual(patternProblem(text), EngineSubject.patternProblem(text))
      }),
      { numRuns: 50 }
    )
  })

  it.effect("find every key again, however it is written", () =>
    Effect.gen(function* () {
      const keys = ["a:b", "a@b", "a+b", "a=b,c", "a b", "é", "x/y", "50%", "", "_", "日本", "#?\\", "a&b~.'()!"]
      const seen: Array<string> = []
      const reactions = keys
        .filter((key) => key !== "")
        .map((key, index) =>
          Reactions.onValueChanged(`r${index}`, {
            namespace: `n ${index}`,
            key,
            run: (event) => Effect.sync(() => void seen.push(event.key))
          })
        )
      yield* Reactions.register(reactions, options)
      yield* Effect.forEach(reactions, (_, index) => write(keys.filter((key) => key !== "")[index]!, 1, `n ${index}`))
      yield* Effect.forEach(reactions, ({ name }) => tasksWhen(name, 1), { discard: true })
      yield* Reactions.dispatchOnce(reactions, options)
      assert.sameMembers(
        seen,
        keys.filter((key) => key !== "")
      )
    }).pipe(Effect.provide(tape))
  )
})

describe("what a match starts", () => {
  const refused = (what: string, declare: () => unknown, words: RegExp) =>
    it(`${what}: refused`, () => {
      try {
        declare()
      } catch (error) {
        assert.instanceOf(error, Reactions.ReactionMisconfigured)
        assert.match(String(error), words)
        return
      }
      assert.fail("it was accepted")
    })

  // What types refuse reaches us from JavaScript.
  const untyped = (given: object) => () => Reactions.on("r", { pattern: "", ...given } as never)
  refused("RCT-25 · agent and publish", untyped({ agent: "a", publish: "p" }), /has agent and publish/)
  refused("run and agent", untyped({ agent: "a", run }), /has run and agent/)
  refused("nothing", untyped({}), /nothing to do/)
  refused("an agent without a name", untyped({ agent: "" }), /agent is empty/)
  refused("no name", () => Reactions.onRun("", { run }), /needs a name/)
  refused("a broken pattern", () => Reactions.on("r", { pattern: "/tape/**/x", run }), /\*\* is only allowed/)
  refused("half a slot", () => Reactions.onRun("r", { maxConcurrency: 0.5, run }), /maxConcurrency is 0.5/)
  refused("an endless debounce", () => Reactions.onRun("r", { debounce: Infinity, run }), /debounce in milliseconds/)

  it.effect("RCT-25 · is a task, an agent, or a message", () =>
    Effect.gen(function* () {
      const registered = yield* Reactions.register(
        [
          Reactions.onRun("task", { run }),
          Reactions.onRun("agent", { agent: "followup" }),
          Reactions.onRun("publish", { publish: "projects/p/topics/t" })
        ],
        options
      )
      assert.deepStrictEqual(
        registered.map(({ agentApp, handlerKind, publishTarget }) => [handlerKind, agentApp, publishTarget]),
        [
          [HandlerKind.TASK, "", ""],
          [HandlerKind.AGENT, "followup", ""],
          [HandlerKind.PUBLISH, "", "projects/p/topics/t"]
        ]
      )
    }).pipe(Effect.provide(tape))
  )
})

describe("registering", () => {
  it("makes ids of app and name that never change", () => {
    assert.match(Reactions.idOf("a", "b"), /^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.strictEqual(Reactions.idOf("treasury", "reprice"), "c9cb750e-3983-5034-a6e9-884caee319a3")
    const pairs = [
      Reactions.idOf("a", "b"),
      Reactions.idOf("ab", ""),
      Reactions.idOf("", "ab"),
      Reactions.idOf("b", "a")
    ]
    assert.strictEqual(new Set(pairs).size, 4)
  })

  it.effect("again changes the same rows, by any number of replicas", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const first = Reactions.onRun("r", { run, shards: 3, retries: 2, backoff: "2 seconds", deadLetterAfter: 4 })
      yield* Effect.all([Reactions.register([first], options), Reactions.register([first], options)])
      yield* Reactions.register([Reactions.onRun("r", { run, status: "failed", rateLimit: 7, where: "true" })], options)
      const { reactions } = yield* tape.listReactions({})
      assert.strictEqual(reactions.length, 1)
      assert.deepInclude(reactions[0], {
        reactionId: idOf("r"),
        name: "r",
        subjectPattern: "/tape/run/failed/**",
        predicateCel: "true",
        rateLimitPerS: 7,
        numShards: 1
      })
    }).pipe(Effect.provide(tape))
  )

  it.effect("prunes on request what this app no longer declares, and nothing else", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const [a, b] = [Reactions.onRun("a", { run }), Reactions.onRun("b", { run })]
      yield* Reactions.register([a, b, Reactions.onRun("own", { id: "own-id", run })], options)
      yield* Reactions.register([b], { app: "another" })
      yield* Reactions.register([a], options)
      const ids = Effect.map(tape.listReactions({}), ({ reactions }) => reactions.map(({ reactionId }) => reactionId))
      assert.strictEqual((yield* ids).length, 4)
      yield* Reactions.register([a], { ...options, prune: true })
      assert.sameMembers(yield* ids, [idOf("a"), "own-id", Reactions.idOf("another", "b")])
    }).pipe(Effect.provide(tape))
  )

  it.effect("refuses one name twice, an empty app, and an empty set to dispatch", () =>
    Effect.gen(function* () {
      const r = Reactions.onRun("r", { run })
      const twice = yield* Effect.flip(Reactions.register([r, r], options))
      assert.strictEqual(twice._tag, "ReactionMisconfigured")
      const nobodys = yield* Effect.flip(Reactions.register([r], { app: "" }))
      assert.match(nobodys.message, /its app is empty/)
      yield* Reactions.register([Reactions.onRun("r", { id: "own-id", run })], { app: "" })
      const none = yield* Effect.flip(Reactions.dispatchOnce([], options))
      assert.match(none.message, /no reactions/)
    }).pipe(Effect.provide(tape))
  )

  it.effect("can leave out what is in the journal", () =>
    Effect.gen(function* () {
      yield* write("old")
      const reaction = (name: string, bootstrapFromHead: boolean) =>
        Reactions.onValueChanged(name, { namespace: "n", bootstrapFromHead, run })
      const reactions = [reaction("all", false), reaction("new", true)]
      yield* Reactions.register(reactions, options)
      yield* write("new")
      assert.strictEqual((yield* tasksWhen("all", 2)).length, 2)
      assert.strictEqual((yield* tasksWhen("new", 1)).length, 1)
    }).pipe(Effect.provide(tape))
  )
})

describe("what handlers receive", () => {
  it.effect("a value, decoded; its version, key and writer; the task", () =>
    Effect.gen(function* () {
      const seen: Array<Reactions.ValueChanged<Date>> = []
      const reaction = Reactions.onValueChanged("r", {
        namespace: "n",
        value: Schema.Date,
        run: (event) => Effect.sync(() => void seen.push(event))
      })
      yield* Reactions.register([reaction], options)
      yield* write("k", "2026-01-02T03:04:05.000Z")
      const [task] = yield* tasksWhen("r", 1)
      assert.deepStrictEqual(tags(yield* Reactions.dispatchOnce([reaction], options)), ["done"])
      const [event] = seen
      assert.deepInclude(event, { namespace: "n", key: "k", version: 1n, attempt: 1, runId: "" })
      assert.strictEqual(event?.value.getTime(), Date.UTC(2026, 0, 2, 3, 4, 5))
      assert.strictEqual(event?.subject, "/tape/value/changed/n/k")
      assert.strictEqual(event?.globalSeq, task?.sourceGlobalSeq)
      assert.strictEqual(event?.task.taskId, task?.taskId)
    }).pipe(Effect.provide(tape))
  )

  it.effect("what cannot be read is a dead letter at once, and says why", () =>
    Effect.gen(function* () {
      const reaction = Reactions.onValueChanged("r", { namespace: "n", value: Schema.Number, run: () => Effect.void })
      yield* Reactions.register([reaction], options)
      yield* write("k", "not a number")
      yield* tasksWhen("r", 1)
      assert.deepStrictEqual(tags(yield* Reactions.dispatchOnce([reaction], options)), ["dead-letter"])
      const [task] = yield* tasksWhen("r", 1)
      assert.strictEqual(task?.status, TaskStatus.DLQ)
      assert.match(task?.lastError ?? "", /the value cannot be read: .*number/s)
    }).pipe(Effect.provide(tape))
  )

  it.effect("runs, decisions, effects, gates, deletions, and anything", () =>
    Effect.gen(function* () {
      const seen: Array<object> = []
      const note = (event: Reactions.Event) =>
        Effect.sync(() => {
          const { attempt: _, globalSeq: __, runId: ___, subject: ____, task: _____, ...fields } = event
          seen.push(fields)
        })
      const reactions = [
        Reactions.onRun("run", { status: "running", run: note }),
        Reactions.onDecision("decision", { run: note }),
        Reactions.onEffectConfirmed("effect", { tool: "wire", run: note }),
        Reactions.onGate("gate", { gate: "cfo", verb: "waiting", run: note }),
        Reactions.onValueDeleted("deleted", { namespace: "n", run: note }),
        Reactions.on("any", {
          pattern: "/tape/run/running/**",
          payload: Schema.Struct({ app: Schema.String }),
          run: note
        })
      ]
      yield* Reactions.register(reactions, options)
      const tape = yield* TapeClient
      const { runId } = yield* tape.beginRun({ appName: "a", userId: "u", sessionId: "s", invocationId: "i" })
      yield* tape.recordDecision({ runId, decisionIndex: 0n, model: "m", policyVersion: "p", rationale: "why" })
      const { idempotencyKey } = yield* tape.beginEffect({
        runId,
        decisionIndex: 0n,
        toolName: "wire",
        requestJson: "{}"
      })
      yield* tape.completeEffect({ runId, idempotencyKey, status: 2, responseJson: "{}" })
      yield* tape.awaitSignal({ runId, gateName: "cfo" })
      yield* write("k")
      yield* tape.deleteValue({ namespace: "n", key: "k" })
      yield* Effect.forEach(reactions, ({ name }) => tasksWhen(name, 1), { discard: true })
      const outcomes = yield* Reactions.dispatchOnce(reactions, options)
      assert.deepStrictEqual(
        outcomes.filter(({ _tag }) => _tag !== "done"),
        []
      )
      assert.sameDeepMembers(seen, [
        { status: "running", app: "a", user: "u", session: "s" },
        { decisionIndex: 0, model: "m", policyVersion: "p", rationale: "why" },
        { tool: "wire", idempotencyKey, status: "confirmed", error: "" },
        { gate: "cfo", status: "waiting" },
        { namespace: "n", key: "k", version: 2n },
        { payload: { app: "a" } }
      ])
    }).pipe(Effect.provide(tape))
  )
})
