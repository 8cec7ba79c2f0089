/** One scene: a bank, an agent, something that goes wrong; then what the journal and the bank's ledger say. */
import { FileSystem } from "@effect/platform"
import { Chunk, Deferred, Effect, Fiber, Option, Queue, Ref, Schema, Stream } from "effect"
import { Live, TapeClient } from "effect-tape"
import type { JournalEntry } from "effect-tape/proto"
import { type Line, start } from "./Process.js"

export interface Scene {
  readonly name: string
  readonly story: string
  /** What the bank does with the first wire, after booking it. */
  readonly bank: "hold" | "drop"
  /** Whether the agent is killed as soon as the bank has booked the wire. */
  readonly isKilled: boolean
}

export const scenes: ReadonlyArray<Scene> = [
  {
    name: "crash-resume",
    story: "the agent is killed (SIGKILL) after the bank booked the wire and before that was recorded",
    bank: "hold",
    isKilled: true
  },
  {
    name: "lost-ack",
    story: "the bank books the wire, and its answer is lost",
    bank: "drop",
    isKilled: false
  }
]

export interface Options {
  /** Where the scene's files go. */
  readonly folder: string
  /** The tape's URL, for the agents and for reading the journal afterwards. */
  readonly tapeUrl: string
  /** Whether the agents use a connector that says "I know nothing of it" whatever the bank says. */
  readonly breakObserve: boolean
}

/** A life of the agent: what it said, and what it added to the journal. */
export interface Life {
  readonly said: ReadonlyArray<Line>
  readonly journal: ReadonlyArray<JournalEntry>
  readonly isKilled: boolean
}

export interface Report {
  readonly lives: ReadonlyArray<Life>
  readonly ledger: ReadonlyArray<string>
  readonly isFinished: boolean
}

/** A life that is not over by then is reported as unfinished. */
const deadline = "15 seconds"

export const play = (scene: Scene, options: Options) =>
  Effect.scoped(
    Effect.gen(function* () {
      const ledgerFile = `${options.folder}/${scene.name}.ledger.jsonl`
      const bank = yield* start("bank", [ledgerFile, scene.bank])
      const address = yield* Deferred.make<string>()
      const booked = yield* Queue.unbounded<Line>()
      yield* bank.lines.pipe(
        Stream.runForEach((line) => ("url" in line ? Deferred.succeed(address, line.url) : Queue.offer(booked, line))),
        Effect.forkScoped
      )
      const env = { TAPE_URL: options.tapeUrl, BANK_URL: yield* Deferred.await(address) }
      const args = options.breakObserve ? ["--break-observe"] : []

      const first = yield* live(env, args, booked, scene.isKilled)
      const firstJournal = yield* journalOf(options.tapeUrl, first.said, 0n)
      const lives: Array<Life> = [{ ...first, journal: firstJournal, isKilled: scene.isKilled }]
      if (scene.isKilled) {
        const second = yield* live(env, args, booked, false)
        const journal = yield* journalOf(options.tapeUrl, first.said, firstJournal.at(-1)?.seq ?? 0n)
        lives.push({ ...second, journal, isKilled: false })
      }
      return {
        lives,
        ledger: yield* readLines(ledgerFile),
        isFinished: lives.some(({ said }) => said.some((line) => "done" in line))
      } satisfies Report
    })
  )

/** A life of the agent's process: until it ends, or is killed once the bank has booked, or the deadline has passed. */
const live = (
  env: { readonly [name: string]: string },
  args: ReadonlyArray<string>,
  booked: Queue.Dequeue<Line>,
  isKilled: boolean
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const said = yield* Ref.make(Chunk.empty<Line>())
      const say = (line: Line) => Ref.update(said, Chunk.append(line))
      const agent = yield* start("agent", args, env)
      const listening = yield* Effect.fork(Stream.runForEach(agent.lines, say))
      const watching = yield* Effect.fork(
        Queue.take(booked).pipe(Effect.tap(say), isKilled ? Effect.asVoid : Effect.forever)
      )
      yield* Effect.raceFirst(Fiber.join(listening), Effect.zipRight(Fiber.join(watching), agent.kill)).pipe(
        Effect.timeoutOption(deadline)
      )
      return { said: Chunk.toReadonlyArray(yield* Ref.get(said)) }
    })
  )

/** What is in the journal of the run after a seq, read when nobody is writing. */
const journalOf = (url: string, said: ReadonlyArray<Line>, after: bigint) =>
  Effect.gen(function* () {
    const run = said.find((line) => "run" in line)
    if (run === undefined) return []
    const tape = yield* TapeClient
    const { seqCursor } = yield* tape.getRun({ runId: run.run })
    const entries = tape.subscribeRun({ runId: run.run, fromSeq: after + 1n })
    return Chunk.toReadonlyArray(yield* Stream.runCollect(Stream.take(entries, Number(seqCursor - after))))
  }).pipe(Effect.provide(Live.layerUrl(url)))

const readLines = (file: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const text = (yield* fs.exists(file)) ? yield* fs.readFileString(file) : ""
    return text.split("\n").filter((line) => line !== "")
  })

/** The members of a payload that a timeline shows. */
export const Payload = Schema.parseJson(
  Schema.Struct({
    status: Schema.optional(Schema.String),
    model: Schema.optional(Schema.String),
    tool: Schema.optional(Schema.String),
    transition: Schema.optional(Schema.String),
    external_ref: Schema.optional(Schema.String)
  })
)

export const payloadOf = (entry: JournalEntry) =>
  Option.getOrElse(Schema.decodeOption(Payload)(entry.payloadJson), (): typeof Payload.Type => ({}))
