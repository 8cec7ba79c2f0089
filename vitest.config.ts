import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { LongestFirst } from "./test/setup/LongestFirst.js"

const source = (path: string) => fileURLToPath(new URL(`./src/${path}`, import.meta.url))

export default defineConfig({
  resolve: {
    // Tests run the sources; what is compiled is only run in processes of its own (see test/setup/compile.ts).
    alias: [
      { find: /^effect-tape$/, replacement: source("index.ts") },
      { find: /^effect-tape\/engine$/, replacement: source("engine/index.ts") },
      { find: /^effect-tape\/rpc$/, replacement: source("rpc/index.ts") },
      { find: /^effect-tape\/server$/, replacement: source("server/index.ts") },
      { find: /^effect-tape\/testing$/, replacement: source("testing/index.ts") },
      { find: /^effect-tape\/gcp$/, replacement: source("gcp/index.ts") },
      { find: /^effect-tape\/proto$/, replacement: source("gen/tape/v1/tape_pb.ts") }
    ]
  },
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/setup/methods.ts"],
    globalSetup: ["test/setup/compile.ts", "test/setup/postgres.ts"],
    // Processes, not threads: native modules, signals and exit codes are those of a real program.
    pool: "forks",
    poolOptions: { forks: { minForks: 1, maxForks: 2, isolate: false } },
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 30_000,
    teardownTimeout: 5_000,
    passWithNoTests: false,
    allowOnly: false
  }
})
