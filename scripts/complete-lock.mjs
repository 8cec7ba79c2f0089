// Adds to package-lock.json the packages for other platforms that a partial registry mirror does not serve.
//
// npm leaves an optional dependency out of the lockfile when it cannot read its manifest, and `npm ci` then refuses
// the lockfile everywhere. Platform and version are all npm needs to skip such a package, or to fetch it where it fits.
// Run it after every change of dependencies: `npm install … && node scripts/complete-lock.mjs`.
import { readFileSync, writeFileSync } from "node:fs"

const systems = new Set([
  "aix",
  "android",
  "darwin",
  "freebsd",
  "linux",
  "netbsd",
  "openbsd",
  "openharmony",
  "sunos",
  "win32"
])
const processors = new Set(["arm64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"])
const alias = { aarch64: "arm64", armv7: "arm" }
const libraries = { gnu: "glibc", gnueabihf: "glibc", musl: "musl", musleabihf: "musl" }

const file = new URL("../package-lock.json", import.meta.url)
const lock = JSON.parse(readFileSync(file, "utf8"))
const added = {}

for (const [owner, { dev, optionalDependencies = {} }] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    const path = `node_modules/${name}`
    if (lock.packages[path] ?? lock.packages[`${owner}/${path}`]) continue
    const words = name.split(/[/-]/).map((word) => alias[word] ?? word)
    const system = words.find((word) => systems.has(word))
    const processor = words.find((word) => processors.has(word))
    if (system === undefined || processor === undefined) throw new Error(`${name}: which platform is it for?`)
    const library =
      system === "linux" ? words.map((word) => libraries[word]).find((word) => word !== undefined) : undefined
    added[path] = {
      version,
      cpu: [processor],
      ...(dev ? { dev } : {}),
      ...(library ? { libc: [library] } : {}),
      optional: true,
      os: [system]
    }
  }
}

lock.packages = Object.fromEntries(
  Object.entries({ ...lock.packages, ...added }).toSorted(([a], [b]) => a.localeCompare(b, "en"))
)
writeFileSync(file, `${JSON.stringify(lock, undefined, 2)}\n`)
console.log(`${Object.keys(added).length} packages of other platforms added to package-lock.json`)
