// Runs the Effect diagnostics over the whole project. The tool also exits 0 when it looked at nothing, hence the count.
import { spawnSync } from "node:child_process"
import { relative } from "node:path"

const { status, stdout, stderr } = spawnSync(
  "effect-tsgo",
  ["diagnostics", "--project", "tsconfig.json", "--format", "json", "--strict", "--severity", "error,warning"],
  { encoding: "utf8", maxBuffer: 1 << 28 }
)

let report
try {
  report = JSON.parse(stdout ?? "")
} catch {
  console.error(`effect-tsgo gave no report (exit ${status}):\n${stdout ?? ""}${stderr ?? ""}`)
  process.exit(1)
}

const { diagnostics, summary } = report
for (const { file, line, column, name, message } of diagnostics) {
  console.error(`${relative(".", file)}:${line}:${column} ${name}: ${message}`)
}
console.log(`Effect diagnostics: ${summary.filesChecked} of ${summary.totalFiles} files, ${diagnostics.length} found.`)
if (status !== 0 || diagnostics.length > 0 || summary.filesChecked === 0 || summary.filesChecked < summary.totalFiles) {
  process.exitCode = 1
}
