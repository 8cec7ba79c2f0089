import { Effect, Layer, type Scope } from "effect"
import * as Client from "../src/Client.js"
import * as Connectors from "../src/Connectors.js"
import type { TapeError } from "../src/Errors.js"
import { Engine } from "../src/engine/index.js"
import { EffectDispatchMode, type EffectRecord, EffectSemantics, EffectStatus } from "../src/gen/tape/v1/tape_pb.js"
import * as Bank from "./support/Bank.js"

/** A tape of its own, in this process. */
export const tape = Layer.provide(Client.layerHandlers(Engine.Engine), Engine.layerUrl("memory:"))

export const WireMoney = { name: "wire_money", connector: "bank.wire", compensation: { kind: "reverse_wire" } } as const

/** Deterministic dispatching, with claims that a test can let run out. */
export const options = { tools: [WireMoney], claimer: "test", jitter: false } as const

export const tags = (reports: ReadonlyArray<{ readonly _tag: string }>) => reports.map(({ _tag }) => _tag)

export const idempotent = { semantics: EffectSemantics.IDEMPOTENT }

/** The connector "bank.wire" as `protocol` says. */
export const connector = (protocol: Connectors.Protocol) => Connectors.make("bank.wire", protocol)

interface Intent {
  readonly runId: string
  readonly idempotencyKey: string
}

/** The scenarios' OUT(bk): the intent to wire money, recorded by a run of its own. */
export const intend = (
  businessKey: string,
  { connector = "bank.wire", semantics = EffectSemantics.NON_IDEMPOTENT } = {}
): Effect.Effect<Intent, TapeError, Client.TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* Client.TapeClient
    const ids = { appName: "acc", userId: "u", sessionId: `s-${businessKey}`, invocationId: `inv-${businessKey}` }
    const { runId } = yield* tape.beginRun({ ...ids, leaseOwner: "drv", leaseTtlMs: 60_000n })
    const { idempotencyKey } = yield* tape.beginEffect({
      runId,
      decisionIndex: 0n,
      toolName: "wire_money",
      callIndex: 0,
      requestJson: '{"amount":100}',
      semantics,
      dispatchMode: EffectDispatchMode.OUTBOX,
      businessKey,
      connector
    })
    return { runId, idempotencyKey }
  })

export const read = (intent: Intent): Effect.Effect<EffectRecord, TapeError, Client.TapeClient> =>
  Effect.gen(function* () {
    const tape = yield* Client.TapeClient
    const { effect } = yield* tape.getEffect(intent)
    return effect ?? (yield* Effect.dieMessage("no such effect"))
  })

export const statusOf = (intent: Intent) => Effect.map(read(intent), ({ status }) => EffectStatus[status])

/** A dispatcher that claims the effect and is never heard of again. */
export const vanish = (intent: Intent, leaseTtlMs = 5n) =>
  Effect.flatMap(Client.TapeClient, (tape) => tape.claimEffectDispatch({ ...intent, claimer: "gone", leaseTtlMs }))

/** Runs `self` with a bank, the connector to it, and a tape of its own. */
export const withBank =
  <A, E, R>(self: (bank: Bank.Bank) => Effect.Effect<A, E, R>, http: Partial<Connectors.HttpOptions> = {}) =>
  (): Effect.Effect<
    A,
    E | Effect.Effect.Error<typeof built>,
    Exclude<R, Client.TapeClient | Connectors.Connector<"bank.wire">> | Scope.Scope
  > =>
    Effect.flatMap(Bank.make, (bank) =>
      Effect.provide(
        self(bank),
        Layer.merge(tape, Connectors.http("bank.wire", { url: bank.url, observeUrl: bank.searchUrl, ...http }))
      )
    )

const built = Layer.build(Layer.merge(tape, Connectors.http("bank.wire", { url: "" })))
