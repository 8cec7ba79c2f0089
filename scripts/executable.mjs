// tsc does not set the executable bit, and `./dist/cli/main.js` should run without npm's help too.
import { chmodSync, readFileSync } from "node:fs"

const { bin } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))
for (const file of Object.values(bin)) {
  const url = new URL(`../${file}`, import.meta.url)
  if (!readFileSync(url, "utf8").startsWith("#!")) throw new Error(`${file} is a bin but has no #! line`)
  chmodSync(url, 0o755)
}
