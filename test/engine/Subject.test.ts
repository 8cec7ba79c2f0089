import { assert, describe, it } from "@effect/vitest"
import { FastCheck as fc } from "effect"
import { Subject } from "effect-tape/engine"

describe("Subject.encode", () => {
  const table: ReadonlyArray<readonly [given: string, encoded: string]> = [
    ["a/b", "a%2Fb"],
    ["a b", "a%20b"],
    ["a*b", "a%2Ab"],
    ["50%", "50%25"],
    ["what?", "what%3F"],
    ["#1", "%231"],
    ["a\\b", "a%5Cb"],
    ["\t", "%09"],
    ["\u007f", "%7F"],
    ["", "_"],
    ["a:b@c+d&e=f", "a:b@c+d&e=f"],
    ["é 東京", "é%20東京"]
  ]
  for (const [given, encoded] of table) {
    it(`${JSON.stringify(given)} → ${encoded}`, () => assert.strictEqual(Subject.encode(given), encoded))
  }
})

describe("Subject.matcher", () => {
  const table: ReadonlyArray<readonly [pattern: string, subject: string, matches: boolean]> = [
    ["/tape/gate/**", "/tape/gate/waiting/g1/R", true],
    ["/tape/policy/**", "/tape/policy", true],
    ["/tape/*/failed/**", "/tape/effect/failed", true],
    ["/tape/gate/*", "/tape/gate/waiting/g1/R", false],
    ["/tape/decision/recorded/*/0", "/tape/decision/recorded/R/0", true],
    ["/tape/decision/recorded/*/0", "/tape/decision/recorded/R/1", false],
    ["**", "anything", true],
    ["", "/tape/run/x", true],
    ["/**", "/anything", true],
    ["tape/**", "/tape/run/x", false],
    ["/tape/run/*/_/_/_/*", "/tape/run//_/_/_/R", true],
    ["/tape/effect/", "/tape/effect", false],
    ["foo*", "foobar", false]
  ]
  for (const [pattern, subject, matches] of table) {
    it(`${pattern || "(empty)"} ${matches ? "matches" : "does not match"} ${subject}`, () =>
      assert.strictEqual(Subject.matcher(pattern)(subject), matches))
  }

  it("refuses ** anywhere but last", () => {
    assert.isString(Subject.patternProblem("/tape/**/x"))
    assert.isUndefined(Subject.patternProblem("/tape/**"))
  })

  it("finds every subject by the literal pattern made of the same dimensions", () =>
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary" }), { minLength: 1, maxLength: 4 }), (dimensions) => {
        const subject = Subject.make("value", "changed", ...dimensions)
        assert.isTrue(Subject.matcher(subject)(subject))
        assert.isTrue(Subject.matcher("/tape/value/changed/**")(subject))
        assert.isTrue(Subject.matcher(`/tape/*/*${"/*".repeat(dimensions.length)}`)(subject))
      })
    ))
})
