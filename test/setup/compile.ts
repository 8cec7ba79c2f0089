import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

/**
 * Compiles `dist` and `.build` once before all tests, so that a test can start `node dist/cli/main.js` or
 * `node .build/test/fixtures/x.js` as a process of its own. Nothing is written when nothing has changed.
 */
export const setup = (): void => {
  const root = fileURLToPath(new URL("../..", import.meta.url))
  // TRANSITION: until the first commands and examples exist
  if (!existsSync(`${root}/src/cli/main.ts`) || !existsSync(`${root}/examples`)) return
  execFileSync("npm", ["run", "--silent", "compile"], { cwd: root, stdio: ["ignore", "inherit", "inherit"] })
}
