import { assert, layer, it as plain } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Client } from "effect-tape"
import { Engine } from "effect-tape/engine"
import { numbered } from "../../../src/engine/store/postgres/Statement.js"
import { withoutPassword } from "../../../src/internal/withoutPassword.js"
import * as Postgres from "../../support/Postgres.js"
import * as LargeRows from "../largeRows.js"
import { freshDatabase, openStore, openTape } from "./fixtures.js"

const texts = [
  "",
  "NULL",
  "{}",
  "{a,b}",
  'quote " and \\ backslash \\\\ "',
  "it's $1 and ? and ''",
  "line\nbreak\r\n\ttab \u0001\u007f\u2028",
  "é e\u0301 ß 漢字 😀 \uffff",
  '{ "b" : 1.0 ,  "a":9007199254740993 }',
  " leading and trailing ",
  "x".repeat(1_000_000)
]

layer(Postgres.layer(), { excludeTestServices: true })("values", (it) => {
  it.scoped("answers, entries and pages have the bounds that they have on SQLite", () =>
    Effect.gen(function* () {
      const { maxMessageBytes } = LargeRows
      const bounded = Effect.map(
        Effect.flatMap(freshDatabase, (url) => Layer.build(Engine.layerUrl(url, { maxMessageBytes }))),
        (context) => Client.fromHandlers(Context.get(context, Engine.Engine))
      )
      yield* LargeRows.lists(yield* bounded)
      yield* LargeRows.messages(yield* bounded)
      const url = yield* freshDatabase
      yield* LargeRows.pages(yield* openStore(url), yield* openStore(url))
    })
  )

  it.scoped("text comes back as it was, whatever it contains, also of a batch", () =>
    Effect.gen(function* () {
      const tape = yield* openTape(yield* freshDatabase)
      const { runId } = yield* tape.beginRun({ appName: texts[4]!, userId: texts[7]!, labels: { "k'": 'v"' } })
      yield* Effect.forEach(
        texts,
        (text, index) =>
          tape.recordDecision({ runId, decisionIndex: BigInt(index), requestJson: text, rationale: text }),
        { concurrency: "unbounded" }
      )
      for (const [index, text] of texts.entries()) {
        const { decision } = yield* tape.getDecision({ runId, decisionIndex: BigInt(index) })
        assert.isTrue(decision?.requestJson === text && decision.rationale === text, JSON.stringify(text.slice(0, 50)))
      }
      const run = yield* tape.getRun({ runId })
      assert.deepStrictEqual([run.appName, run.userId, run.labels], [texts[4], texts[7], { "k'": 'v"' }])
    })
  )

  it.scoped("numbers keep every digit", () =>
    Effect.gen(function* () {
      const tape = yield* openTape(yield* freshDatabase)
      const { runId } = yield* tape.beginRun({ appName: "numbers" })
      const largest = 2n ** 63n - 1n
      for (const decisionIndex of [largest, -(2n ** 63n), 2n ** 53n + 1n]) {
        yield* tape.recordDecision({ runId, decisionIndex })
        const { decision } = yield* tape.getDecision({ runId, decisionIndex })
        assert.strictEqual(decision?.decisionIndex, decisionIndex)
      }
      for (const usdCap of [0.1 + 0.2, 5e-324, Number.MAX_VALUE, 1 / 3]) {
        yield* tape.setBudget({ runId, usdCap, tokenCap: largest })
        const { budget } = yield* tape.admitBudget({ runId })
        assert.deepStrictEqual([budget?.usdCap, budget?.tokenCap], [usdCap, largest])
      }
    })
  )

  plain("URLs are shown without what they keep secret", () => {
    const shown = {
      "postgres://u:p@h:1/d": "postgres://u@h:1/d",
      "postgresql://u:p%40:@h/d?sslmode=require": "postgresql://u@h/d?sslmode=require",
      "postgres://u:p@ss@h/d": "postgres://u@h/d",
      "postgres://u@h:1/d?password=p&x=1": "postgres://u@h:1/d?password=…&x=1",
      "postgres://h:1/d": "postgres://h:1/d",
      "postgres:///d?host=/tmp&user=u": "postgres:///d?host=/tmp&user=u"
    }
    for (const [url, expected] of Object.entries(shown)) {
      assert.strictEqual(withoutPassword(url), expected)
    }
  })

  plain("parameters are numbered, but for what is quoted", () => {
    assert.strictEqual(
      numbered("where a = ? and b = '?' and c > ? limit ?"),
      "where a = $1 and b = '?' and c > $2 limit $3"
    )
  })
})
