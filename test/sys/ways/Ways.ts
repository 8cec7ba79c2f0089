/** The ways to reach a tape that the scenarios of the SDK run over, and what they say often. */
import { create } from "@bufbuild/protobuf"
import { Effect } from "effect"
import { TapeClient } from "effect-tape"
import { EffectDispatchMode, EffectRecordSchema, EffectSemantics, EffectStatus, type RunState } from "effect-tape/proto"
import { eventually } from "../../conformance/Expect.js"
import type * as Bank from "../../support/Bank.js"

/** Something that has to be seen over every way. Scenarios share a tape: each has names of its own. */
export interface Scenario<R> {
  readonly title: string
  readonly run: Effect.Effect<unknown, unknown, R>
}

export const tags = (reports: ReadonlyArray<{ readonly _tag: string }>) => reports.map(({ _tag }) => _tag)

/** A run of nobody's app, by which a test writes. */
export const runOf = (appName: string) =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.beginRun({ appName, invocationId: crypto.randomUUID(), leaseOwner: "drv", leaseTtlMs: 600_000n })
  )

/** The scenarios' OUT: intents to wire money by a connector, in a run of their own. */
export const intend = (connector: string, businessKeys: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const { runId } = yield* runOf("acc")
    const keys = yield* Effect.forEach(
      businessKeys,
      (businessKey, callIndex) =>
        tape.beginEffect({
          runId,
          toolName: "wire_money",
          callIndex,
          requestJson: '{"amount":100}',
          semantics: EffectSemantics.NON_IDEMPOTENT,
          dispatchMode: EffectDispatchMode.OUTBOX,
          connector,
          businessKey
        }),
      { concurrency: 16 }
    )
    const rows = Effect.forEach(
      keys,
      ({ idempotencyKey }) =>
        Effect.map(tape.getEffect({ runId, idempotencyKey }), ({ effect }) => effect ?? create(EffectRecordSchema)),
      { concurrency: 16 }
    )
    return {
      runId,
      keys: keys.map(({ idempotencyKey }) => idempotencyKey),
      rows,
      statuses: Effect.map(rows, (rows) => rows.map(({ status }) => EffectStatus[status]))
    }
  })

/** The addresses of a bank, as its connector takes them. */
export const addresses = (bank: Bank.Bank) => ({ url: bank.url, observeUrl: bank.searchUrl })

export const write = (namespace: string, key: string, value: unknown = 1) =>
  Effect.flatMap(TapeClient, (tape) =>
    tape.writeValue({ namespace, key, valueJson: JSON.stringify(value), ifVersion: -1n })
  )

/**
 * Waits until a run's lease is over by this machine's clock, which the tapes of these tests share. A renewal may have been
 * on its way when its holder died.
 */
export const overdue = ({ runId }: RunState) =>
  Effect.flatMap(TapeClient, (tape) =>
    eventually(
      "the lease is over",
      Effect.delay(tape.getRun({ runId }), "10 millis"),
      ({ leaseExpiresAtMs }) => Number(leaseExpiresAtMs) + 5 < Date.now()
    )
  )
