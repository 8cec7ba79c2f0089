/** ID tokens of Google's for a tape behind TLS; and what is said where Google's packages are not installed. */
import { execFileSync } from "node:child_process"
import * as Http from "node:http"
import { create } from "@bufbuild/protobuf"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Duration, Effect, type Layer, Redacted, type Scope, TestClock } from "effect"
import * as Client from "../src/Client.js"
import * as Token from "../src/client/token.js"
import { IdToken } from "../src/gcp/index.js"
import { RunStateSchema } from "../src/gen/tape/v1/tape_pb.js"
import { GrpcServer } from "../src/server/index.js"
import { fakeTape } from "./client/fake.js"
import { selfSigned } from "./client/servers.js"
import { root } from "./contract/imports.js"

const audience = "https://tape.example"

const jwt = (claims: object) =>
  ["{}", JSON.stringify(claims), "signature"].map((part) => Buffer.from(part).toString("base64url")).join(".")

/** Options with which Google's library asks this, instead of the world. */
const minting = (mint: (audience: string) => string) => ({
  authClient: { fetchIdToken: (audience: string) => Promise.resolve().then(() => mint(audience)) }
})

describe("IdToken.google", () => {
  it.effect("is kept until a minute before it expires, then minted once for all that wait", () =>
    Effect.gen(function* () {
      const audiences: Array<string> = []
      const google = minting((audience) => {
        audiences.push(audience)
        return jwt({ exp: 3600 * audiences.length, n: audiences.length })
      })
      const bearer = yield* Token.make(IdToken.google({ audience, google }), "5 minutes")
      const many = Effect.all(
        Array.from({ length: 5 }, () => bearer.header),
        { concurrency: "unbounded" }
      )
      const first = `Bearer ${jwt({ exp: 3600, n: 1 })}`
      const second = `Bearer ${jwt({ exp: 7200, n: 2 })}`
      assert.deepStrictEqual(new Set(yield* many), new Set([first]))
      yield* TestClock.adjust(Duration.subtract("59 minutes", "1 millis"))
      assert.strictEqual(yield* bearer.header, first)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(new Set(yield* many), new Set([second]))
      assert.deepStrictEqual(audiences, [audience, audience])
      yield* bearer.refused
      assert.strictEqual(yield* bearer.header, `Bearer ${jwt({ exp: 10_800, n: 3 })}`)
    }).pipe(Effect.scoped)
  )

  it.effect("is kept for half an hour when its expiry cannot be read", () =>
    Effect.gen(function* () {
      let minted = 0
      const google = minting(() => `opaque-${++minted}`)
      const bearer = yield* Token.make(IdToken.google({ audience, google }), "5 minutes")
      assert.strictEqual(yield* bearer.header, "Bearer opaque-1")
      yield* TestClock.adjust("29 minutes")
      assert.strictEqual(yield* bearer.header, "Bearer opaque-1")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* bearer.header, "Bearer opaque-2")
    }).pipe(Effect.scoped)
  )

  it.scopedLive("asks the machine it runs on", () =>
    Effect.gen(function* () {
      const { asked, token } = yield* metadataServer
      const minted = yield* IdToken.google({ audience })
      assert.strictEqual(Redacted.value(minted.token), token)
      assert.strictEqual(minted.renewAt, 4_102_444_740_000)
      assert.match(
        asked.join(" "),
        /instance\/service-accounts\/default\/identity\?format=full&audience=https:\/\/tape\.example/
      )
    })
  )

  it.effect("says why there is none, and asks again the next time", () =>
    Effect.gen(function* () {
      let asked = 0
      const google = minting(() => {
        asked += 1
        throw new Error("no identity here")
      })
      const bearer = yield* Token.make(IdToken.google({ audience, google }), "5 minutes")
      const expected = "a token could not be minted: google-auth-library cannot be used: no identity here"
      assert.strictEqual((yield* Effect.flip(bearer.header)).detail, expected)
      assert.strictEqual((yield* Effect.flip(bearer.header)).detail, expected)
      assert.strictEqual(asked, 2)
    }).pipe(Effect.scoped)
  )
})

describe("IdToken.layer", () => {
  it.scopedLive("sends a token for the tape's host behind TLS, and none elsewhere", () =>
    Effect.gen(function* () {
      const sent: Array<string | undefined> = []
      const handlers = Effect.succeed(
        fakeTape({
          getRun: (_, { metadata }) => {
            sent.push(metadata["authorization"])
            return Effect.succeed(create(RunStateSchema, { runId: "r" }))
          }
        })
      )
      const { certificate, key } = yield* selfSigned
      const guarded = yield* GrpcServer.make({ listen: "localhost:0", handlers, tls: { certificate, key } })
      const open = yield* GrpcServer.make({ listen: "127.0.0.1:0", handlers })
      const google = minting((audience) => `for ${audience}`)
      const options = { tls: { ca: certificate }, google }
      const call = (layer: Layer.Layer<Client.TapeClient, unknown>, env: { readonly [name: string]: string } = {}) =>
        Effect.flatMap(Client.TapeClient, (tape) => tape.getRun({ runId: "r" })).pipe(
          Effect.provide(layer),
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env))))
        )
      yield* call(IdToken.layerUrl(guarded.url, options))
      yield* call(IdToken.layerUrl(guarded.url, options), { TAPE_AUDIENCE: "https://a" })
      yield* call(IdToken.layerUrl(guarded.url, { ...options, audience: "https://b" }), { TAPE_AUDIENCE: "https://a" })
      yield* call(IdToken.layer(options), { TAPE_URL: guarded.url })
      yield* call(IdToken.layer(options), { TAPE_URL: guarded.url, TAPE_TOKEN: "mine" })
      yield* call(IdToken.layer({ google }), { TAPE_URL: open.url })
      assert.deepStrictEqual(sent, [
        "Bearer for https://localhost",
        "Bearer for https://a",
        "Bearer for https://b",
        "Bearer for https://localhost",
        "Bearer mine",
        undefined
      ])
    })
  )
})

describe("without Google's packages", () => {
  it("effect-tape/gcp can be imported; each layer says what to install", () => {
    const program = `
      import { register } from "node:module"
      const elsewhere = 'export const resolve = (name, context, next) => next(name, ' +
        '/^(@google-cloud|google-)/.test(name) ? { ...context, parentURL: "file:///" } : context)'
      register("data:text/javascript," + encodeURIComponent(elsewhere))
      const { CloudTasks, IdToken, PubSub } = await import("effect-tape/gcp")
      const { Effect, Layer } = await import("effect")
      for (const layer of [PubSub.layer(), CloudTasks.layer(), IdToken.layerUrl("tapes://tape.example")]) {
        const error = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(layer))))
        console.log(error._tag + ": " + error.message)
      }`
    const said = execFileSync(process.execPath, ["--input-type=module", "--eval", program], {
      cwd: root,
      encoding: "utf8"
    })
    assert.deepStrictEqual(
      said.trim().split("\n"),
      ["@google-cloud/pubsub", "@google-cloud/tasks", "google-auth-library"].map(
        (name) => `MissingDependency: ${name} is not installed: npm install ${name}`
      )
    )
  })
})

/** A machine of Google's, as far as its metadata server goes; this process believes to run on it. */
const metadataServer = Effect.gen(function* () {
  const asked: Array<string> = []
  const token = jwt({ exp: 4_102_444_800 })
  const server = Http.createServer((request, response) => {
    asked.push(request.url ?? "")
    response.writeHead(200, { "metadata-flavor": "Google", "content-type": "text/plain" })
    response.end(request.url?.includes("/identity") === true ? token : "{}")
  })
  const port = yield* Effect.acquireRelease(
    Effect.async<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(address !== null && typeof address === "object" ? address.port : 0))
      })
    }),
    () => Effect.sync(() => server.close().closeAllConnections())
  )
  yield* environment({
    GCE_METADATA_HOST: `127.0.0.1:${port}`,
    METADATA_SERVER_DETECTION: "assume-present",
    GOOGLE_APPLICATION_CREDENTIALS: "",
    HOME: "/nowhere"
  })
  return { asked, token }
})

const environment = (variables: { readonly [name: string]: string }): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = Object.keys(variables).map((name) => [name, process.env[name]] as const)
      Object.assign(process.env, variables)
      return before
    }),
    (before) =>
      Effect.sync(() => {
        for (const [name, value] of before) {
          if (value === undefined) delete process.env[name]
          else process.env[name] = value
        }
      })
  )
