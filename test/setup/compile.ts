import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { buildSync } from "esbuild"

const root = fileURLToPath(new URL("../..", import.meta.url))

/**
 * Compiles `dist` and `.build` once before all tests, so that a test can start `node dist/cli/main.js` or
 * `node .build/test/fixtures/x.js` as a process of its own. Nothing is written when nothing has changed.
 */
export const setup = (): void => {
  execFileSync("npm", ["run", "--silent", "compile"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"]
  })
  // In one file it is up in a third of the time: it is started a hundred times.
  buildSync({
    absWorkingDir: root,
    entryPoints: [".build/test/fixtures/serve.js"],
    outfile: ".build/serve.cjs",
    bundle: true,
    platform: "node",
    format: "cjs",
    external: ["better-sqlite3", "pg"],
    logLevel: "error"
  })
}
