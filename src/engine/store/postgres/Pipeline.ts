/**
 * Several prepared statements in one round trip, which the driver's own `query` does not offer: everything is sent at
 * once, closed by one Sync. The server stops at the first failure and skips the rest.
 */
import type { Socket } from "node:net"
import type { Connection, PoolClient, Submittable } from "pg"
import type { Command } from "./Statement.js"

/** Rows as text, by column. */
export type Rows = ReadonlyArray<ReadonlyArray<string>>

/** What a connection has prepared so far: statements outlive transactions, also those that fail. */
export type PreparedNames = Set<string>

/**
 * Sends the commands; the answer is called once, with the rows of each. A server that says nothing for `silenceMillis`
 * is given up with its connection; 0 is no limit.
 */
export const send = (
  client: PoolClient,
  prepared: PreparedNames,
  commands: ReadonlyArray<Command>,
  answer: (error: unknown, results: ReadonlyArray<Rows>) => void,
  silenceMillis = 0
): void => {
  client.query(new Pipeline(prepared, commands, answer, silenceMillis))
}

class Pipeline implements Submittable {
  private readonly results: Array<Array<ReadonlyArray<string>>>
  private readonly parsing: Array<string> = []
  private current = 0
  private connection: Connection | undefined

  constructor(
    private readonly prepared: PreparedNames,
    private readonly commands: ReadonlyArray<Command>,
    private readonly answer: (error: unknown, results: ReadonlyArray<Rows>) => void,
    private readonly silenceMillis: number
  ) {
    this.results = commands.map(() => [])
  }

  submit(connection: Connection): void {
    this.connection = connection
    connection.on("parseComplete", this.onParsed)
    const socket = socketOf(connection)
    socket.setTimeout(this.silenceMillis)
    socket.on("timeout", this.onSilence)
    socket.cork()
    for (const { prepared, values } of this.commands) {
      const { name, text } = prepared
      if (!this.prepared.has(name) && !this.parsing.includes(name)) {
        this.parsing.push(name)
        connection.parse({ name, text, types: [] }, true)
      }
      connection.bind({ statement: name, values: [...values] }, true)
      connection.execute({}, true)
    }
    connection.sync()
    socket.uncork()
  }

  handleDataRow({ fields }: { readonly fields: ReadonlyArray<string> }): void {
    this.results[this.current]!.push(fields)
  }

  handleCommandComplete(): void {
    this.current += 1
  }

  handleReadyForQuery(): void {
    this.settle(undefined)
  }

  handleError(error: unknown): void {
    this.settle(error)
  }

  private readonly onParsed = (): void => {
    const name = this.parsing.shift()
    if (name !== undefined) {
      this.prepared.add(name)
    }
  }

  private readonly onSilence = (): void => {
    if (this.connection !== undefined) {
      socketOf(this.connection).destroy(new Error(`no answer within ${this.silenceMillis} ms`))
    }
  }

  private settle(error: unknown): void {
    if (this.connection !== undefined) {
      const socket = socketOf(this.connection)
      this.connection.off("parseComplete", this.onParsed)
      socket.off("timeout", this.onSilence)
      socket.setTimeout(0)
    }
    this.answer(error, this.results)
  }
}

/** The driver's types say less than it gives: what carries a connection is a socket, with TLS around it or not. */
const socketOf = (connection: Connection): Socket => connection.stream as Socket
