import { execFileSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"

/**
 * Compiles `dist` and `.build` once before all tests, so that a test can start `node dist/cli/main.js` or
 * `node .build/test/fixtures/x.js` as a process of its own. Nothing is written when nothing has changed.
 */
export const setup = (): void => {
  const root = fileURLToPath(new URL("../..", import.meta.url))
  // TRANSITION: until the first examples exist
  const examples = ["examples/demo", "test/fixtures"].some(
    (folder) => existsSync(`${root}/${folder}`) && readdirSync(`${root}/${folder}`).length > 0
  )
  execFileSync("npm", ["run", "--silent", examples ? "compile" : "compile:dist"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"]
  })
}
