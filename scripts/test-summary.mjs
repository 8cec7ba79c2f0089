// Says in one plain line what vitest's JSON report says. A file that could not be run counts as one failure.
import { readFileSync } from "node:fs"

const report = JSON.parse(readFileSync(process.argv[2], "utf8"))
const broken = report.testResults.filter(
  ({ assertionResults, status }) =>
    status === "failed" && !assertionResults.some((assertion) => assertion.status === "failed")
)
const passed = report.numPassedTests
const failed = report.numFailedTests + broken.length

console.log(`${passed} passed, ${failed} failed`)
if (!report.success || failed > 0 || passed === 0) process.exitCode = 1
