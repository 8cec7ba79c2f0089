/**
 * A bank of its own process that speaks HTTP, appends every wire to a ledger file and does **not** deduplicate.
 *
 *     node bank.js <ledger file> <answer | hold | drop>
 *
 * What it does with the first wire, after booking it: answer, keep the answer back, or drop the connection.
 * On stdout, one JSON line each: its address, and every wire it books.
 */
import * as Fs from "node:fs"
import * as Http from "node:http"
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Schema } from "effect"

const Wire = Schema.parseJson(
  Schema.Struct({
    wireId: Schema.String,
    businessKey: Schema.String,
    idempotencyKey: Schema.String,
    account: Schema.String,
    amount: Schema.Number
  })
)
const Order = Schema.parseJson(Schema.Struct({ account: Schema.String, amount: Schema.Number }))
const Search = Schema.parseJson(Schema.Struct({ idempotency_key: Schema.String }))

const [ledger = "ledger.jsonl", first = "answer"] = process.argv.slice(2)

const booked = (): ReadonlyArray<typeof Wire.Type> =>
  Fs.existsSync(ledger)
    ? Fs.readFileSync(ledger, "utf8")
        .trim()
        .split("\n")
        .filter(Boolean)
        .map((line) => Schema.decodeSync(Wire)(line))
    : []

const book = (headers: Http.IncomingHttpHeaders, body: string): typeof Wire.Type => {
  const wire = {
    wireId: `W-${booked().length + 1}`,
    businessKey: String(headers["x-tape-business-key"]),
    idempotencyKey: String(headers["x-tape-idempotency-key"]),
    ...Schema.decodeSync(Order)(body)
  }
  Fs.appendFileSync(ledger, `${Schema.encodeSync(Wire)(wire)}\n`)
  return wire
}

const search = (body: string) => {
  const { idempotency_key } = Schema.decodeSync(Search)(body)
  const found = booked().filter((wire) => wire.idempotencyKey === idempotency_key)
  const [wire] = found
  return wire === undefined
    ? { count: 0 }
    : { count: found.length, external_ref: wire.wireId, response: { wireId: wire.wireId } }
}

const bodyOf = (request: Http.IncomingMessage): Effect.Effect<string> =>
  Effect.async((resume) => {
    let body = ""
    request.on("data", (chunk) => {
      body += String(chunk)
    })
    request.on("end", () => resume(Effect.succeed(body)))
  })

const answer = (response: Http.ServerResponse, status: number, body: unknown): void => {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
}

const handle = (request: Http.IncomingMessage, response: Http.ServerResponse): Effect.Effect<void> =>
  Effect.gen(function* () {
    const body = yield* bodyOf(request)
    if (request.url === "/wires/search") {
      return answer(response, 200, search(body))
    }
    const wire = book(request.headers, body)
    yield* Console.log(JSON.stringify({ booked: wire.wireId }))
    if (wire.wireId !== "W-1" || first === "answer") {
      return answer(response, 200, { wireId: wire.wireId, external_ref: wire.wireId })
    }
    if (first === "drop") {
      request.socket.destroy()
    }
  }).pipe(Effect.catchAllDefect((defect) => Effect.sync(() => answer(response, 400, { error: String(defect) }))))

const serve = Effect.acquireRelease(
  Effect.async<Http.Server>((resume) => {
    const server = Http.createServer((request, response) => Effect.runFork(handle(request, response)))
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) =>
    Effect.sync(() => {
      server.closeAllConnections()
      server.close()
    })
)

NodeRuntime.runMain(
  Effect.scoped(
    Effect.gen(function* () {
      const address = (yield* serve).address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      yield* Console.log(JSON.stringify({ url: `http://127.0.0.1:${port}` }))
      return yield* Effect.never
    })
  )
)
