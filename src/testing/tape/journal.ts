import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Entry as Row } from "../../engine/store/tables.js"

/**
 * An entry of the journal, as a test looks at it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Entry {
  /** Its place in the tape's journal, from 1 on. */
  readonly globalSeq: number
  /** Its place in its run's journal, from 1 on. */
  readonly seq: number
  /** Empty for entries that belong to no run. */
  readonly runId: string
  readonly kind: string
  readonly subject: string
  /** In milliseconds since the epoch, by the test's clock. */
  readonly atMs: number
  /** The payload, parsed. */
  readonly payload: unknown
}

/**
 * A journal, or what one run has in it.
 *
 * @since 0.1.0
 * @category models
 */
export class Journal {
  constructor(private readonly rows: ReadonlyArray<Row>) {}

  /** In the order in which they were committed. */
  get entries(): ReadonlyArray<Entry> {
    return this.rows.map((row) => ({
      globalSeq: Number(row.globalSeq),
      seq: Number(row.seq),
      runId: row.runId,
      kind: row.kind,
      subject: row.subject,
      atMs: Number(row.tsMs),
      payload: payloadOf(row.payloadJson)
    }))
  }

  /** As they stand in the journal: `/tape/gate/waiting/cfo/00000000-…`. */
  get subjects(): ReadonlyArray<string> {
    return this.rows.map(({ subject }) => subject)
  }

  /** The subjects without what every one of them has: `gate/waiting/cfo`. */
  get steps(): ReadonlyArray<string> {
    return this.rows.map(({ runId, subject }) => {
      const step = subject.replace(/^\/tape\//, "")
      return runId === "" ? step : step.replace(`/${runId}`, "")
    })
  }

  /** `run`, `decision`, `effect`, `obligation`, `gate`, `value`. */
  get kinds(): ReadonlyArray<string> {
    return this.rows.map(({ kind }) => kind)
  }

  /** The runs, in the order of their first entries. */
  get runIds(): ReadonlyArray<string> {
    return [...new Set(this.rows.map(({ runId }) => runId))].filter((runId) => runId !== "")
  }

  /** What one run has in it. */
  of(runId: string): Journal {
    return new Journal(this.rows.filter((row) => row.runId === runId))
  }

  /** Everything that is stored, a line of JSON for each entry: what two runs of a test can be compared by, byte for byte. */
  get text(): string {
    return this.rows
      .map((row) => JSON.stringify(row, (_, value) => (typeof value === "bigint" ? Number(value) : value)))
      .join("\n")
  }
}

const parse = Schema.decodeOption(Schema.parseJson())

/** As it is stored, when it is no JSON. */
export const payloadOf = (json: string): unknown => Option.getOrElse(parse(json), () => json)
