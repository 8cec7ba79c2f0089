import { execFileSync, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { buildSync } from "esbuild"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** What tests start a hundred times: in one file each, with what V8 keeps of it, they are up in half the time. */
const programs = ["serve", "dispatcher", "worker"]

/**
 * Compiles `dist` and `.build` once before all tests, so that a test can start `node dist/cli/main.js` or
 * `node .build/test/fixtures/x.js` as a process of its own. Nothing is written when nothing has changed.
 */
export const setup = (): void => {
  execFileSync("npm", ["run", "--silent", "compile"], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"]
  })
  const bundles = buildSync({
    absWorkingDir: root,
    entryPoints: ["start", "conformance", ...programs].map((program) => `.build/test/fixtures/${program}.js`),
    outdir: ".build",
    outExtension: { ".js": ".cjs" },
    bundle: true,
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    platform: "node",
    format: "cjs",
    external: ["better-sqlite3", "pg"],
    logLevel: "error",
    write: false
  }).outputFiles.filter(({ contents, path }) => !Fs.existsSync(path) || !Fs.readFileSync(path).equals(contents))
  for (const { contents, path } of bundles) {
    Fs.writeFileSync(path, contents)
    Fs.rmSync(`${path}.kept`, { force: true })
  }
  const start = Path.join(root, ".build/start.cjs")
  for (const program of programs.map((name) => Path.join(root, ".build", `${name}.cjs`))) {
    if (!Fs.existsSync(`${program}.kept`)) {
      spawnSync(process.execPath, [start, "--keep", program, "memory:"], { stdio: "ignore", timeout: 10_000 })
    }
  }
}
