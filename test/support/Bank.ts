import * as Http from "node:http"
import { Effect, Option, Queue, Schema, type Scope } from "effect"

/** A row of the bank's ledger. */
export interface Wire {
  readonly id: string
  readonly idempotencyKey: string
  readonly businessKey: string
  readonly payload: unknown
}

/** What goes wrong with one request, instead of the plain answer. */
export type Fault =
  /** The wire is booked, then the connection is destroyed. */
  | { readonly _tag: "lose-ack" }
  /** The connection is destroyed before anything is booked. */
  | { readonly _tag: "drop" }
  /** Nothing is booked; this answer is sent. */
  | {
      readonly _tag: "answer"
      readonly status: number
      readonly headers?: Http.OutgoingHttpHeaders
      readonly body?: string
    }
  /** The wire is booked, and the answer kept back until `release`. */
  | { readonly _tag: "hold" }

/** A counterparty over real HTTP that does not deduplicate: each POST to `url` is one more wire. */
export interface Bank {
  readonly url: string
  readonly searchUrl: string
  readonly ledger: Effect.Effect<ReadonlyArray<Wire>>
  /** The headers of every POST to `url`, in order. */
  readonly headers: Effect.Effect<ReadonlyArray<Http.IncomingHttpHeaders>>
  /** How often `searchUrl` was asked. */
  readonly searches: Effect.Effect<number>
  /** The faults of the next wires, in order; then all is well. */
  readonly wires: (...faults: ReadonlyArray<Fault>) => Effect.Effect<void>
  /** The faults of the next searches. */
  readonly search: (...faults: ReadonlyArray<Fault>) => Effect.Effect<void>
  /** From now on every wire takes its time, in milliseconds: so long until it is booked, so long until the answer. */
  readonly pace: (next: () => { readonly toBook: number; readonly toAnswer: number }) => Effect.Effect<void>
  /** The next wire that is booked, once for each. */
  readonly booked: Effect.Effect<Wire>
  /** Sends the answers kept back by `hold`. */
  readonly release: Effect.Effect<void>
}

export const loseAck: Fault = { _tag: "lose-ack" }
export const drop: Fault = { _tag: "drop" }
export const hold: Fault = { _tag: "hold" }
export const answer = (status: number, body = "", headers: Http.OutgoingHttpHeaders = {}): Fault => ({
  _tag: "answer",
  status,
  body,
  headers
})

const Search = Schema.parseJson(Schema.Struct({ idempotency_key: Schema.String, business_key: Schema.String }))

export const make: Effect.Effect<Bank, never, Scope.Scope> = Effect.gen(function* () {
  const ledger: Array<Wire> = []
  const headers: Array<Http.IncomingHttpHeaders> = []
  const held: Array<() => void> = []
  let wireFaults: ReadonlyArray<Fault> = []
  let searchFaults: ReadonlyArray<Fault> = []
  let searches = 0
  let pace: (() => { readonly toBook: number; readonly toAnswer: number }) | undefined
  const booked = yield* Queue.unbounded<Wire>()

  const book = (request: Http.IncomingMessage, body: string): Wire => {
    const wire: Wire = {
      id: `W-${ledger.length + 1}`,
      idempotencyKey: String(request.headers["x-tape-idempotency-key"] ?? ""),
      businessKey: String(request.headers["x-tape-business-key"] ?? ""),
      payload: JSON.parse(body)
    }
    ledger.push(wire)
    Queue.unsafeOffer(booked, wire)
    return wire
  }
  const json = (response: Http.ServerResponse, body: unknown) =>
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body))
  const accepted = (wire: Wire) => ({ external_ref: wire.id, wireId: wire.id })

  const onWire = (request: Http.IncomingMessage, response: Http.ServerResponse, body: string) => {
    headers.push(request.headers)
    const [fault, ...rest] = wireFaults
    wireFaults = rest
    switch (fault?._tag) {
      case "answer":
        return response.writeHead(fault.status, fault.headers).end(fault.body)
      case "drop":
        return response.destroy()
      case "lose-ack":
        book(request, body)
        return response.destroy()
      case "hold": {
        const wire = book(request, body)
        return held.push(() => json(response, accepted(wire)))
      }
      default: {
        if (pace === undefined) return json(response, accepted(book(request, body)))
        const { toAnswer, toBook } = pace()
        return setTimeout(() => {
          const wire = book(request, body)
          setTimeout(() => json(response, accepted(wire)), toAnswer)
        }, toBook)
      }
    }
  }
  const onSearch = (response: Http.ServerResponse, body: string) => {
    searches += 1
    const [fault, ...rest] = searchFaults
    searchFaults = rest
    if (fault?._tag === "answer") return response.writeHead(fault.status, fault.headers).end(fault.body)
    if (fault !== undefined) return response.destroy()
    const asked = Schema.decodeOption(Search)(body)
    if (Option.isNone(asked)) return response.writeHead(400).end()
    const { business_key, idempotency_key } = asked.value
    const found = ledger.filter(
      (wire) => wire.idempotencyKey === idempotency_key || (business_key !== "" && wire.businessKey === business_key)
    )
    const last = found.at(-1)
    return json(response, {
      count: found.length,
      ...(last === undefined ? {} : { external_ref: last.id, response: { wireId: last.id } })
    })
  }

  const server = Http.createServer((request, response) => {
    let body = ""
    request.setEncoding("utf8")
    request.on("data", (text: string) => {
      body += text
    })
    request.on("end", () => {
      if (request.url === "/wires") onWire(request, response, body)
      else if (request.url === "/wires/search") onSearch(response, body)
      else response.writeHead(404).end()
    })
  })
  const port = yield* Effect.acquireRelease(
    Effect.async<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    }),
    () =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  const url = `http://127.0.0.1:${port}/wires`
  return {
    url,
    searchUrl: `${url}/search`,
    ledger: Effect.sync(() => [...ledger]),
    headers: Effect.sync(() => [...headers]),
    searches: Effect.sync(() => searches),
    wires: (...faults) =>
      Effect.sync(() => {
        wireFaults = faults
      }),
    search: (...faults) =>
      Effect.sync(() => {
        searchFaults = faults
      }),
    pace: (next) =>
      Effect.sync(() => {
        pace = next
      }),
    booked: Queue.take(booked),
    release: Effect.sync(() => {
      for (const send of held.splice(0)) send()
    })
  }
})
