/** Who a process works for, on whose behalf, under which names, and what its runs may do. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, HashMap, Layer, Logger, ManagedRuntime, Schema } from "effect"
import { TapeClient } from "effect-tape"
import { EffectDispatchMode, EffectSemantics, type RunState } from "effect-tape/proto"
import * as Connectors from "../src/Connectors.js"
import * as Durable from "../src/Durable.js"
import * as Identity from "../src/Identity.js"
import * as Outbox from "../src/Outbox.js"
import * as Reactions from "../src/Reactions.js"
import * as Reactors from "../src/Reactors.js"
import * as Tenancy from "../src/Tenancy.js"
import { ids, Tape, wrapped } from "./Durable.fixtures.js"

type Env = { readonly [variable: string]: string }

const under = (env: Env) => Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env))))

interface Line {
  readonly level: string
  readonly text: string
  readonly annotations: Env
}

/** Collects what is logged. */
const collecting = () => {
  const lines: Array<Line> = []
  const logger = Logger.make(({ annotations, logLevel, message }) => {
    const said = Object.fromEntries(HashMap.toEntries(annotations).map(([key, value]) => [key, String(value)]))
    lines.push({ level: logLevel.label, text: String(message), annotations: said })
  })
  return { lines, layer: Logger.replace(Logger.defaultLogger, logger) }
}

/** Gives its run as the tape keeps it. */
const begun = (identity?: Durable.AppIdentity) => {
  const app = Durable.app("begun", { input: Schema.Void, identity, run: () => Durable.info })
  return (given: Partial<Durable.RunIds> = {}) =>
    Effect.gen(function* () {
      const { runId } = yield* app.start({ ...ids(`${invocations++}`), ...given }, undefined)
      return yield* Effect.flatMap(TapeClient, (tape) => tape.getRun({ runId }))
    })
}

let invocations = 0

describe("tenancy", () => {
  it.effect("TEN-01: mode and tenant come from the environment, single and default without it", () =>
    Effect.gen(function* () {
      for (const env of [{}, { TAPE_TENANCY: "", TAPE_TENANT_ID: " " }]) {
        const tenancy = yield* under(env)(Tenancy.config)
        assert.deepStrictEqual({ ...tenancy }, { mode: "single", tenantId: "default" })
      }
      const said = yield* under({ TAPE_TENANCY: "hard_multi_tenant", TAPE_TENANT_ID: "acme" })(Tenancy.config)
      assert.deepStrictEqual({ ...said }, { mode: "hard_multi_tenant", tenantId: "acme" })
      const unknown = yield* Effect.flip(under({ TAPE_TENANCY: "Single" })(Tenancy.config))
      assert.include(String(unknown), "TAPE_TENANCY")
      for (const mode of ["Single", ...Tenancy.Mode.literals]) assert.include(String(unknown), mode)
      const decoded = Schema.decodeUnknownSync(Tenancy.Tenancy)
      assert.deepStrictEqual({ ...decoded({}) }, { mode: "single", tenantId: "default" })
      assert.strictEqual(decoded({ mode: "trusted_multi_app", tenant_id: "acme" }).tenantId, "acme")
      assert.throws(() => decoded({ mode: "shared" }))
    })
  )

  it.effect("TEN-01: hard_multi_tenant is warned about once, the others are not", () =>
    Effect.gen(function* () {
      for (const mode of Tenancy.Mode.literals) {
        const expected = mode === "hard_multi_tenant" ? 1 : 0
        assert.lengthOf(Tenancy.warnings(new Tenancy.Tenancy({ mode })), expected)
        const { layer, lines } = collecting()
        yield* Effect.log("work").pipe(
          Effect.provide(Layer.provideMerge(Layer.mergeAll(Tenancy.layerConfig, Tenancy.layerConfig), layer)),
          under({ TAPE_TENANCY: mode, TAPE_TENANT_ID: "acme" })
        )
        const warnings = lines.filter(({ level }) => level === "WARN")
        assert.lengthOf(warnings, expected)
        for (const { text } of warnings) assert.include(text, "NOT ISOLATED")
        assert.deepStrictEqual(lines.at(-1), { level: "INFO", text: "work", annotations: { tenant_id: "acme" } })
      }
    })
  )

  it.effect("marks the log lines of fibers and of a runtime, and ends with its scope", () =>
    Effect.gen(function* () {
      const { layer, lines } = collecting()
      const acme = Layer.provideMerge(Tenancy.layer(new Tenancy.Tenancy({ tenantId: "acme" })), layer)
      const worker = Layer.scopedDiscard(Effect.forkScoped(Effect.log("in a fiber of a layer")))
      yield* Effect.provide(Effect.yieldNow(), Layer.provideMerge(worker, acme))
      const runtime = ManagedRuntime.make(acme)
      yield* Effect.promise(() => runtime.runPromise(Effect.log("in a runtime")))
      yield* runtime.disposeEffect
      yield* Effect.provide(Effect.log("outside"), layer)
      assert.deepStrictEqual(
        lines.map(({ annotations, text }) => [text, annotations["tenant_id"]]),
        [
          ["in a fiber of a layer", "acme"],
          ["in a runtime", "acme"],
          ["outside", undefined]
        ]
      )
    })
  )

  it.effect("its tenant is that of the runs it begins, unless their identity names another", () =>
    Effect.gen(function* () {
      const acme = Tenancy.layer(new Tenancy.Tenancy({ tenantId: "acme" }))
      const start = begun()
      const tenantOf = (identity?: Durable.RunIdentity) => Effect.map(start({ identity }), ({ tenantId }) => tenantId)
      assert.strictEqual(yield* tenantOf(), "")
      assert.strictEqual(yield* Effect.provide(tenantOf(), acme), "acme")
      assert.strictEqual(yield* Effect.provide(tenantOf({ tenantId: "other" }), acme), "other")
      const corp = Layer.merge(acme, Identity.layer(new Identity.Identity({ tenantId: "corp" })))
      assert.strictEqual(yield* Effect.provide(tenantOf(), corp), "corp")
    }).pipe(Effect.provide(Tape))
  )
})

const aiplex = {
  AIPLEX_TENANT_ID: "acme",
  AIPLEX_ACTOR: "alice",
  AIPLEX_SUBJECT: "bob",
  AIPLEX_AGENT_ID: "agent-1",
  AIPLEX_INSTANCE_ID: "instance/1",
  AIPLEX_ROUTE: "eu",
  AIPLEX_SCOPES: "wires:send",
  AIPLEX_LABELS: "team=treasury"
}

const identityOf = ({
  actor,
  agentId,
  aiplexInstanceId,
  gatewayRoute,
  labels,
  scopes,
  subject,
  tenantId
}: RunState) => ({
  tenantId,
  actor,
  subject,
  agentId,
  instance: aiplexInstanceId,
  route: gatewayRoute,
  scopes: [...scopes],
  labels: { ...labels }
})

describe("identity", () => {
  it.effect("IDN-01: eight variables; without them there is none", () =>
    Effect.gen(function* () {
      const said = yield* under(aiplex)(Identity.config)
      assert.deepStrictEqual(
        { ...said },
        {
          tenantId: "acme",
          actor: "alice",
          subject: "bob",
          agentId: "agent-1",
          instance: "instance/1",
          route: "eu",
          scopes: ["wires:send"],
          labels: { team: "treasury" }
        }
      )
      assert.deepStrictEqual(yield* under({})(Identity.config), Identity.empty)
      assert.deepStrictEqual(Object.values({ ...Identity.empty }), ["", "", "", "", "", "", [], {}])
    })
  )

  const scopes: ReadonlyArray<readonly [said: string, found: ReadonlyArray<string>]> = [
    ["a:b,c:d", ["a:b", "c:d"]],
    [" a  b\t,c ,, d\n", ["a", "b", "c", "d"]],
    [" , ", []]
  ]
  const labels: ReadonlyArray<readonly [said: string, found: { readonly [name: string]: string }]> = [
    ["a=1,b=2", { a: "1", b: "2" }],
    [" a = 1 , b= ,c", { a: "1", b: "" }],
    ["=x, =y,,z==1=2", { z: "=1=2" }],
    ["a=1,a=2", { a: "2" }]
  ]
  it.effect("IDN-02: scopes between commas or blanks, labels as name=value, and nothing made of the rest", () =>
    Effect.gen(function* () {
      for (const [said, found] of scopes) {
        assert.deepStrictEqual((yield* under({ AIPLEX_SCOPES: said })(Identity.config)).scopes, found)
      }
      for (const [said, found] of labels) {
        assert.deepStrictEqual((yield* under({ AIPLEX_LABELS: said })(Identity.config)).labels, found)
      }
    })
  )

  it.scoped("a strict process does not start without tenant, actor and agent, and says what is missing", () =>
    Effect.gen(function* () {
      const missing = (env: Env, options?: Identity.LoadOptions) =>
        Effect.map(Effect.either(under(env)(Layer.build(Identity.layerConfig(options)))), (built) =>
          built._tag === "Left" && built.left._tag === "IdentityMissing" ? [...built.left.variables] : [built._tag]
        )
      const all = ["AIPLEX_TENANT_ID", "AIPLEX_ACTOR", "AIPLEX_AGENT_ID"]
      const built = ["Right"]
      const required = { AIPLEX_REQUIRE_IDENTITY: "1" }
      assert.deepStrictEqual(yield* missing(required), all)
      assert.deepStrictEqual(yield* missing({}, { strict: true }), all)
      assert.deepStrictEqual(yield* missing({ ...required, AIPLEX_ACTOR: "a" }), [
        "AIPLEX_TENANT_ID",
        "AIPLEX_AGENT_ID"
      ])
      assert.deepStrictEqual(yield* missing({ ...required, ...aiplex }), built)
      assert.deepStrictEqual(yield* missing(required, { strict: false }), built)
      assert.deepStrictEqual(yield* missing({ AIPLEX_REQUIRE_IDENTITY: "0" }), built)
      const rubbish = yield* Effect.flip(under({ AIPLEX_REQUIRE_IDENTITY: "perhaps" })(Identity.load()))
      assert.include(String(rubbish), "AIPLEX_REQUIRE_IDENTITY")
      const one = yield* Effect.flip(under({ ...aiplex, AIPLEX_ACTOR: "" })(Identity.load({ strict: true })))
      assert.include(String(one), "AIPLEX_ACTOR is not set")
    })
  )

  it.effect("is kept with the run: what start says, else the app, else the process", () =>
    Effect.gen(function* () {
      const app = begun({ agentId: "agent-2", scopes: ["mail:send"], labels: { app: "yes", team: "mail" } })
      const start = (given?: Partial<Durable.RunIds>) => Effect.map(app(given), identityOf)
      const process = Identity.layerConfig()
      assert.deepStrictEqual(yield* start(), {
        tenantId: "",
        actor: "",
        subject: "",
        agentId: "agent-2",
        instance: "",
        route: "",
        scopes: ["mail:send"],
        labels: { app: "yes", team: "mail" }
      })
      const whole = yield* Effect.provide(start({ labels: { by: "start" } }), process)
      assert.deepStrictEqual(whole, {
        tenantId: "acme",
        actor: "alice",
        subject: "bob",
        agentId: "agent-2",
        instance: "instance/1",
        route: "eu",
        scopes: ["mail:send"],
        labels: { app: "yes", team: "mail", by: "start" }
      })
      const identity = { actor: "carol", agentId: "", route: "us" }
      const own = yield* Effect.provide(start({ identity, scopes: [], labels: { team: "own" } }), process)
      assert.deepStrictEqual(own, {
        tenantId: "acme",
        actor: "carol",
        subject: "bob",
        agentId: "",
        instance: "instance/1",
        route: "us",
        scopes: [],
        labels: { app: "yes", team: "own" }
      })
    }).pipe(Effect.provide(Tape), under(aiplex))
  )
})

describe("scopes", () => {
  const wire = {
    connector: "bank.wire",
    input: Schema.Struct({ amount: Schema.Number }),
    output: Schema.Void,
    businessKey: ({ amount }: { readonly amount: number }) => String(amount)
  } as const

  it("SCP-04: under requireScope a non-idempotent tool without a scope is not made", () => {
    const tool = Outbox.toolWith({ requireScope: true })
    assert.throws(() => tool("t", { ...wire, semantics: "non_idempotent" }), Durable.ToolMisconfigured, /add scope/)
    assert.throws(() => tool("t", { ...wire, semantics: "non_idempotent", scope: "" }), /add scope/)
    assert.strictEqual(tool("t", { ...wire, semantics: "non_idempotent", scope: "s" }).name, "t")
    assert.strictEqual(tool("t", { ...wire, semantics: "non_idempotent", unsafeWithoutScope: true }).name, "t")
    assert.strictEqual(tool("t", { ...wire, semantics: "idempotent" }).name, "t")
    // All other rules stand.
    assert.throws(() => tool("", { ...wire, semantics: "non_idempotent", scope: "s" }), /needs a name/)
  })

  it.effect("SCP-04: a tool's scope is sent, none is sent as empty, and one that is not granted ends the run", () =>
    Effect.gen(function* () {
      const Scoped = Outbox.toolWith({ requireScope: true })("scoped", {
        ...wire,
        semantics: "non_idempotent",
        scope: "wires:send"
      })
      const Free = Outbox.toolWith({})("free", { ...wire, semantics: "non_idempotent" })
      const Look = Durable.tool("look", {
        input: Schema.Void,
        output: Schema.Void,
        scope: "accounts:read",
        run: () => Effect.void
      })
      const app = Durable.app("scoped", {
        input: Schema.Void,
        tools: [Scoped, Free, Look],
        *run() {
          yield* Scoped({ amount: 1 })
          yield* Free({ amount: 2 })
          yield* Look()
        }
      })
      const denied = yield* Effect.flip(app.start({ ...ids("1"), scopes: ["wires:send"] }, undefined))
      assert.isTrue(denied._tag === "ScopeDenied" && denied.scope === "accounts:read" && denied.tool === "look")
      const tape = yield* TapeClient
      const { effects } = yield* tape.listEffectsToDispatch({ limit: 10n })
      assert.deepStrictEqual(
        effects.map(({ scope, toolName }) => [toolName, scope]),
        [
          ["scoped", "wires:send"],
          ["free", ""]
        ]
      )
      const granted = new Identity.Identity({ scopes: ["wires:send", "accounts:read"] })
      yield* Effect.provide(app.start(ids("2"), undefined), Identity.layer(granted))
    }).pipe(Effect.provide(Tape))
  )
})

/** A run of that app with an intent for the connector "bank". */
const intend = (appName: string, tenantId: string, callIndex = 0) =>
  Effect.gen(function* () {
    const tape = yield* TapeClient
    const who = { appName, userId: "u", sessionId: "s", invocationId: "i" }
    const { runId } = yield* tape.beginRun({ ...who, tenantId, leaseOwner: "o", leaseTtlMs: 60_000n })
    const { idempotencyKey } = yield* tape.beginEffect({
      runId,
      decisionIndex: -1n,
      toolName: "wire",
      callIndex,
      requestJson: "{}",
      semantics: EffectSemantics.NON_IDEMPOTENT,
      dispatchMode: EffectDispatchMode.OUTBOX,
      connector: "bank"
    })
    return { runId, idempotencyKey }
  })

describe("what a connector is told", () => {
  it.effect("the app and the tenant of the run: to dispatch, to observe, to compensate", () =>
    Effect.gen(function* () {
      const told: Array<ReadonlyArray<string>> = []
      const tell = (call: string) => (request: Connectors.Request | Connectors.Obligation) => {
        told.push([call, request.app, request.tenantId])
      }
      const bank = Connectors.make("bank", {
        dispatch: (request) =>
          Effect.as(
            Effect.sync(() => tell("dispatch")(request)),
            { _tag: "unknown", error: "?" }
          ),
        observe: (request) =>
          Effect.as(
            Effect.sync(() => tell("observe")(request)),
            { _tag: "confirmed" }
          ),
        compensate: (owed) =>
          Effect.as(
            Effect.sync(() => tell("compensate")(owed)),
            { _tag: "compensated" }
          )
      })
      const tape = yield* TapeClient
      const { runId: acme } = yield* intend("treasury", "acme")
      yield* intend("mail", "")
      yield* Effect.gen(function* () {
        yield* Outbox.dispatchOnce({ connectors: ["bank"] })
        const each = (call: string) => told.filter(([found]) => found === call).toSorted()
        const expected = (call: string) => [
          [call, "mail", ""],
          [call, "treasury", "acme"]
        ]
        assert.deepStrictEqual(each("dispatch"), expected("dispatch"))
        yield* Reactors.reconcileOnce({ connectors: ["bank"] })
        assert.deepStrictEqual(each("observe"), expected("observe"))
        const effectKey = `${acme}/no-decision/wire/0`
        yield* tape.registerCompensation({ runId: acme, effectKey, kind: "reverse", payloadJson: "{}" })
        yield* Reactors.drainOnce({ connectors: ["bank"], which: "all" })
        assert.deepStrictEqual(each("compensate"), [["compensate", "treasury", "acme"]])
      }).pipe(Effect.provide(bank))
    }).pipe(Effect.provide(Tape))
  )

  it.effect("of a run that is known already, the tape is not asked again", () =>
    Effect.gen(function* () {
      for (const callIndex of [0, 1, 2]) yield* intend("treasury", "acme", callIndex)
      yield* intend("mail", "")
      const told: Array<string> = []
      const bank = Connectors.make("bank", {
        dispatch: ({ tenantId }) =>
          Effect.as(
            Effect.sync(() => told.push(tenantId)),
            { _tag: "confirmed" }
          )
      })
      let asked = 0
      const watched = wrapped(yield* TapeClient, (rpc, _, call) => {
        if (rpc === "getRun") asked++
        return call
      })
      const pass = Outbox.dispatchOnce({ connectors: ["bank"], parallelism: 1 })
      yield* pass.pipe(Effect.provide(bank), Effect.provideService(TapeClient, watched))
      assert.deepStrictEqual(told.toSorted(), ["", "acme", "acme", "acme"])
      assert.strictEqual(asked, 2)
    }).pipe(Effect.provide(Tape))
  )
})

describe("the names that a process holds things under", () => {
  const variables = {
    TAPE_LEASE_OWNER: "driver",
    TAPE_DISPATCH_CLAIMER: "sender",
    TAPE_CLAIMER: "undoer",
    TAPE_DISPATCHER_OWNER: "handler"
  }

  /** Asks for a lease, an effect, an obligation and tasks, and tells under which names. */
  const names = (given?: string) =>
    Effect.gen(function* () {
      const seen: Record<string, string> = {}
      const real = yield* TapeClient
      const watched = wrapped(real, (rpc, request, call) => {
        const name = ["claimer", "owner", "leaseOwner"].map((field) => Reflect.get(request, field)).find(Boolean)
        if (/^(beginRun|claim)/.test(rpc)) seen[rpc] = String(name)
        return call
      })
      const { idempotencyKey: effectKey, runId } = yield* intend(`${invocations++}`, "")
      yield* real.registerCompensation({ runId, effectKey, kind: "k", payloadJson: "{}" })
      const bank = Connectors.make("bank", { dispatch: () => Effect.succeed({ _tag: "confirmed" }) })
      const reaction = Reactions.onValueChanged("r", { namespace: "n", run: () => Effect.void })
      yield* Effect.gen(function* () {
        yield* begun()()
        yield* Outbox.dispatchOnce({ connectors: ["bank"], claimer: given })
        yield* Reactors.drainOnce({ which: "all", compensators: { k: () => Effect.void }, claimer: given })
        yield* Reactions.dispatchOnce([reaction], { app: "a", owner: given })
      })
        .pipe(Effect.provide(Layer.merge(bank, Durable.layerSettings({ owner: given }))))
        .pipe(Effect.provideService(TapeClient, watched))
      return [seen["beginRun"], seen["claimEffectDispatch"], seen["claimObligation"], seen["claimTasks"]]
    })

  it.effect("come from the environment, each with a part of its own; options go before it", () =>
    Effect.gen(function* () {
      const first = yield* under(variables)(names())
      const second = yield* under(variables)(names())
      for (const [index, name] of Object.values(variables).entries()) {
        assert.match(first[index] ?? "", new RegExp(`^${name}:[0-9a-f-]{13}$`))
        assert.notStrictEqual(first[index], second[index], "replicas share the environment, not the name")
      }
      const own = yield* under(variables)(names("me"))
      assert.match(own[0] ?? "", /^me:[0-9a-f-]{13}$/, "one process may drive a run twice")
      assert.deepStrictEqual(own.slice(1), ["me", "me", "me"])
      for (const name of yield* under({})(names())) {
        assert.match(name ?? "", new RegExp(`^.+:${process.pid}:[0-9a-f-]{13}$`))
      }
    }).pipe(Effect.provide(Tape))
  )

  it.scoped("the lease lasts as TAPE_LEASE_MS says: a positive number, else two minutes; rubbish is refused", () =>
    Effect.gen(function* () {
      const tape = yield* TapeClient
      const lasts = (env: Env, settings: Layer.Layer<never, unknown> = Layer.empty) =>
        Effect.gen(function* () {
          let ttl: unknown
          const watched = wrapped(tape, (rpc, request, call) => {
            if (rpc === "beginRun") ttl = Reflect.get(request, "leaseTtlMs")
            return call
          })
          yield* begun()().pipe(Effect.provide(settings), Effect.provideService(TapeClient, watched))
          return ttl
        }).pipe(under(env))
      const said = (millis: string) => ({ TAPE_LEASE_MS: millis })
      for (const unset of [{}, said(""), said("0"), said("-5")]) assert.strictEqual(yield* lasts(unset), 120_000n)
      for (const read of [Layer.empty, Durable.layerSettingsConfig()]) {
        assert.strictEqual(yield* lasts(said("5000"), read), 5000n)
      }
      for (const option of [Durable.layerSettings, Durable.layerSettingsConfig]) {
        assert.strictEqual(yield* lasts(said("5000x"), option({ leaseTtl: "7 seconds" })), 7000n)
      }
      for (const rubbish of ["5000x", "NaN", "Infinity", "0x10", "1e400", "soon"]) {
        const late = yield* Effect.flip(lasts(said(rubbish)))
        assert.include(String(late), "TAPE_LEASE_MS")
        const early = yield* Effect.flip(under(said(rubbish))(Layer.build(Durable.layerSettingsConfig())))
        assert.include(String(early), "is not a number of milliseconds")
      }
    }).pipe(Effect.provide(Tape))
  )
})
