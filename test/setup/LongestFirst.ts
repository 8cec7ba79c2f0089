import { BaseSequencer, type TestSpecification } from "vitest/node"

/** The files that take more than ten seconds, the longest first. */
const longest = [
  "sys/kill",
  "conformance/postgres",
  "conformance/memory",
  "conformance/conformance",
  "demo",
  "sys/matrix",
  "cli/tape",
  "sys/dispatchers",
  "sys/ways",
  "engine/postgres/opening"
].map((name) => `/test/${name}.test.ts`)

/** Begins with what takes longest: at the end no process has a long file left while the other has none. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    const place = ({ moduleId }: TestSpecification) => {
      const nth = longest.findIndex((name) => moduleId.endsWith(name))
      return nth === -1 ? longest.length : nth
    }
    // oxlint-disable-next-line unicorn/no-array-sort -- it is the base's own, of no array
    const ordered = await super.sort(files)
    return ordered.toSorted((a, b) => place(a) - place(b))
  }
}
