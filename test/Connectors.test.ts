import * as FileSystem from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Config, ConfigProvider, Context, Duration, Effect, Exit, Layer, Logger, Redacted } from "effect"
import * as Connectors from "../src/Connectors.js"
import * as Bank from "./support/Bank.js"

const request = new Connectors.Request({
  runId: "run-1",
  idempotencyKey: "run-1/decision-0/wire_money/0",
  tool: "wire_money",
  connector: "bank.wire",
  businessKey: "ACME:100",
  semantics: "non_idempotent",
  attempt: 2,
  payload: { amount: 100 }
})

const bankOf = (bank: Bank.Bank, options: Partial<Connectors.HttpOptions> = {}) =>
  Connectors.http("bank.wire", { url: bank.url, observeUrl: bank.searchUrl, ...options })

const built = <Name extends string, E>(name: Name, layer: Layer.Layer<Connectors.Connector<Name>, E>) =>
  Effect.map(Layer.build(layer), (context) => Context.get(context, Connectors.Tag(name)))

const observe = (protocol: Connectors.Protocol) => protocol.observe?.(request) ?? Effect.dieMessage("cannot observe")

const temporary = Effect.acquireRelease(
  Effect.promise(() => FileSystem.mkdtemp(Path.join(Os.tmpdir(), "effect-tape-"))),
  (path) => Effect.promise(() => FileSystem.rm(path, { recursive: true }))
)

describe("Connectors.http", () => {
  it.scoped("OUT-23: 200, 404, 503 and a dropped connection are confirmed, failed, unknown, unknown", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const wire = yield* built("bank.wire", bankOf(bank))
      const confirmed = yield* wire.dispatch(request)
      yield* bank.wires(Bank.answer(404, "no such account"), Bank.answer(503), Bank.drop)
      const failed = yield* wire.dispatch(request)
      const unavailable = yield* wire.dispatch(request)
      const dropped = yield* wire.dispatch(request)

      assert.deepStrictEqual(confirmed, {
        _tag: "confirmed",
        externalRef: "W-1",
        response: { external_ref: "W-1", wireId: "W-1" }
      })
      assert.deepStrictEqual(failed, { _tag: "failed", error: "http 404: no such account", final: true })
      assert.deepStrictEqual(unavailable, { _tag: "unknown", error: "http 503" })
      assert.strictEqual(dropped._tag, "unknown")

      const [headers] = yield* bank.headers
      assert.strictEqual(headers?.["x-tape-idempotency-key"], request.idempotencyKey)
      assert.strictEqual(headers?.["x-tape-business-key"], "ACME:100")
      assert.strictEqual(headers?.["x-tape-run-id"], "run-1")
      assert.strictEqual(headers?.["x-tape-attempt"], "2")
      assert.strictEqual(headers?.["content-type"], "application/json")
      assert.deepStrictEqual(
        (yield* bank.ledger).map(({ payload }) => payload),
        [{ amount: 100 }]
      )
    })
  )

  it.scoped("408 and 429 are tried again, when Retry-After says so", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const wire = yield* built("bank.wire", bankOf(bank))
      // TestClock stands at 0: two minutes past the epoch are two minutes from now.
      yield* bank.wires(
        Bank.answer(429, "", { "retry-after": "7" }),
        Bank.answer(408, "", { "retry-after": "Thu, 01 Jan 1970 00:02:00 GMT" }),
        Bank.answer(429, "", { "retry-after": "soon" })
      )
      const wait = (answer: Connectors.Dispatched) =>
        answer._tag === "failed" && answer.final === false ? answer.retryAfter : "not to be tried again"
      assert.deepStrictEqual(wait(yield* wire.dispatch(request)), Duration.seconds(7))
      assert.deepStrictEqual(wait(yield* wire.dispatch(request)), Duration.minutes(2))
      assert.strictEqual(wait(yield* wire.dispatch(request)), undefined)
    })
  )

  it.scoped("observing takes nothing for an answer but 200 and an integer count", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const wire = yield* built("bank.wire", bankOf(bank))
      assert.deepStrictEqual(yield* observe(wire), { _tag: "absent", conclusive: true })
      yield* wire.dispatch(request)
      assert.deepStrictEqual(yield* observe(wire), {
        _tag: "confirmed",
        externalRef: "W-1",
        response: { wireId: "W-1" }
      })
      yield* wire.dispatch(request)
      assert.deepInclude(yield* observe(wire), { _tag: "duplicate", externalRef: "W-2" })

      for (const garbage of [
        Bank.answer(200, "<html>login</html>"),
        Bank.answer(200, "{}"),
        Bank.answer(200, "[0]"),
        Bank.answer(200, "null"),
        Bank.answer(200, ""),
        Bank.answer(200, '{"count":"0"}'),
        Bank.answer(200, '{"count":0.5}'),
        Bank.answer(200, '{"count":-1}'),
        Bank.answer(200, '{"count":null}'),
        Bank.answer(201, '{"count":0}'),
        Bank.answer(204),
        Bank.answer(404, '{"count":0}'),
        Bank.drop
      ]) {
        yield* bank.search(garbage)
        assert.strictEqual((yield* observe(wire))._tag, "unknown", JSON.stringify(garbage))
      }
    })
  )

  it.scoped("a search that lags is not conclusive, when one says so", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const wire = yield* built("bank.wire", bankOf(bank, { absenceIsConclusive: false }))
      assert.deepStrictEqual(yield* observe(wire), { _tag: "absent", conclusive: false })
    })
  )

  it.scoped("does not follow a redirect: the effect would be sent twice", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const wire = yield* built("bank.wire", bankOf(bank))
      yield* bank.wires(Bank.answer(307, "", { location: bank.url }))
      assert.strictEqual((yield* wire.dispatch(request))._tag, "unknown")
      assert.deepStrictEqual(yield* bank.ledger, [])
    })
  )

  it.live("gives up after the timeout", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const wire = yield* built("bank.wire", bankOf(bank, { timeout: "50 millis" }))
      yield* bank.wires(Bank.hold)
      assert.deepStrictEqual(yield* wire.dispatch(request), { _tag: "unknown", error: "no answer in time" })
    }).pipe(Effect.scoped)
  )

  it.scoped("sends configured headers, keeps its own, and shows no secret in an error", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const headers = { authorization: Redacted.make("Bearer s3cret"), "X-Tape-Idempotency-Key": "forged" }
      const wire = yield* built("bank.wire", bankOf(bank, { headers }))
      yield* bank.wires(Bank.answer(401, "not welcome: Bearer s3cret"))
      const refused = yield* wire.dispatch(request)
      assert.deepStrictEqual(refused, { _tag: "failed", error: "http 401: not welcome: <redacted>", final: true })
      const [sent] = yield* bank.headers
      assert.strictEqual(sent?.["authorization"], "Bearer s3cret")
      assert.strictEqual(sent?.["x-tape-idempotency-key"], request.idempotencyKey)
    })
  )

  it.scoped("a key in any script can be sent", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const wire = yield* built("bank.wire", bankOf(bank))
      const foreign = new Connectors.Request({ ...request, businessKey: "東京:100" })
      assert.strictEqual((yield* wire.dispatch(foreign))._tag, "confirmed")
      assert.strictEqual((yield* bank.headers)[0]?.["x-tape-business-key"], encodeURIComponent("東京:100"))
    })
  )

  it.scoped("reads its options from the configuration, and names the one that is wrong", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const provider = ConfigProvider.fromMap(
        new Map([
          ["BANK_URL", bank.url],
          ["BAD_URL", "ftp://bank"]
        ])
      )
      const from = (name: string) =>
        Effect.withConfigProvider(
          built("bank.wire", Connectors.http("bank.wire", { url: Config.string(name) })),
          provider
        )
      assert.strictEqual((yield* (yield* from("BANK_URL")).dispatch(request))._tag, "confirmed")
      const exit = yield* Effect.exit(from("BAD_URL"))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", "not an http(s) address")
    })
  )

  it.scoped("uses the HttpClient that its context provides", () =>
    Effect.gen(function* () {
      const client = HttpClient.make((request) =>
        Effect.succeed(HttpClientResponse.fromWeb(request, new Response('{"external_ref":"mine"}')))
      )
      const layer = Connectors.http("bank.wire", { url: "http://bank.invalid" }).pipe(
        Layer.provide(Layer.succeed(HttpClient.HttpClient, client))
      )
      assert.deepInclude(yield* (yield* built("bank.wire", layer)).dispatch(request), { externalRef: "mine" })
    })
  )

  it.scoped("compensates: 2xx, 4xx, 5xx and no address are compensated, failed, pending, stuck", () =>
    Effect.gen(function* () {
      const bank = yield* Bank.make
      const obligation = new Connectors.Obligation({
        runId: "run-1",
        effectKey: request.idempotencyKey,
        kind: "reverse_wire",
        attempt: 1,
        payload: { external_ref: "W-1" }
      })
      const able = yield* built("bank.wire", bankOf(bank, { compensateUrl: bank.url }))
      const unable = yield* built("bank.wire", bankOf(bank))
      const compensate = (protocol: Connectors.Protocol) =>
        Effect.map(protocol.compensate?.(obligation) ?? Effect.dieMessage("cannot"), ({ _tag }) => _tag)
      assert.strictEqual(yield* compensate(able), "compensated")
      yield* bank.wires(Bank.answer(400), Bank.answer(500))
      assert.strictEqual(yield* compensate(able), "failed")
      assert.strictEqual(yield* compensate(able), "pending")
      assert.strictEqual(yield* compensate(unable), "stuck")
      const [headers] = yield* bank.headers
      assert.strictEqual(headers?.["x-tape-idempotency-key"], request.idempotencyKey)
      assert.deepStrictEqual((yield* bank.ledger)[0]?.payload, { external_ref: "W-1" })
    })
  )
})

describe("Connectors.log", () => {
  it.scoped("writes a line for each call and observes by reading them", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporary, "not/there/yet.jsonl")
      const log = yield* built("slack", Connectors.log("slack", { path }))
      assert.deepStrictEqual(yield* observe(log), { _tag: "absent", conclusive: true })
      assert.deepStrictEqual(yield* log.dispatch(request), { _tag: "confirmed", response: { logged: true } })
      assert.strictEqual((yield* observe(log))._tag, "confirmed")

      // A writer died in mid-line.
      yield* Effect.promise(() => FileSystem.appendFile(path, '{"kind":"dispatch","body":{"idempot'))
      yield* log.dispatch(new Connectors.Request({ ...request, idempotencyKey: "another" }))
      assert.strictEqual((yield* observe(log))._tag, "confirmed")
      yield* log.dispatch(request)
      assert.strictEqual((yield* observe(log))._tag, "duplicate")

      const lines = (yield* Effect.promise(() => FileSystem.readFile(path, "utf8"))).trimEnd().split("\n")
      assert.strictEqual(lines.length, 4)
      assert.deepStrictEqual(JSON.parse(lines[0] ?? ""), {
        kind: "dispatch",
        ts_ms: 0,
        body: {
          run_id: "run-1",
          idempotency_key: request.idempotencyKey,
          tool: "wire_money",
          connector: "bank.wire",
          business_key: "ACME:100",
          semantics: "non_idempotent",
          attempt: 2,
          payload: { amount: 100 }
        }
      })
    })
  )

  it.scoped("a file that cannot be read says nothing about absence", () =>
    Effect.gen(function* () {
      const log = yield* built("slack", Connectors.log("slack", { path: yield* temporary }))
      assert.strictEqual((yield* observe(log))._tag, "unknown")
    })
  )
})

describe("Connectors.make and layerRecord", () => {
  class Greeting extends Context.Tag("Greeting")<Greeting, string>() {}

  const polite: Connectors.Protocol<Greeting> = {
    dispatch: () => Effect.map(Greeting, (response) => ({ _tag: "confirmed", response }))
  }

  it.scoped("take what their methods need from the layer's context", () =>
    Effect.gen(function* () {
      const one = yield* built("one", Layer.provide(Connectors.make("one", polite), Layer.succeed(Greeting, "hello")))
      assert.deepInclude(yield* one.dispatch(request), { response: "hello" })
      const record = Connectors.layerRecord({ two: polite, three: polite })
      const both = yield* Layer.build(Layer.provide(record, Layer.succeed(Greeting, "good day")))
      assert.deepInclude(yield* Context.get(both, Connectors.Tag("three")).dispatch(request), { response: "good day" })
    })
  )

  it.scoped("two programs of one process have a connector of one name each, and neither sees the other's", () =>
    Effect.gen(function* () {
      const program = (greeting: string) =>
        built("one", Layer.provide(Connectors.make("one", polite), Layer.succeed(Greeting, greeting)))
      const [here, there] = yield* Effect.all([program("hello"), program("good day")])
      assert.deepInclude(yield* here.dispatch(request), { response: "hello" })
      assert.deepInclude(yield* there.dispatch(request), { response: "good day" })
    })
  )

  it.effect("two layers of one name are reported", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make(({ message }) => lines.push(String(message)))
      const layer = () => Connectors.make("one", { dispatch: () => Effect.succeed({ _tag: "pending" }) })
      const build = (layer: Layer.Layer<Connectors.Connector<"one">>) =>
        Effect.scoped(Effect.provide(Layer.build(layer), Logger.replace(Logger.defaultLogger, logger)))
      const shared = layer()
      yield* build(Layer.merge(shared, shared))
      assert.deepStrictEqual(lines, [])
      yield* build(Layer.merge(layer(), layer()))
      assert.deepStrictEqual(lines, ['two layers provide the connector "one"; one of them shadows the other'])
    })
  )

  it("a name must be a literal, and only its own layer discharges it", () => {
    const name: string = "one"
    // @ts-expect-error a name that is only known as string could be any
    Connectors.make(name, polite)
    const needs: Effect.Effect<unknown, never, Connectors.Connector<"two">> = Connectors.Tag("two")
    const given = Effect.provide(needs, Connectors.make("one", { dispatch: () => Effect.succeed({ _tag: "pending" }) }))
    // @ts-expect-error Connector<"two"> is still needed
    const done: Effect.Effect<unknown> = given
    assert.isDefined(done)
  })
})
