import { createHmac } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect, Redacted, Schema } from "effect"
import * as Sinks from "../src/Sinks.js"
import { entry, publish, receiver } from "./Sinks.fixtures.js"

const quick = { backOff: "20 millis", timeout: "2 seconds" } as const

const gaps = (posts: ReadonlyArray<{ readonly at: number }>) =>
  posts.slice(1).map(({ at }, index) => at - (posts[index]?.at ?? 0))

describe("Sinks.webhook", () => {
  it.scopedLive("EVT-16: posts the entry with its event id and global seq", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      yield* publish(
        Sinks.webhook({ url: audit.url, headers: { "X-Tape-Event-Id": "mine", "x-team": "treasury" } }),
        entry
      )
      const [post] = audit.posts
      assert.strictEqual(post?.headers["x-tape-event-id"], "run-1/7")
      assert.strictEqual(post?.headers["x-tape-global-seq"], "42")
      assert.strictEqual(post?.headers["content-type"], "application/json")
      assert.strictEqual(post?.headers["x-team"], "treasury")
      assert.isUndefined(post?.headers["webhook-signature"])
      assert.strictEqual(
        post?.body,
        '{"run_id":"run-1","seq":7,"kind":"effect","payload_json":"{\\"a\\":1}","ts_ms":1700000000000,"global_seq":42,' +
          '"subject":"/tape/effect/confirmed/wire/run-1","schema_version":1,"trace_id":"t","span_id":"s","parent_span_id":"p"}'
      )
      assert.deepStrictEqual(yield* Schema.decode(Schema.parseJson(Sinks.Entry))(post?.body ?? ""), entry)
    })
  )

  it("EVT-16: an entry without run and seq is known by its global seq", () => {
    assert.strictEqual(Sinks.eventIdOf({ ...entry, runId: "", seq: 0n }), "global/42")
    assert.strictEqual(Sinks.eventIdOf({ ...entry, runId: "" }), "/7")
  })

  it.scopedLive("EVT-16: 5xx, 408, 429 and a lost connection are tried again with growing waits", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      audit.answer({ status: 503 }, { status: 408 }, { status: 429 }, "drop")
      yield* publish(Sinks.webhook({ ...quick, url: audit.url, maxAttempts: 5 }), entry)
      assert.strictEqual(audit.posts.length, 5)
      assert.deepStrictEqual(audit.accepted, ["run-1/7"])
      const [first = 0, second = 0, third = 0, fourth = 0] = gaps(audit.posts)
      assert.isAtLeast(first, 15)
      assert.isAtLeast(second, 31)
      assert.isAtLeast(third, 63)
      assert.isAtLeast(fourth, 127)
    })
  )

  it.scopedLive("EVT-16: gives up at the limit, without a wait after the last attempt", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      audit.always(() => ({ status: 500 }))
      const sink = Sinks.webhook({ ...quick, backOff: "1 second", url: audit.url, maxAttempts: 2 })
      const error = yield* Effect.flip(publish(sink, entry))
      const since = performance.now() - (audit.posts[1]?.at ?? 0)
      assert.strictEqual(audit.posts.length, 2)
      assert.deepInclude(error, { _tag: "Undelivered", status: 500, eventId: "run-1/7" })
      // The next wait would have been of two seconds, less a fifth.
      assert.isBelow(since, 1_500)
    })
  )

  it.scopedLive("EVT-16: another 4xx is not tried again and says whose fault it is", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      const sink = Sinks.webhook({ ...quick, url: audit.url })
      for (const [status, fault] of [
        [400, "entry"],
        [422, "entry"],
        [404, "receiver"],
        [401, "receiver"],
        [307, "receiver"]
      ] as const) {
        audit.answer({ status, headers: { location: audit.url } })
        assert.deepInclude(yield* Effect.flip(publish(sink, entry)), { _tag: "Rejected", status, fault })
      }
      assert.strictEqual(audit.posts.length, 5)
    })
  )

  it.scopedLive("waits as long as Retry-After says, in seconds or as a date", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      // a date has no milliseconds: two seconds ahead are more than one
      const date = new Date(Date.now() + 2_000).toUTCString()
      audit.answer({ status: 429, headers: { "retry-after": "1" } }, { status: 503, headers: { "retry-after": date } })
      yield* publish(Sinks.webhook({ ...quick, url: audit.url }), entry)
      const [first = 0] = gaps(audit.posts)
      assert.isAtLeast(first, 990)
      assert.strictEqual(audit.accepted.length, 1)
      assert.isAtLeast(Date.now(), Date.parse(date))
    })
  )

  it.scopedLive("leaves a longer wait than its own limit to the relay", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      audit.answer({ status: 503, headers: { "retry-after": "3600" } })
      const error = yield* Effect.flip(publish(Sinks.webhook({ ...quick, url: audit.url }), entry))
      assert.strictEqual(audit.posts.length, 1)
      assert.deepInclude(error, { _tag: "Undelivered", status: 503, retryAfter: Duration.hours(1) })
    })
  )

  it.scopedLive("a receiver that does not answer is tried again", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      audit.answer("hold")
      yield* publish(Sinks.webhook({ ...quick, timeout: "1 second", url: audit.url }), entry)
      assert.strictEqual(audit.posts.length, 2)
    })
  )

  it.scopedLive("signs as Standard Webhooks says, with each of its secrets", () =>
    Effect.gen(function* () {
      const audit = yield* receiver
      const key = Buffer.from("a secret of twenty-four!")
      const old = Buffer.from("the one of the year before")
      const secrets = [key, old].map((bytes) => Redacted.make(`whsec_${bytes.toString("base64")}`))
      yield* publish(Sinks.webhook({ url: audit.url, secret: secrets }), entry)
      const { body, headers } = yield* audit.next
      assert.strictEqual(headers["webhook-id"], "run-1/7")
      assert.closeTo(Number(headers["webhook-timestamp"]), Date.now() / 1_000, 5)
      const mac = (secret: Buffer) =>
        createHmac("sha256", secret).update(`run-1/7.${headers["webhook-timestamp"]}.${body}`).digest("base64")
      assert.strictEqual(headers["webhook-signature"], `v1,${mac(key)} v1,${mac(old)}`)
    })
  )

  it.effect("refuses a secret that is not base64, and an address that is not one, without showing the secret", () =>
    Effect.gen(function* () {
      const secret = Redacted.make("whsec_not base64!")
      const error = yield* Effect.flip(Sinks.webhook({ url: "http://127.0.0.1:1", secret }).make)
      assert.notInclude(String(error), "not base64!")
      const provider = ConfigProvider.fromMap(new Map([["AUDIT_URL", "audit.example"]]))
      const url = yield* Effect.flip(
        Effect.withConfigProvider(Sinks.webhook({ url: Config.string("AUDIT_URL") }).make, provider)
      )
      assert.include(String(url), "http(s)")
    })
  )
})
