import { execFileSync } from "node:child_process"
import { accessSync, constants, existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import manifest from "../../package.json" with { type: "json" }
import { type Import, importsOfSource, loadedWith, packageOf, root } from "./imports.js"

const show = ({ from, to }: Import): string => `${from} imports ${to}`
const offenders = (offends: (found: Import) => boolean): ReadonlyArray<string> =>
  importsOfSource.filter(offends).map(show)

/** Above the client: every module and folder of `src` but the engine, the server, the CLI and `Live`, which knows both. */
const isSdk = (file: string): boolean => !/^src\/(engine|server|cli|gen|live|testing)\/|^src\/Live\.ts$/.test(file)

/** What a program of a user sees when it imports something of ours. */
const inUserProgram = (specifier: string): string =>
  execFileSync(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import(${JSON.stringify(specifier)}).then((m) => console.log(Object.keys(m).length), (e) => console.log(e.code))`
    ],
    { cwd: root, encoding: "utf8" }
  ).trim()

describe("what the package offers", () => {
  for (const [name, target] of Object.entries(manifest.exports)) {
    if (typeof target === "string") continue
    it(`"${name}" can be imported, and has its types and sources`, () => {
      for (const file of [target.types, target.default, `${target.types}.map`]) {
        assert.isTrue(existsSync(join(root, file)), `${file} is missing`)
      }
      assert.isTrue(existsSync(join(root, target.default.replace("./dist/", "src/").replace(/\.js$/, ".ts"))))
      assert.isAbove(Number(inUserProgram(name.replace(".", manifest.name))), 0)
    })
  }

  it("keeps everything else to itself", () => {
    for (const inside of ["Client.js", "dist/Client.js", "src/Client.ts", "engine/index.js"]) {
      assert.strictEqual(inUserProgram(`${manifest.name}/${inside}`), "ERR_PACKAGE_PATH_NOT_EXPORTED")
    }
  })

  it("has commands that can be started by name", () => {
    for (const file of Object.values(manifest.bin)) {
      assert.match(readFileSync(join(root, file), "utf8"), /^#!\/usr\/bin\/env node\n/)
      accessSync(join(root, file), constants.X_OK)
    }
  })

  it("installs what it imports", () => {
    const installed = new Set([...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)])
    assert.deepStrictEqual(
      offenders(({ to }) => packageOf(to) !== undefined && !installed.has(packageOf(to) ?? "")),
      []
    )
  })

  it("loads no database driver and no command line with the SDK", () => {
    const loaded = [...loadedWith("src/index.ts")]
    assert.include(loaded, "src/Client.ts")
    assert.deepStrictEqual(
      loaded.filter((file) => /^better-sqlite3|^@effect\/cli|^src\/(engine|server|cli)\//.test(file)),
      []
    )
  })
})

describe("who may import whom", () => {
  it("finds the imports it judges", () => {
    assert.isAbove(importsOfSource.filter(({ kind }) => kind === "static").length, 50)
    assert.deepStrictEqual(
      offenders(({ to }) => to.startsWith("src/") && !existsSync(join(root, to))),
      []
    )
  })

  it("src imports modules of Effect, never its barrels", () => {
    assert.deepStrictEqual(
      offenders(({ to }) => /^(effect|@effect\/[^/]+)$/.test(to)),
      []
    )
  })

  it("the SDK knows neither engine nor server", () => {
    assert.deepStrictEqual(
      offenders(({ from, to }) => isSdk(from) && /^src\/(engine|server|cli)\//.test(to)),
      []
    )
  })

  it("Google's clients are loaded by the layers of effect-tape/gcp, and named nowhere else", () => {
    assert.deepStrictEqual(
      offenders(
        ({ from, kind, to }) =>
          (/^(@google-cloud\/|google-)/.test(to) && !(from.startsWith("src/gcp/") && kind === "dynamic")) ||
          (to.startsWith("src/gcp/") && !from.startsWith("src/gcp/"))
      ),
      []
    )
  })

  it("the engine knows its contract and its errors, nothing of the SDK", () => {
    assert.deepStrictEqual(
      offenders(
        ({ from, to }) =>
          from.startsWith("src/engine/") &&
          to.startsWith("src/") &&
          !/^src\/(engine|gen|internal)\/|^src\/(Handlers|Errors)\.ts$/.test(to)
      ),
      []
    )
  })
})
