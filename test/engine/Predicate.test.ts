import { assert, describe, it } from "@effect/vitest"
import { Effect, Either, FastCheck } from "effect"
import { TapeClient } from "effect-tape"
import * as Predicate from "../../src/engine/Predicate.js"
import type { Entry } from "../../src/engine/store/tables.js"
import { collect } from "../conformance/Fixtures.js"
import { write } from "../fixtures/matcher-tape.js"
import { tapeOverStore as tape } from "./ledgerFixtures.js"

const entryWith = (payloadJson: string): Entry => ({
  globalSeq: 7n,
  runId: "run-1",
  seq: 3n,
  kind: "effect",
  subject: "/tape/effect/confirmed/execute_sweep/run-1",
  payloadJson,
  tsMs: 1_700_000_000_000n,
  schemaVersion: 1,
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  spanId: "",
  parentSpanId: ""
})

const compiled = (source: string) => Effect.either(Predicate.compile(source))

const test = (predicate: Predicate.Predicate, entry: Entry) => predicate.test(entry, predicate.payloadOf?.(entry))

const matches = (source: string, payload: string) =>
  Effect.map(Predicate.compile(source), (predicate) => test(predicate, entryWith(payload)).matches)

describe("a predicate", () => {
  const payload =
    '{"tool":"execute_sweep","amount":120,"big":9223372036854775808,"rate":1.0,"tags":["a","b"],"none":null}'
  const expectations: ReadonlyArray<readonly [source: string, expected: boolean]> = [
    ["", true],
    [" \n\t", true],
    ["true", true],
    ["global_seq == 7 && seq == 3 && schema_version == 1 && ts_ms == 1700000000000", true],
    ['kind == "effect" && run_id == "run-1" && subject.startsWith("/tape/effect/") && trace_id.size() == 32', true],
    ['payload.tool == "execute_sweep"', true],
    ['payload.tool == "other"', false],
    ["type(payload.amount) == int && payload.amount / 7 == 17", true],
    ["type(payload.big) == uint && payload.big == 9223372036854775808u", true],
    ["type(payload.rate) == double && payload.rate == 1", true],
    ["payload.none == null && has(payload.tool) && !has(payload.missing)", true],
    ['"b" in payload.tags && payload.tags[1] == "b" && size(payload.tags) == 2', true],
    ['payload.tags.exists(tag, tag == "b") && payload.tags.all(tag, tag.size() == 1)', true],
    ['payload.tags.exists_one(tag, tag == "b") && payload.tags.map(tag, tag + "!") == ["a!", "b!"]', true],
    ["payload.tags.filter(tag, tag > 'a').size() == 1", true],
    ['payload.tool.matches("^execute_[a-z]+$") && payload.tool.contains("_") && payload.tool.endsWith("p")', true],
    ['timestamp(ts_ms).getFullYear("UTC") == 2023', true],
    ['payload["tool"] == "execute_sweep" ? true : false', true],
    ["payload.missing == 1", false],
    ["payload.missing == 1 || true", true],
    ['payload.amount + "1" == "1201"', false],
    ["payload.amount", false],
    ['"true"', false],
    ["1 / 0 == 1", false]
  ]
  for (const [source, expected] of expectations) {
    it.effect(`${JSON.stringify(source)} is ${expected ? "" : "not "}true`, () =>
      Effect.map(matches(source, payload), (actual) => assert.strictEqual(actual, expected))
    )
  }

  it.effect("a payload that cannot be read is an error only where it is looked at", () =>
    Effect.gen(function* () {
      for (const unreadable of ["{", "", "[1,]", "nul", "01", '"\u0001"', "[".repeat(100), '{"a":1}x', '"\\x"']) {
        assert.isFalse(yield* matches("has(payload.a) || !has(payload.a)", unreadable))
        assert.isTrue(yield* matches('kind == "effect" || payload.a == 1', unreadable))
      }
    })
  )

  it("reads JSON as JSON.parse does, but for the kinds of numbers", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        const equal = yield* Predicate.compile("payload.left == payload.right")
        FastCheck.assert(
          FastCheck.property(FastCheck.jsonValue({ maxDepth: 5 }), FastCheck.nat(2), (value, indent) => {
            const text = JSON.stringify(value, undefined, indent).replaceAll("-0", "0")
            const pair = `{"left": ${text},\n"right" :${JSON.stringify(JSON.parse(text))}}`
            assert.isTrue(test(equal, entryWith(pair)).matches, text)
          }),
          { numRuns: 500 }
        )
      })
    ))
})

describe("an expression is refused", () => {
  const longer = (unit: string, join: string, count: number) => Array.from({ length: count }, () => unit).join(join)
  const nested = (open: string, core: string, close: string, depth: number) =>
    open.repeat(depth) + core + close.repeat(depth)
  const hostile: ReadonlyArray<readonly [name: string, source: string, words: RegExp]> = [
    ["does not parse", "payload.a ==", /does not parse: <input>:1:11: found/],
    ["unknown name", "paylod.a == 1", /unknown name "paylod"; a predicate knows global_seq, run_id, .*payload/],
    ["prototype's name", "constructor == 1", /unknown name "constructor"/],
    ["unknown name in a macro", "payload.a.exists(x, y == 1)", /unknown name "y"/],
    ["variable outside of its macro", "payload.a.exists(x, x == 1) && x == 1", /unknown name "x"/],
    ["unknown function", "now() > 1", /unknown function "now"/],
    ["prototype's function", 'toString("a") == "a"', /unknown function "toString"/],
    ["unknown method", 'kind.upper() == "A"', /unknown method "upper"/],
    ["has of no field", "has(payload)", /unknown function "has"/],
    ["too many arguments", 'kind.contains("a", "b")', /contains takes 1 argument/],
    ["message", "google.protobuf.Empty{} == 1", /unknown type "google.protobuf.Empty"/],
    ["message's type", "google.protobuf.Timestamp == 1", /unknown name "google"/],
    ["optional", "payload.?a == 1", /does not parse|unknown/],
    ["too long", `kind == "${"a".repeat(3000)}"`, /at most 2048 characters, this one 3010/],
    ["too many nodes", longer("seq == 1", " || ", 100), /more than 250 nodes/],
    ["nested brackets", nested("(", "1", ")", 33), /nested more than 32 deep/],
    ["nested brackets, mixed", nested("[{1:(", "1", ")}]", 11), /nested more than 32 deep/],
    ["brackets that are not closed", "(".repeat(2000), /nested more than 32 deep/],
    ["a bracket that is not closed", `${longer("a", "+", 500)}+(`, /"\)" is missing/],
    ["a bracket that closes nothing", "seq == 1)", /"\)" closes nothing/],
    ["the wrong bracket", "(seq == 1]", /"\]" closes nothing/],
    ["a string that is not closed", 'kind == "abc', /a string is not closed/],
    ["nested conditions", `${"seq==1?true:".repeat(170)}false`, /nodes/],
    ["nested macros", "payload.a.all(x, x.all(y, y.all(z, z)))", /nested more than 2 deep/],
    ["chained macros", `payload.a${".map(x, x)".repeat(3)} == []`, /nested more than 2 deep/],
    ["regex that is no literal", "kind.matches(subject)", /matches takes a string literal/],
    ["regex that is malformed", 'kind.matches("(")', /regular expression "\(" is malformed/],
    ["regex with a look-ahead", 'kind.matches("(?=a)")', /malformed/],
    ["regex with a back reference", 'kind.matches("(a)\\\\1")', /malformed/],
    ["regex that is too long", `kind.matches("${"a".repeat(300)}")`, /at most 256 characters/],
    ["regex that is too large", 'kind.matches("(?:a{30}b{30}){30}")', /too large/],
    ["raw control characters", "\u0001\u0002", /does not parse/],
    ["lone surrogates", 'kind == "\ud800" &&', /./]
  ]
  for (const [name, source, words] of hostile) {
    it.effect(name, () =>
      Effect.gen(function* () {
        const outcome = yield* compiled(source)
        assert.isTrue(Either.isLeft(outcome), "it was accepted")
        if (Either.isLeft(outcome)) {
          assert.match(outcome.left.message, words)
          assert.isBelow(outcome.left.message.length, 400)
        }
      })
    )
  }

  it.effect("not for brackets and quotes in strings and comments, nor for many negations", () =>
    Effect.gen(function* () {
      for (const source of [
        `kind != "${"(".repeat(100)}"`,
        `kind != '"(' && kind != "'["`,
        'kind != r"\\" && kind != "\\"{"',
        `kind != """ " ( """ && kind != ''' ' ['''`,
        `${"!".repeat(2000)}true`,
        "kind == 'effect' // not ( closed",
        "// isn't\n  // it\nkind // (\n == 'effect'"
      ]) {
        assert.isTrue(yield* matches(source, "{}"), source)
      }
    })
  )

  it("no text makes the compiler throw, or look for long", () =>
    Effect.runPromise(
      Effect.gen(function* () {
        const tokens = FastCheck.constantFrom(
          ...'( ) [ ] { } . , ? : ! - + * / % == != < <= && || in true null payload kind x 1 1u 1.5 \'a\' "b" r\' b" """ // has exists map size matches'.split(
            " "
          )
        )
        const text = FastCheck.oneof(
          FastCheck.array(tokens, { maxLength: 60 }).map((parts) => parts.join(" ")),
          FastCheck.string({ maxLength: 100, unit: "binary" })
        )
        const sources = FastCheck.sample(text, 1_000)
        for (const source of sources) {
          const before = performance.now()
          const outcome = yield* compiled(source)
          assert.isBelow(performance.now() - before, 1_000, source)
          if (Either.isRight(outcome)) {
            test(outcome.right, entryWith('{"x":[1]}'))
          }
        }
      })
    ))
})

describe("an expression that was accepted", () => {
  const four = 4 * 1024 * 1024
  const half = four / 2 - 20
  const text = JSON.stringify({ s: "a".repeat(half), t: `${"a".repeat(half - 1)}b` })
  const numbers = JSON.stringify({ l: Array.from({ length: 9_000 }, (_, index) => index), x: 1 })
  const texts = JSON.stringify({ l: Array.from({ length: 9_000 }, () => "ab".repeat(200)) })
  const many = JSON.stringify({ l: Array.from({ length: 1_000_000 }, () => "a") })
  const escaped = JSON.stringify({ s: '"'.repeat(half) })
  const or = (unit: string, count: number) => Array.from({ length: count }, () => unit).join(" || ")
  const hostile: ReadonlyArray<readonly [name: string, source: string, payload: string]> = [
    ["loops in loops", "payload.l.all(x, payload.l.all(y, x + y >= 0))", numbers],
    ["errors in loops", `payload.l.exists(x, ${or("x.y.z", 30)})`, numbers],
    ["wrong types in loops", `payload.l.exists(x, ${or("(x < {})", 30)})`, numbers],
    ["lists that grow", "payload.l.map(x, x).exists(y, y < 0)", numbers],
    ["lists that are joined", `size(${Array.from({ length: 40 }, () => "payload.l").join("+")}) > 3`, numbers],
    ["lists that are searched", "payload.l.exists(x, x + 100000 in payload.l)", numbers],
    ["lists that are compared", or("payload.l == payload.l.map(x, x)", 8), numbers],
    ["texts that double", "[payload.s].map(x, x + x).exists(y, (y + y).contains('zz'))", text],
    ["texts that are counted", or("size(payload.s) == 1", 30), text],
    ["texts that are compared", or("payload.s == payload.t", 30), text],
    ["texts that are searched", `payload.s.contains("${"a".repeat(500)}b${"a".repeat(500)}")`, text],
    ["texts in texts", "payload.s.contains(payload.t)", text],
    ["a regex on a long text", 'payload.s.matches("[ab]*a[ab]{40}[cd]")', text],
    ["a regex on many texts", 'payload.l.exists(x, x.matches("(a*)*(a|aa)+[ab]{40}[cd]$"))', texts],
    ["regexes that are slow to compile", or(`kind.matches("${"\\\\pL".repeat(80)}z")`, 6), text],
    ["conversions", "payload.l.exists(x, int(x) == 1)", texts],
    ["time zones", 'payload.l.exists(x, timestamp(x).getHours("America/New_York") > 25)', numbers],
    ["times", 'payload.l.exists(x, timestamp("2020-01-01T00:00:00Z") > timestamp(x + 2000000000000))', numbers],
    ["bytes", "bytes(payload.s) == bytes(payload.t)", text],
    ["a payload of many values", "payload.l.exists(x, x == 'b')", many],
    ["a payload of many escapes", "payload.s == 'x'", escaped],
    ["a payload of long escapes", "payload.s == 'x'", JSON.stringify({ s: "\u0001".repeat(half / 3) })],
    ["a payload that is too long", "payload.s != 'x'", JSON.stringify({ s: "a".repeat(four) })]
  ]
  for (const [name, source, payload] of hostile) {
    it.effect(`ends soon: ${name}`, () =>
      Effect.gen(function* () {
        const predicate = yield* Predicate.compile(source)
        const entry = entryWith(payload)
        const times = [1, 2, 3].map(() => {
          const before = performance.now()
          assert.isFalse(test(predicate, entry).matches)
          return performance.now() - before
        })
        // Some 10 ms on an idle machine; the rest is for busy ones.
        assert.isBelow(Math.min(...times), 100)
      })
    )
  }

  // Time depends on the machine, and most of it in a process that has evaluated nothing yet: a step is then four
  // microseconds. What the engine may be held up for is therefore counted in steps.
  it.effect("costs no more than its budget, to read and to evaluate", () =>
    Effect.gen(function* () {
      for (const [name, source, payload] of hostile) {
        const predicate = yield* Predicate.compile(source)
        const entry = entryWith(payload)
        const read = predicate.payloadOf?.(entry)
        assert.isAtMost(read?.steps ?? 0, 31_000, name)
        assert.isAtMost(predicate.test(entry, read).steps, 10_005, name)
      }
    })
  )

  it.effect("a list of some hundred items is not too long", () =>
    Effect.gen(function* () {
      const items = JSON.stringify({ l: Array.from({ length: 700 }, (_, index) => ({ id: `item-${index}` })) })
      assert.isTrue(yield* matches('payload.l.exists(x, x.id == "item-699")', items))
      assert.isTrue(yield* matches('payload.l.filter(x, x.id.startsWith("item-69")).size() == 11', items))
    })
  )

  it.effect("gives the same verdict every time, whatever was evaluated before", () =>
    Effect.gen(function* () {
      const costly = yield* Predicate.compile("payload.l.all(x, payload.l.all(y, x + y >= 0))")
      const cheap = yield* Predicate.compile("payload.l.exists(x, x == 8)")
      for (let turn = 0; turn < 3; turn++) {
        assert.isFalse(test(costly, entryWith(numbers)).matches)
        assert.isTrue(test(cheap, entryWith(numbers)).matches)
      }
      assert.isAbove(new Error("traces are kept elsewhere").stack!.split("\n").length, 2)
    })
  )
})

describe("subscribing with a predicate", () => {
  it.effect("streams what it is true of, and goes on after what it fails on", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      yield* tape.beginRun({ appName: "app" })
      yield* write("a", "1")
      yield* write("b", "2")
      yield* tape.beginRun({ appName: "app", invocationId: "2" })
      yield* write("c", "2")
      const found = yield* collect(
        tape.subscribeBySubject({
          subjectPattern: "/tape/**",
          predicateCel: 'payload.value.value_json == "2" && kind == "value"'
        }),
        ({ subject }) => subject.endsWith("/c")
      )
      assert.deepStrictEqual(
        found.map(({ globalSeq }) => globalSeq),
        [3n, 5n]
      )
    }).pipe(Effect.provide(tape))
  )

  it.effect("refuses what is no predicate", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const error = yield* Effect.flip(collect(tape.subscribeBySubject({ predicateCel: "seq >" }), () => true))
      assert.strictEqual(error._tag, "InvalidRequest")
      assert.match(error.message, /predicate_cel: does not parse/)
    }).pipe(Effect.provide(tape))
  )
})
