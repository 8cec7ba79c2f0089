/** A scene's report as lines for people. */
import type { JournalEntry } from "effect-tape/proto"
import type { Line } from "./Process.js"
import { type Life, payloadOf, type Report } from "./scene.js"

export const render = (report: Report): ReadonlyArray<string> => [
  ...report.lives.flatMap((life, index) => renderLife(life, index)),
  `  ledger   ${report.ledger.length} ${report.ledger.length === 1 ? "wire" : "wires"}${verdictOf(report)}`,
  ...report.ledger.map((line) => `           ${line}`)
]

export const isExactlyOne = (report: Report): boolean => report.ledger.length === 1 && report.isFinished

const verdictOf = (report: Report): string => {
  if (isExactlyOne(report)) return "   exactly one ✓"
  return report.ledger.length === 1 ? "   but the run did not finish ✗" : "   expected exactly one ✗"
}

const renderLife = (life: Life, index: number): ReadonlyArray<string> => {
  const replayed = index > 0 && !life.said.some((line) => "asked" in line)
  const lines = [
    ...(replayed ? [["decide plan", "replayed: the model was not asked again"] as const] : []),
    ...life.journal.flatMap((entry) => renderEntry(entry, index)),
    ...life.said.flatMap(renderSaid)
  ].map(([what, how]) => `${what.padEnd(14)} ${how}`)
  if (life.isKilled) lines.push("✗ killed (SIGKILL) before the answer was recorded")
  return lines.map((line, row) => (row === 0 ? `  life ${index + 1}   ${line}` : `           ${line}`))
}

type Row = readonly [what: string, how: string]

const renderEntry = (entry: JournalEntry, life: number): ReadonlyArray<Row> => {
  const { external_ref, model, status, tool, transition } = payloadOf(entry)
  if (entry.kind === "run") return [["run", status ?? ""]]
  if (entry.kind === "decision") return [["decide plan", `recorded (${model ?? ""})`]]
  if (entry.kind !== "effect" || tool !== "wire_money") return []
  switch (transition) {
    case undefined:
      return [[tool, status === "pending" ? "intent recorded" : (status ?? "").toUpperCase()]]
    case "dispatch-unknown":
      return [[tool, "sent, the answer was lost: UNKNOWN"]]
    case "observed-confirmed":
      return [
        [
          tool,
          `${life > 0 ? "an earlier attempt vanished: " : ""}asked the bank, found ${external_ref ?? ""}: CONFIRMED`
        ]
      ]
    default:
      return [[tool, transition]]
  }
}

const renderSaid = (line: Line): ReadonlyArray<Row> => {
  if ("booked" in line) return [["  bank", `booked ${line.booked}`]]
  return "done" in line ? [["start", `returned the receipt ${line.done}`]] : []
}
