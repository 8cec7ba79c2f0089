import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"

/**
 * Compiles `dist` and `.build` once before all tests, so that a test can start `node dist/cli/main.js` or
 * `node .build/test/fixtures/x.js` as a process of its own. Nothing is written when nothing has changed.
 */
export const setup = (): void => {
  execFileSync("npm", ["run", "--silent", "compile"], {
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    stdio: ["ignore", "inherit", "inherit"]
  })
}
